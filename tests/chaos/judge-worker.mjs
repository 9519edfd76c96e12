// One thread of judge.mjs: opens the sealed segments of a recording by their rows and compares them with what was sent.
import fs from "node:fs";
import { parentPort } from "node:worker_threads";
import { openSealed } from "../lib/sealed-reader.mjs";
import { sha256 } from "../lib/takes.mjs";
import { bytesOf } from "./random.mjs";

/** The segments, opened, one over the other: the earlier one counts. Returns the bytes from 0 on. */
function stored({ segments, key }) {
	const parts = [];
	let end = 0;
	for (const segment of segments) {
		if (segment.state !== "closed") throw new Error(`segment ${segment.number} is ${segment.state}`);
		if (segment.bytes === 0 || segment.start + segment.bytes <= end) continue;
		if (segment.start > end) break;
		const { plain } = openSealed(fs.readFileSync(segment.file), Buffer.from(key));
		if (sha256(plain) !== segment.sha256 || plain.length !== segment.bytes) throw new Error(`segment ${segment.number} is not what its row says`);
		parts.push(plain.subarray(end - segment.start));
		end = segment.start + plain.length;
	}
	return Buffer.concat(parts, end);
}

/** How many bytes from the beginning are the same, of at most `limit`. */
function sameBytes(found, sent, limit) {
	const n = Math.min(found.length, sent.length, limit);
	if (found.subarray(0, n).equals(sent.subarray(0, n))) return n;
	let same = 0;
	while (same < n && found[same] === sent[same]) same++;
	return same;
}

function judge({ take, truth }) {
	const problems = [];
	const sent = bytesOf(take.seed, take.n, take.length);
	let found = Buffer.alloc(0);
	try {
		if (truth) found = stored(truth);
	} catch (error) {
		problems.push(error.message);
	}
	const same = sameBytes(found, sent, take.acked);
	if (same < take.acked) problems.push(`${take.acked} bytes were acknowledged, ${same} are there`);
	const whole = take.isLeft ? sent.subarray(0, found.length) : sent;
	const isRight = truth?.state === "saved" && truth.recovered === take.isLeft && truth.bytes === found.length;
	const isSame = isRight && sha256(found) === sha256(whole);
	if (!isSame) {
		const row = truth && { state: truth.state, recovered: truth.recovered, bytes: truth.bytes };
		problems.push(`${found.length} of ${take.length} bytes are there, its row says ${JSON.stringify(row)}`);
	}
	return { lost: take.acked - same, isSame, problems };
}

parentPort.on("message", (question) => parentPort.postMessage(judge(question)));
