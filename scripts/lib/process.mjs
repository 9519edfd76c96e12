// Processes of an instance: each is started detached, with its log, and written down as pid and start time, so that any
// later command can end exactly what was started and nothing else.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const STOP_LIMIT_MS = 20_000;
const POLL_MS = 20;

/** Waits until `condition()` gives something true, which is returned; fails after `limitMs` with what was waited for. */
export async function waitFor(what, condition, { limitMs = 30_000, pollMs = POLL_MS } = {}) {
	const end = Date.now() + limitMs;
	for (;;) {
		const value = await condition();
		if (value) return value;
		if (Date.now() > end) throw new Error(`${what}: not within ${limitMs / 1000} s`);
		await delay(pollMs);
	}
}

/** State letter, parent and start time (clock ticks since boot) of a process, or null. */
function readStat(pid) {
	try {
		const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
		const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
		return { state: fields[0], parent: Number(fields[1]), started: fields[19] };
	} catch {
		return null;
	}
}

/** True while the very process of this record runs; a zombie or a reused pid is not it. */
export function isRunning(record) {
	const stat = readStat(record.pid);
	return stat !== null && stat.started === record.started && stat.state !== "Z" && stat.state !== "X";
}

function recordPath(dir, name) {
	return path.join(dir, "run", `${name}.json`);
}

/** The records of all processes that were started in an instance's folder. */
export function readRecords(dir) {
	let names;
	try {
		names = fs.readdirSync(path.join(dir, "run"));
	} catch {
		return [];
	}
	return names
		.filter((name) => name.endsWith(".json"))
		.map((name) => JSON.parse(fs.readFileSync(path.join(dir, "run", name), "utf8")));
}

/**
 * Starts a program of an instance. Its output is appended to log/NAME.log. `account` ({uid, gid}) makes it run as that
 * account. Returns the record.
 */
export async function startProcess({ dir, name, command, args = [], env = {}, cwd, account }) {
	fs.mkdirSync(path.join(dir, "run"), { recursive: true });
	fs.mkdirSync(path.join(dir, "log"), { recursive: true });
	const log = path.join(dir, "log", `${name}.log`);
	const output = fs.openSync(log, "a");
	let failure = null;
	const child = spawn(command, args, {
		cwd: cwd ?? dir,
		detached: true,
		env: { PATH: process.env.PATH, LANG: "C.UTF-8", ...env },
		stdio: ["ignore", output, output],
		...(account ? { uid: account.uid, gid: account.gid } : {}),
	});
	fs.closeSync(output);
	child.on("error", (error) => (failure = error));
	child.unref();
	if (child.pid === undefined) {
		await delay(0);
		throw new Error(`${name}: ${command} could not be started: ${failure?.message ?? "unknown reason"}`);
	}
	const stat = readStat(child.pid);
	const record = { name, pid: child.pid, started: stat?.started ?? "", command, log };
	fs.writeFileSync(recordPath(dir, name), JSON.stringify(record));
	// for whoever started it: how it ended, some moments after it did
	child.once("exit", (code, signal) => (record.exit = { code, signal }));
	return record;
}

/** Sends a signal, if the process of the record still runs. Returns whether it did. */
export function signalProcess(record, signal) {
	if (!isRunning(record)) return false;
	try {
		process.kill(record.pid, signal);
		return true;
	} catch (error) {
		if (error.code === "ESRCH") return false;
		throw error;
	}
}

/** Pids of the processes whose parent is this one. */
function childrenOf(pid) {
	return fs
		.readdirSync("/proc")
		.filter((name) => /^\d+$/.test(name))
		.map(Number)
		.filter((child) => readStat(child)?.parent === pid);
}

/**
 * Stops or goes on with a process and its children, which SIGSTOP and SIGCONT leave alone: a server that answers by processes
 * of its own, as PostgreSQL does, is only silent when all are. The parent is stopped first and goes on last.
 */
export function signalFamily(record, signal) {
	const children = isRunning(record) ? () => childrenOf(record.pid) : () => [];
	const all = (pids) => {
		for (const pid of pids) {
			try {
				process.kill(pid, signal);
			} catch (error) {
				if (error.code !== "ESRCH") throw error;
			}
		}
	};
	if (signal === "SIGSTOP") signalProcess(record, signal);
	all(children());
	if (signal !== "SIGSTOP") signalProcess(record, signal);
}

export async function waitGone(record, limitMs = STOP_LIMIT_MS) {
	await waitFor(`${record.name} (pid ${record.pid}) ends`, () => !isRunning(record), { limitMs });
}

/** Ends a process in good order, by force when it does not obey in time, and forgets its record. True: in good order. */
export async function stopProcess(dir, record, { signal = "SIGTERM", limitMs = STOP_LIMIT_MS } = {}) {
	let orderly = true;
	signalFamily(record, "SIGCONT");
	if (signalProcess(record, signal)) {
		try {
			await waitGone(record, limitMs);
		} catch {
			orderly = false;
			signalProcess(record, "SIGKILL");
			await waitGone(record);
		}
	}
	fs.rmSync(recordPath(dir, record.name), { force: true });
	return orderly;
}

/** The end of a log, for messages about what failed. */
export function logTail(file, lines = 15) {
	try {
		return fs.readFileSync(file, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
	} catch {
		return "";
	}
}
