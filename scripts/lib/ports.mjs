// Loopback ports: free ones for tests, and for fixed ones the plain word which is taken and by whom.
import fs from "node:fs";
import net from "node:net";

function listen(port) {
	return new Promise((resolve, reject) => {
		const server = net.createServer();
		server.once("error", reject);
		server.listen({ port, host: "127.0.0.1", exclusive: true }, () => resolve(server));
	});
}

/** `count` different ports that nobody listens on now. */
export async function freePorts(count) {
	const servers = [];
	for (let i = 0; i < count; i++) servers.push(await listen(0));
	const ports = servers.map((server) => server.address().port);
	await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
	return ports;
}

/** "name (pid N)" of the process that listens on a TCP port, or null when it cannot be seen. */
function portHolder(port) {
	const wanted = port.toString(16).toUpperCase().padStart(4, "0");
	const inodes = new Set();
	for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
		if (!fs.existsSync(table)) continue;
		for (const line of fs.readFileSync(table, "latin1").split("\n").slice(1)) {
			const fields = line.trim().split(/\s+/);
			if (fields.length > 9 && fields[1].endsWith(`:${wanted}`) && fields[3] === "0A")
				inodes.add(`socket:[${fields[9]}]`);
		}
	}
	for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
		try {
			for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
				if (inodes.has(fs.readlinkSync(`/proc/${pid}/fd/${fd}`)))
					return `${fs.readFileSync(`/proc/${pid}/comm`, "utf8").trim()} (pid ${pid})`;
			}
		} catch {
			// ended meanwhile, or not ours to look at
		}
	}
	return null;
}

/** Fails with every port of `ports` ({name: number}) that is taken, and by whom where that can be seen. */
export async function requireFree(ports) {
	const taken = [];
	for (const [name, port] of Object.entries(ports)) {
		try {
			const server = await listen(port);
			await new Promise((resolve) => server.close(resolve));
		} catch (error) {
			if (error.code !== "EADDRINUSE") throw error;
			taken.push(`port ${port} (for ${name}) is taken by ${portHolder(port) ?? "a process of another user"}`);
		}
	}
	if (taken.length > 0) throw new Error(taken.join("\n"));
}
