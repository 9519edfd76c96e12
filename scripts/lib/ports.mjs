// Loopback ports: free ones for tests, and for fixed ones the plain word which is taken and by whom.
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

function listen(port) {
	return new Promise((resolve, reject) => {
		const server = net.createServer();
		server.once("error", reject);
		server.listen({ port, host: "127.0.0.1", exclusive: true }, () => resolve(server));
	});
}

// Below the range that the kernel gives to outgoing connections, so that nobody gets one of these by chance.
const LOWEST = 10240;
const HIGHEST = 32000;
const claims = path.join(os.tmpdir(), `rushes-ports-${process.getuid()}`);
const mine = new Set();

function isAlive(pid) {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return error.code === "EPERM";
	}
}

/** An empty file is one whose owner is about to write its pid. */
function isHeld(file) {
	try {
		const holder = fs.readFileSync(file, "utf8");
		return holder === "" || isAlive(Number(holder));
	} catch (error) {
		if (error.code !== "ENOENT") throw error;
		return false;
	}
}

/** Whether the port is now this process's among all that ask here; those that ended left theirs. */
function claim(port) {
	const file = path.join(claims, String(port));
	for (let tries = 0; tries < 2; tries++) {
		try {
			fs.writeFileSync(file, String(process.pid), { flag: "wx" });
			mine.add(file);
			return true;
		} catch (error) {
			if (error.code !== "EEXIST") throw error;
		}
		if (isHeld(file)) return false;
		fs.rmSync(file, { force: true });
	}
	return false;
}

process.on("exit", () => {
	for (const file of mine) fs.rmSync(file, { force: true });
});

/** `count` different ports that nobody listens on now, and that no other process gets here while this one lives. */
export async function freePorts(count) {
	fs.mkdirSync(claims, { recursive: true, mode: 0o700 });
	const ports = [];
	const range = HIGHEST - LOWEST;
	let at = Math.floor(Math.random() * range);
	for (let tried = 0; ports.length < count && tried < range; tried++, at = (at + 1) % range) {
		const port = LOWEST + at;
		if (!claim(port)) continue;
		try {
			const server = await listen(port);
			await new Promise((resolve) => server.close(resolve));
			ports.push(port);
		} catch (error) {
			if (error.code !== "EADDRINUSE") throw error;
		}
	}
	if (ports.length < count) throw new Error(`no ${count} ports between ${LOWEST} and ${HIGHEST} are free`);
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
