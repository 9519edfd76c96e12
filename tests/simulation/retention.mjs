// Years of recordings under the real rules of retention, against a model of docs/retention.md that shares nothing with them.
//
//	node tests/simulation/retention.mjs        SEED=1 YEARS=10 RECORDINGS=2000 WORKERS=1
//
// With several workers each has a database, accounts and an equal part of the recordings of its own, by a seed that follows
// from SEED. Begins with its seed, says on stderr how far it is, and ends with what happened, as one line of JSON, and:
//	simulation recordings=N deletions=N early=N late=N left=N
import { spawn } from "node:child_process";
import fs from "node:fs";
import { fileURLToPath } from "node:url";
import { lastLine, simulate } from "./simulation.mjs";

const number = (name, fallback) => Number(process.env[name] || fallback);
const seed = number("SEED", Date.now() % 100_000);
const years = number("YEARS", 10);
const recordings = number("RECORDINGS", 2000);
const workers = number("WORKERS", 1);
/** Where a worker writes what it found: the descriptor that its parent gave it. */
const RESULT = 3;

const abort = new AbortController();
const tell = (text) => console.error(`simulation seed=${seed}: ${text}`);
const run = () => simulate({ seed, years, recordings, signal: abort.signal, tell });

/** One part of the recordings in a process of its own. */
function work(part) {
	const share = Math.floor(recordings / workers) + (part < recordings % workers ? 1 : 0);
	const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
		env: { ...process.env, SEED: String(seed * 1000 + part), RECORDINGS: String(share), WORKERS: "1", RUSHES_SIMULATION_PART: "1" },
		stdio: ["ignore", "inherit", "inherit", "pipe"],
	});
	abort.signal.addEventListener("abort", () => child.kill("SIGTERM"));
	let text = "";
	child.stdio[RESULT].setEncoding("utf8").on("data", (more) => (text += more));
	return new Promise((resolve, reject) => {
		child.on("close", (status) => (text === "" ? reject(new Error(`part ${part} ended with ${status}`)) : resolve(JSON.parse(text))));
	});
}

const add = (a, b) => Object.fromEntries(Object.keys(a).map((name) => [name, typeof a[name] === "number" ? a[name] + b[name] : Array.isArray(a[name]) ? [...a[name], ...b[name]] : add(a[name], b[name])]));

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => abort.abort(new Error(`ended by ${signal}`)));

if (process.env.RUSHES_SIMULATION_PART) {
	fs.writeSync(RESULT, JSON.stringify(await run()));
} else {
	console.log(`simulation seed=${seed} years=${years} recordings=${recordings} workers=${workers}`);
	const parts = workers === 1 ? [await run()] : await Promise.all(Array.from({ length: workers }, (_, part) => work(part)));
	const result = parts.reduce(add);
	for (const text of result.disagreements.slice(0, 50)) console.log(text);
	console.log(JSON.stringify(result.happened));
	console.log(lastLine(result));
	process.exitCode = result.early + result.late + result.left === 0 ? 0 : 1;
}
