// What a benchmark reads off processes, and the load program that drives every server alike.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { execFileSync } from "node:child_process";
import { ROOT } from "../../../scripts/lib/stack.mjs";

export const GIB = 1024 ** 3;

const TICKS = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
const PROGRAMS = path.join(ROOT, "build/bench");
// of one load, beyond the seconds that it was asked to last
const LIMIT_MS = 300_000;

const running = new Set();
process.on("exit", () => {
	for (const child of running) child.kill("SIGKILL");
});

/** One line of a result. */
export function bench(name, value, unit) {
	const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 3;
	console.log(`bench ${name} ${value.toFixed(digits)} ${unit}`);
}

export function median(values) {
	const sorted = [...values].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A process and all below it. */
function familyOf(pid) {
	const children = fs
		.readdirSync(`/proc/${pid}/task`)
		.flatMap((thread) => fs.readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").trim().split(/\s+/))
		.filter(Boolean);
	return [pid, ...children.flatMap((child) => familyOf(child))];
}

/** CPU seconds of a process's first thread alone: the loop of ours. */
export function loopSeconds(pid) {
	const stat = fs.readFileSync(`/proc/${pid}/task/${pid}/stat`, "latin1");
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** CPU seconds, user and system, of a process, its threads and its children, those that ended included. */
export function cpuSeconds(pid) {
	let ticks = 0;
	for (const one of familyOf(pid)) {
		const stat = fs.readFileSync(`/proc/${one}/stat`, "latin1");
		const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
		for (const field of fields.slice(11, 15)) ticks += Number(field);
	}
	return ticks / TICKS;
}

/** Resident memory in KiB. */
export function rssKib(pid) {
	return Number(/^VmRSS:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"))[1]);
}

/**
 * Starts the load program. `at(event)` is called for each line but the last; `release()` ends a `--hold`; `end` resolves to
 * the last line. A load that fails rejects with what it said, unless `mayFail`.
 */
export function startLoad(mode, options, { at = () => {}, mayFail = false, seconds = 0 } = {}) {
	const args = Object.entries(options).flatMap(([name, value]) =>
		value === true ? [`--${name}`] : value === undefined || value === false ? [] : [`--${name}`, String(value)],
	);
	const child = spawn(path.join(PROGRAMS, "load"), [mode, ...args], { stdio: ["pipe", "pipe", "pipe"] });
	running.add(child);
	let last = null;
	let said = "";
	child.stderr.on("data", (text) => (said += text));
	readline.createInterface({ input: child.stdout }).on("line", (line) => {
		last = JSON.parse(line);
		at(last);
	});
	const end = new Promise((resolve, reject) => {
		const timer = setTimeout(() => child.kill("SIGKILL"), seconds * 1000 + LIMIT_MS);
		child.on("error", reject);
		child.on("close", (status, signal) => {
			clearTimeout(timer);
			running.delete(child);
			if (last?.event === "end" && (status === 0 || mayFail)) resolve({ ...last, said: said.trim() });
			else reject(new Error(`load ${mode} ${args.join(" ")}: ended with ${status ?? signal}: ${said.trim()}`));
		});
	});
	return { end, release: () => child.stdin.end() };
}

export const runLoad = (mode, options, more) => startLoad(mode, options, more).end;

/** CPU seconds for one GiB of every primitive, and their sum. */
export function measureFloor(bytes, file) {
	return JSON.parse(execFileSync(path.join(PROGRAMS, "floor"), [String(bytes), file], { encoding: "utf8", timeout: LIMIT_MS }));
}
