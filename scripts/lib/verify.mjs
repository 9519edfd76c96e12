// Looks at what a recording became with tools that are not ours: sha256sum, ffprobe, psql, the file system.
import fs from "node:fs";
import path from "node:path";
import { crc32 } from "./crc32.mjs";
import { tool } from "./journey.mjs";

/** SHA-256 of a file by sha256sum. */
export async function sha256sum(file) {
	return (await tool("sha256sum", ["--", file])).replace(/^\\/, "").slice(0, 64);
}

/** What ffprobe says of a file: {format, video, audio, duration_s}. */
export async function probe(file) {
	const text = await tool("ffprobe", ["-v", "error", "-show_format", "-show_streams", "-of", "json", file]);
	const { format, streams } = JSON.parse(text);
	const stream = (kind) => streams.find(({ codec_type }) => codec_type === kind);
	return {
		format: format.format_name,
		video: stream("video") ?? null,
		audio: stream("audio") ?? null,
		duration_s: format.duration === undefined ? null : Number(format.duration),
	};
}

/** The types of a file's outermost MP4 boxes, in order. */
export function mp4Boxes(file) {
	const bytes = fs.readFileSync(file);
	const boxes = [];
	for (let at = 0; at + 8 <= bytes.length;) {
		let size = bytes.readUInt32BE(at);
		boxes.push(bytes.toString("latin1", at + 4, at + 8));
		if (size === 1) size = Number(bytes.readBigUInt64BE(at + 8));
		if (size < 8) break;
		at += size;
	}
	return boxes;
}

/** All files below a folder. */
export function filesBelow(dir) {
	if (!fs.existsSync(dir)) return [];
	return fs.readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
		const name = path.join(dir, entry.name);
		return entry.isDirectory() ? filesBelow(name) : [name];
	});
}

/** The stored file of a copy at our `file` target. */
export function storedPath(stack, copy) {
	return path.join(stack.storage, copy.location);
}

const codecOf = (probed) => [probed.video?.codec_name, probed.audio?.codec_name].filter(Boolean).join("+");

/**
 * Compares a delivered recording (what `rushesctl recording show` printed) with the fixture that was sent. Resolves to
 * {files, checks, problems}: one entry per stored file; the checks that were made, in words; what does not hold.
 */
export async function verifyRecording(stack, shown, fixture) {
	const checks = [];
	const problems = [];
	const check = (what, holds, detail = "") =>
		(holds ? checks : problems).push(detail && !holds ? `${what}: ${detail}` : what);

	const own = await sha256sum(fixture.file);
	check("raw SHA-256 equals sha256sum of what was sent", shown.sha256 === own, `${shown.sha256} is not ${own}`);
	let end = 0;
	for (const segment of shown.segments) {
		const part = fixture.bytes.subarray(segment.start_offset, segment.start_offset + segment.bytes);
		const crc = crc32(part).toString(16).padStart(8, "0");
		check(
			`CRC-32 of segment ${segment.number} (${segment.bytes} bytes from ${segment.start_offset})`,
			segment.crc32 === crc,
			`${segment.crc32} is not ${crc}`,
		);
		end = Math.max(end, segment.start_offset + segment.bytes);
	}
	if (shown.segments.length > 0)
		check("segments cover the whole take", end === fixture.bytes.length, `${end} of ${fixture.bytes.length} bytes`);

	const files = [];
	for (const file of shown.files) {
		const copy = shown.copies.find(({ kind, target }) => kind === file.kind && target);
		if (!copy) {
			problems.push(`${file.kind} has no copy at a target`);
			continue;
		}
		const stored = storedPath(stack, copy);
		if (!fs.existsSync(stored)) {
			problems.push(`${file.kind} is not at ${stored}`);
			continue;
		}
		const sum = await sha256sum(stored);
		const size = fs.statSync(stored).size;
		check(
			`stored ${file.kind} has the SHA-256 and the size of its row`,
			sum === file.sha256 && size === file.bytes,
			`${sum}, ${size} bytes, is not ${file.sha256}, ${file.bytes} bytes`,
		);
		const probed = await probe(stored);
		files.push({
			kind: file.kind,
			bytes: file.bytes,
			sha256: sum,
			codec: codecOf(probed),
			duration_s: ["main", "raw"].includes(file.kind) ? probed.duration_s : null,
			target: copy.target,
			location: path.relative(stack.root, stored),
		});
		if (file.kind === "raw") check("stored raw is what was sent", sum === own);
		if (file.kind === "main") verifyMain(check, stored, probed);
	}
	for (const kind of ["main", "raw"])
		check(
			`${kind} was stored`,
			files.some((file) => file.kind === kind),
		);
	return { files, checks, problems };
}

