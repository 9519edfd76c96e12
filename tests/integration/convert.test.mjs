// Every recorded fixture through the sandboxed conversion child; what comes out is judged by ffprobe and ffmpeg.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { FIXTURES } from "../lib/harness.mjs";

const run = promisify(execFile);
const PROBE = path.join(ROOT, "build/gcc/tests/integration/convert_probe");
const STATUS_NEVER = 3;

let folder;
before(() => {
	folder = fs.mkdtempSync(path.join(os.tmpdir(), "rushes-convert-"));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

async function convert(file, options = []) {
	const to = fs.mkdtempSync(path.join(folder, "out-"));
	const { stdout, stderr, code } = await run(PROBE, [...options, file, to]).catch((error) => error);
	return {
		status: code ?? 0,
		stderr,
		facts: code ? null : JSON.parse(stdout),
		main: path.join(to, "main.mp4"),
		snapshot: path.join(to, "snapshot.jpg"),
		filmstrip: path.join(to, "filmstrip.jpg"),
	};
}

async function probe(file) {
	const { stdout } = await run("ffprobe", ["-v", "error", "-show_streams", "-show_format", "-of", "json", file]);
	const { streams, format } = JSON.parse(stdout);
	return {
		format,
		video: streams.find((stream) => stream.codec_type === "video"),
		audio: streams.find((stream) => stream.codec_type === "audio"),
	};
}

/** Names of the top-level boxes of a .mp4, in order. */
function boxes(file) {
	const bytes = fs.readFileSync(file);
	const names = [];
	for (let at = 0; at + 8 <= bytes.length; at += Math.max(8, bytes.readUInt32BE(at))) names.push(bytes.toString("latin1", at + 4, at + 8));
	return names;
}

async function frames(file) {
	const { stdout, stderr } = await run("ffmpeg", ["-v", "warning", "-i", file, "-map", "0", "-f", "framehash", "-"], { maxBuffer: 1 << 26 });
	assert.equal(stderr, "", "decodes without a word");
	return stdout.split("\n").filter((line) => /^\d/.test(line)).length;
}

function digest(file) {
	const bytes = fs.readFileSync(file);
	return { bytes: bytes.length, sha256: crypto.createHash("sha256").update(bytes).digest("hex") };
}

/** Holds for every .mp4 that is made. */
async function checkMain(result, expected) {
	const { facts, main } = result;
	const { format, video, audio } = await probe(main);
	const order = boxes(main);
	assert.ok(order.indexOf("moov") > 0 && order.indexOf("moov") < order.indexOf("mdat"), `index in front: ${order}`);
	assert.ok(Math.abs(Number(format.duration) - expected.seconds) < 0.15, `lasts ${format.duration} s, not ${expected.seconds}`);
	assert.ok(Math.abs(facts.duration_s - Number(format.duration)) < 0.05);
	assert.equal(Boolean(video), expected.video !== undefined);
	assert.equal(Boolean(audio), expected.audio ?? true);
	assert.deepEqual(facts.main, digest(main));
	assert.ok((await frames(main)) > 0);
	for (const tag of Object.keys(format.tags ?? {})) assert.ok(!/location|creation|encoder|title/.test(tag), `tag ${tag} was copied`);
	if (audio) assert.equal(audio.codec_name, "aac");
	if (!video) return;
	assert.equal(video.codec_name, "h264");
	assert.equal(video.pix_fmt, "yuv420p");
	assert.equal(video.time_base, "1/90000");
	assert.equal(Number(video.start_time), 0);
	assert.equal(facts.video_copied, expected.copied ?? false);
	const rotation = video.side_data_list?.find((data) => data.rotation !== undefined)?.rotation ?? 0;
	const shown = rotation % 180 === 0 ? [video.width, video.height] : [video.height, video.width];
	assert.deepEqual(shown, expected.video);
	assert.deepEqual([facts.width, facts.height], expected.video);
	if (expected.frames) assert.equal(Number(video.nb_frames), expected.frames);
}

async function checkPictures({ facts, snapshot, filmstrip }, [width, height]) {
	const shot = (await probe(snapshot)).video;
	assert.equal(shot.codec_name, "mjpeg");
	assert.ok(shot.width <= 1280);
	assert.ok(Math.abs(shot.width / shot.height - width / height) < 0.02);
	assert.deepEqual([facts.snapshot_width, facts.snapshot_height], [shot.width, shot.height]);
	assert.deepEqual(facts.snapshot, digest(snapshot));
	const strip = (await probe(filmstrip)).video;
	assert.deepEqual([strip.width, strip.height], [facts.columns * facts.thumb_width, facts.rows * facts.thumb_height]);
	assert.equal(facts.thumb_width, 160);
	assert.ok(facts.thumbs * facts.interval_s >= facts.duration_s && facts.thumbs <= facts.columns * facts.rows);
	assert.deepEqual(facts.filmstrip, digest(filmstrip));
}

// seconds: the end of the last packet, as ffprobe lists the fixture's packets (a guessed length of a last frame apart)
const EXPECTED = {
	"cam-vp8-opus.webm": { seconds: 5.2, video: [640, 480], frames: 154 },
	"cam-vp9-opus.webm": { seconds: 5.26, video: [640, 480], frames: 157 },
	"cam-av1-opus.webm": { seconds: 5.4, video: [640, 480], frames: 158 },
	"cam-av1-opus.mp4": { seconds: 5.28, video: [640, 480], frames: 158 },
	"cam-vp8-noaudio.webm": { seconds: 5.17, video: [640, 480], frames: 148, audio: false },
	"cam-portrait-vp8-opus.webm": { seconds: 5.16, video: [360, 640], frames: 103 },
	"cam-h264-opus.mkv": { seconds: 5.1, video: [640, 480], frames: 154, copied: true },
	"cam-avc1-opus-1s-fragments.mp4": { seconds: 5.11, video: [640, 480], frames: 154, copied: true },
	"cam-avc1-opus-longgop.mp4": { seconds: 5.12, video: [640, 480], frames: 154, copied: true },
	"firefox-cam-vp8-opus.webm": { seconds: 4.04, video: [640, 480], frames: 121 },
	"phone-rotated90-h264-aac.mp4": { seconds: 4.0, video: [360, 640], frames: 120, copied: true },
	"synthetic-fmp4-h264-aac-rotated.mp4": { seconds: 4.02, video: [360, 640], frames: 120, copied: true },
	"tab-vp9-opus.webm": { seconds: 5.56, video: [1280, 632], frames: 82 },
	"tab-static-vp9-opus.webm": { seconds: 6.12, video: [1280, 632], frames: 8 },
	"tab-resize-vp9-opus.webm": { seconds: 7.0, video: [1280, 632], frames: 128 },
	"tab-resize-avc3-opus.mp4": { seconds: 6.52, video: [1280, 632], frames: 119 },
	"tab-resize-avc1-opus-broken.mp4": { seconds: 6.45, video: [1280, 632], frames: 48 },
	"mic-opus.webm": { seconds: 5.04 },
	"mic-opus.mp4": { seconds: 5.04 },
	"cam-abandoned-vp8-opus.webm": { seconds: 3.56, video: [640, 480], frames: 48 },
	"bad-truncated-mid-cluster.webm": { seconds: 2.91, video: [640, 480], frames: 86 },
	"bad-two-recordings-joined.webm": { seconds: 10.2, video: [640, 480], frames: 148 },
};

describe("fixtures become .mp4 files", { concurrency: 2 }, () => {
	for (const [name, expected] of Object.entries(EXPECTED))
		it(name, { timeout: 60_000 }, async () => {
			const result = await convert(path.join(FIXTURES, name));
			assert.equal(result.status, 0, result.stderr);
			await checkMain(result, expected);
			if (expected.video) await checkPictures(result, expected.video);
			else assert.ok(!result.facts.snapshot && !fs.existsSync(result.snapshot), "no pictures of sound alone");
		});
});

describe("what the facts say about damage", () => {
	it("a picture that broke at a resize stands still from there on", async () => {
		const { facts } = await convert(path.join(FIXTURES, "tab-resize-avc1-opus-broken.mp4"));
		assert.ok(facts.frozen_from_s > 2 && facts.frozen_from_s < 2.6);
		assert.ok(facts.hidden_frames > 50);
	});
	it("a recording that breaks off is truncated", async () => {
		const { facts } = await convert(path.join(FIXTURES, "bad-truncated-mid-cluster.webm"));
		assert.equal(facts.truncated, true);
	});
	it("joined recordings are two parts", async () => {
		const { facts } = await convert(path.join(FIXTURES, "bad-two-recordings-joined.webm"));
		assert.equal(facts.parts, 2);
	});
	it("a lost first byte changes nothing", async () => {
		const whole = path.join(FIXTURES, "cam-vp9-opus.webm");
		const cut = path.join(folder, "cut.webm");
		fs.writeFileSync(cut, fs.readFileSync(whole).subarray(1));
		assert.equal((await convert(cut)).facts.main.sha256, (await convert(whole)).facts.main.sha256);
	});
	it("the sandbox changes nothing", async () => {
		const file = path.join(FIXTURES, "phone-rotated90-h264-aac.mp4");
		assert.deepEqual((await convert(file, ["--plain"])).facts, (await convert(file)).facts);
	});
});

describe("what can never be converted", () => {
	for (const name of ["bad-html-named-webm.webm", "bad-random-bytes.webm", "bad-zero-bytes.webm"])
		it(name, { timeout: 20_000 }, async () => {
			const { status, stderr } = await convert(path.join(FIXTURES, name));
			assert.equal(status, STATUS_NEVER, stderr);
		});
	const texts = {
		"a playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
		"a list of files": "ffconcat version 1.0\nfile /etc/passwd\n",
		"a header without anything behind it": Buffer.from("1a45dfa3", "hex"),
	};
	for (const [what, bytes] of Object.entries(texts))
		it(what, async () => {
			const file = path.join(folder, "hostile.webm");
			fs.writeFileSync(file, bytes);
			const { status, stderr } = await convert(file);
			assert.equal(status, STATUS_NEVER, stderr);
		});
});

describe("damaged bytes", () => {
	// a fixed sequence, so that a failure can be repeated
	function* noise(seed) {
		for (let state = seed; ; yield state) state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
	}
	for (const name of ["cam-vp9-opus.webm", "cam-avc1-opus-longgop.mp4", "cam-av1-opus.mp4", "phone-rotated90-h264-aac.mp4"])
		it(`${name} with 40 wrong bytes ends in a whole file or a refusal`, { timeout: 60_000 }, async () => {
			const bytes = Buffer.from(fs.readFileSync(path.join(FIXTURES, name)));
			const random = noise(name.length);
			for (let i = 0; i < 40; i++) bytes[random.next().value % bytes.length] = random.next().value & 255;
			const file = path.join(folder, `flipped-${name}`);
			fs.writeFileSync(file, bytes);
			const result = await convert(file);
			assert.ok([0, STATUS_NEVER].includes(result.status), `status ${result.status}: ${result.stderr}`);
			if (result.status === 0) assert.deepEqual(result.facts.main, digest(result.main));
		});
});
