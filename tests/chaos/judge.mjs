// The truth behind a run of takes: acknowledged bytes that are missing or are others, and takes whose whole is not what was sent.
// Rows and keys are read by one query each; segments are opened by a few threads (judge-worker.mjs), with a reader that is not the
// product's.
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { dataKeys } from "../lib/sealed-reader.mjs";

const THREADS_MAX = 4;
const PROGRESS_MS = 5000;
// a take of a few MB takes milliseconds
const TAKE_LIMIT_MS = 60_000;

/** What rows say of all recordings, by id; with their keys, and the segments' files in the spools of `nodes`. */
async function readTruths(stack, nodes) {
	const spools = new Map();
	for (const node of nodes) {
		const { node: id } = JSON.parse(fs.readFileSync(path.join(stack.spoolPath(node), "superblock.json"), "utf8"));
		spools.set(id, stack.spoolPath(node));
	}
	const recordings = await stack.postgres.query("SELECT id, state, recovered, bytes FROM rushes.recording");
	const segments = await stack.postgres.query(`SELECT g.recording, g.number, g.start_offset, g.bytes, g.state,
		encode(g.sha256, 'hex') AS sha256, c.node, c.location
		FROM rushes.segment g LEFT JOIN rushes.copy c ON c.recording = g.recording AND c.segment = g.number
		ORDER BY g.recording, g.start_offset, g.number`);
	const keys = await dataKeys(stack);
	const truths = new Map(recordings.map((row) => [row.id, { ...row, bytes: Number(row.bytes), segments: [], key: keys.get(row.id) }]));
	for (const { recording, number, state, sha256, ...row } of segments) {
		const file = row.location && path.join(spools.get(row.node) ?? "", row.location);
		truths.get(recording).segments.push({ number, state, sha256, start: Number(row.start_offset), bytes: Number(row.bytes), file });
	}
	return truths;
}

/** One thread's share: it is asked for one take after the other. */
async function work(queue, truths, seed, tell) {
	const worker = new Worker(new URL("judge-worker.mjs", import.meta.url));
	try {
		for (let take; (take = queue.shift()) !== undefined; ) {
			const answer = once(worker, "message", { signal: AbortSignal.timeout(TAKE_LIMIT_MS) });
			worker.postMessage({
				take: { seed, n: take.n, length: take.length, acked: take.acked, isLeft: Boolean(take.isLeft) },
				truth: take.recording && truths.get(take.recording),
			});
			const verdict = await answer.then(
				([message]) => message,
				(error) => ({ lost: take.acked, isSame: false, problems: [`cannot be judged: ${error.message}`] }),
			);
			tell(take, verdict);
		}
	} finally {
		await worker.terminate();
	}
}

/**
 * Judges takes ({n, way, length, acked, isLeft, recording}; the bytes of each are bytesOf(seed, n, length)) that were sent to `nodes`.
 * isLeft: its client never came back, so that a part is enough. Resolves to {lost, mismatched, problems}: `problems` are texts.
 */
export async function judgeTakes(stack, { nodes, takes, seed, progress = console.log }) {
	const began = Date.now();
	const result = { lost: 0, mismatched: 0, problems: [] };
	const truths = await readTruths(stack, nodes);
	const queue = [...takes];
	let judged = 0;
	const tell = (take, { lost, isSame, problems }) => {
		judged++;
		result.lost += lost;
		if (!isSame) result.mismatched++;
		for (const text of problems) result.problems.push(`take ${take.n} (${take.way}, ${take.recording ?? "never opened"}): ${text}`);
	};
	const say = () =>
		progress(`judged ${judged} of ${takes.length} takes, ${result.problems.length} problems, ${Math.round((Date.now() - began) / 1000)} s`);
	const timer = setInterval(say, PROGRESS_MS);
	try {
		const threads = Math.min(THREADS_MAX, os.cpus().length, takes.length);
		await Promise.all(Array.from({ length: threads }, () => work(queue, truths, seed, tell)));
	} finally {
		clearInterval(timer);
	}
	say();
	return result;
}
