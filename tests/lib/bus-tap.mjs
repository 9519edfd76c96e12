// Listens to everything that is published on a stack's NATS server, without taking it from anybody: the protocol's few
// words on a TLS socket, and a user of its own that only the test's server knows.
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";

const USER = "CN=rushes-migrate,O=rushes";

/** Lets the certificate of `migrate`, which has no business on the bus, subscribe to all of it. Before the services. */
async function admit(stack) {
	const file = path.join(stack.nats.dir, "nats.conf");
	const config = JSON.parse(fs.readFileSync(file, "utf8"));
	config.authorization.users.push({ user: USER, permissions: { publish: { deny: ">" }, subscribe: { allow: ["jobs.>", "events.>"] } } });
	fs.writeFileSync(file, JSON.stringify(config));
	await stack.kill("nats");
	await stack.restart("nats");
}

async function connect(stack) {
	const { certificate, key } = stack.certificates.services.migrate;
	const plain = net.connect(stack.ports.nats, "127.0.0.1");
	await new Promise((resolve, reject) => plain.once("data", resolve).once("error", reject));
	const socket = tls.connect({ socket: plain, ca: stack.ca, cert: fs.readFileSync(certificate), key: fs.readFileSync(key), servername: "localhost" });
	await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
	return socket;
}

/** Header lines "Name: value" behind "NATS/1.0" as an object. */
const headersOf = (text) =>
	Object.fromEntries(
		text
			.split("\r\n")
			.slice(1)
			.filter((line) => line.includes(":"))
			.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
	);

/** {messages: [{subject, headers, body}], close()}; messages grow while it listens. */
export async function tapBus(stack) {
	await admit(stack);
	const messages = [];
	let socket;
	let buffer = Buffer.alloc(0);

	const take = () => {
		const end = buffer.indexOf("\r\n");
		if (end < 0) return false;
		const words = buffer.toString("utf8", 0, end).split(" ");
		const isMessage = words[0] === "MSG" || words[0] === "HMSG";
		const size = isMessage ? Number(words.at(-1)) + 2 : 0;
		if (buffer.length < end + 2 + size) return false;
		if (words[0] === "PING") socket.write("PONG\r\n");
		if (words[0] === "-ERR") throw new Error(`NATS: ${words.join(" ")}`);
		if (isMessage) {
			const payload = buffer.subarray(end + 2, end + size);
			const head = words[0] === "HMSG" ? Number(words.at(-2)) : 0;
			messages.push({
				subject: words[1],
				headers: headersOf(payload.toString("utf8", 0, head)),
				body: JSON.parse(payload.toString("utf8", head)),
			});
		}
		buffer = buffer.subarray(end + 2 + size);
		return true;
	};

	socket = await connect(stack);
	const ready = new Promise((resolve) => {
		socket.on("data", (data) => {
			buffer = Buffer.concat([buffer, data]);
			if (buffer.includes("PONG\r\n")) resolve();
			while (take());
		});
	});
	socket.write('CONNECT {"verbose":false,"headers":true,"protocol":1}\r\nSUB jobs.> 1\r\nSUB events.> 2\r\nPING\r\n');
	await ready;
	return { messages, close: () => socket.destroy() };
}