function verifyMain(check, stored, probed) {
	const boxes = mp4Boxes(stored);
	check(
		"main is H.264 and AAC in .mp4 by ffprobe, with a duration",
		probed.format.split(",").includes("mp4") &&
			(!probed.video || probed.video.codec_name === "h264") &&
			(!probed.audio || probed.audio.codec_name === "aac") &&
			probed.duration_s > 0,
		`${probed.format}: ${codecOf(probed)}, ${probed.duration_s} s`,
	);
	check(
		"main begins with its index (faststart)",
		boxes.indexOf("moov") >= 0 && boxes.indexOf("moov") < boxes.indexOf("mdat"),
		boxes.join(" "),
	);
}

/** Tables that may still name a deleted recording: ids and names of objects only, no content. */
const MAY_STAY = ["recording", "ledger", "audit", "job_done", "attempt", "event", "second_look"];

/** What of a tombstone must be empty. */
const TOMBSTONE_EMPTY = [
	"mime",
	"bytes",
	"sha256",
	"expected_sha256",
	"link",
	"session",
	"replaces",
	"personal_due_at",
];

/**
 * What is left of a deleted recording that may not be: files in spools or storage (`paths`: what there was before, and
 * any file named by one of `copies`), rows in tables. Resolves to a list in words, empty when all is gone.
 */
export async function leftOf(stack, recording, copies) {
	const left = [];
	const ids = new Set(copies.map(({ id }) => id));
	for (const file of [...filesBelow(path.join(stack.dir, "spool")), ...filesBelow(stack.storage)]) {
		const name = path.basename(file);
		if (file.includes(recording) || [...ids].some((id) => name.includes(id)))
			left.push(path.relative(stack.root, file));
	}
	for (const copy of copies.filter(({ target }) => target)) {
		const file = storedPath(stack, copy);
		if (fs.existsSync(file)) left.push(path.relative(stack.root, file));
	}
	const tables = await stack.postgres.query(`
		SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'rushes'
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'recording' AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition`);
	for (const { name } of tables.filter((table) => !MAY_STAY.includes(table.name))) {
		const [{ n }] = await stack.postgres.query(
			`SELECT count(*) AS n FROM rushes.${name} WHERE recording = '${recording}'`,
		);
		if (n > 0) left.push(`${n} rows of table ${name}`);
	}
	const [tombstone] = await stack.postgres.query(`SELECT * FROM rushes.recording WHERE id = '${recording}'`);
	if (tombstone?.state !== "deleted") left.push(`the recording is ${tombstone?.state ?? "unknown"}, not deleted`);
	for (const column of TOMBSTONE_EMPTY.filter((name) => tombstone && tombstone[name] !== null))
		left.push(`recording.${column}`);
	return left;
}

/** Hash of the ledger's entry that ends a deletion, or null. */
export async function certificateOf(stack, recording) {
	const rows = await stack.postgres.query(
		`SELECT encode(hash, 'hex') AS hash FROM rushes.ledger WHERE recording = '${recording}' AND kind = 'complete'`,
	);
	return rows.length === 1 ? rows[0].hash : null;
}
