// The servers that are measured: ours, with PostgreSQL, NATS and Redis behind it, and those that people would otherwise put
// there. All processes are records of one stack's folder, which ends them.
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { makeAccount, makeLink, openSession } from "../../../scripts/lib/journey.mjs";
import { freePorts } from "../../../scripts/lib/ports.mjs";
import { isRunning, logTail, startProcess, waitFor } from "../../../scripts/lib/process.mjs";
import { ROOT } from "../../../scripts/lib/stack.mjs";
import { testStack } from "../../lib/harness.mjs";

// all load comes from one address
const LIMITS_LIFTED = {
	RUSHES_INGEST_CONNECTIONS: "20000",
	RUSHES_INGEST_ADDRESS_RATE: "0",
	// a minute's room is claimed for each stream, here of 64 kbit/s
	RUSHES_INGEST_STREAM_RATE: "8KiB",
	// tests have a small one
	RUSHES_INGEST_JOURNAL: "1GiB",
	RUSHES_INGEST_LINGER: "500ms",
};

function answers(port) {
	return new Promise((resolve) => {
		const socket = net.connect(port, "127.0.0.1");
		socket.on("connect", () => resolve(socket.destroy() && true));
		socket.on("error", () => resolve(false));
	});
}

async function ready(record, port) {
	await waitFor(`${record.name} listens`, async () => {
		if (!isRunning(record)) throw new Error(`${record.name} ended at its start:\n${logTail(record.log)}`);
		return answers(port);
	});
}

/** The stack of a benchmark with ingest and a session's token. `settings`: further RUSHES_* of ingest. */
export async function startOurs(name, settings = {}) {
	const stack = testStack(name, {
		// of PostgreSQL: it is not on the way of the bytes, and thousands of openings are not what is measured
		durable: false,
		logLevel: "info",
		overrides: { ingest: { ...LIMITS_LIFTED, ...settings } },
	});
	await stack.prepare();
	await stack.startServices(["linkgen", "ingest"]);
	const account = await makeAccount(stack, { settings: ["--max-bytes", "100GiB"] });
	const session = await openSession(stack, await makeLink(stack, account));
	const tokenFile = path.join(stack.dir, "secrets", "bench-token");
	fs.writeFileSync(tokenFile, session.token, { mode: 0o600 });
	const load = { port: stack.ports.ingest, ca: stack.certificates.ca, "token-file": tokenFile };
	return { stack, load, pid: () => stack.services.ingest.pid };
}

/** nginx with one worker, WebDAV's PUT, TLS. It neither hashes nor encrypts nor flushes. */
export async function startNginx(stack) {
	const dir = path.join(stack.dir, "nginx");
	const store = path.join(dir, "store");
	fs.mkdirSync(store, { recursive: true });
	const [port] = await freePorts(1);
	const { certificate, key } = stack.certificates.public;
	const file = path.join(dir, "nginx.conf");
	fs.writeFileSync(
		file,
		`daemon off;
worker_processes 1;
${os.userInfo().uid === 0 ? "user root;" : ""}
pid ${dir}/pid;
error_log ${dir}/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path ${dir}/temp;
	client_body_buffer_size 256k;
	client_max_body_size 0;
	server {
		listen 127.0.0.1:${port} ssl;
		ssl_certificate ${certificate};
		ssl_certificate_key ${key};
		ssl_protocols TLSv1.3;
		root ${store};
		location / { dav_methods PUT; }
	}
}
`,
	);
	const record = await startProcess({
		dir: stack.dir,
		name: "nginx",
		command: "/usr/sbin/nginx",
		args: ["-p", dir, "-e", path.join(dir, "error.log"), "-c", file],
	});
	await ready(record, port);
	return {
		pid: record.pid,
		load: { port, ca: stack.certificates.ca, path: "/take" },
		clear: () => fs.readdirSync(store).forEach((name) => fs.rmSync(path.join(store, name))),
	};
}

/** npm's @tus/server with its file store, over TLS. */
export async function startTusServer(stack) {
	const directory = path.join(stack.dir, "tus-server");
	fs.mkdirSync(directory, { recursive: true });
	const [port] = await freePorts(1);
	const { certificate, key } = stack.certificates.public;
	const record = await startProcess({
		dir: stack.dir,
		name: "tus-server",
		command: process.execPath,
		args: [path.join(ROOT, "tests/bench/tus-server.mjs"), JSON.stringify({ port, certificate, key, directory })],
	});
	await ready(record, port);
	return {
		pid: record.pid,
		load: { port, ca: stack.certificates.ca, path: "/files" },
		clear: () => fs.readdirSync(directory).forEach((name) => fs.rmSync(path.join(directory, name))),
	};
}
