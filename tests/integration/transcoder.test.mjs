// The transcoder alone, between real servers: the test plays ingest (sealed segments behind mutual TLS) and nobody takes
// the push jobs, so what it makes stays to be looked at.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { stopProcess, waitFor } from "../../scripts/lib/process.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { filesBelow, mp4Boxes, probe, sha256sum } from "../../scripts/lib/verify.mjs";
import { advanceTime, commonRun, fixture, testStack } from "../lib/harness.mjs";

const run = promisify(execFile);
const PROBE = path.join(ROOT, "build/gcc/tests/integration/segment_probe");
const INGEST = "11111111-0000-4000-8000-000000000001";

let stack;
let account;
let environments;
let segments; // folder of the sealed segments that the test serves
let server;
let beat;
const requests = [];

const uuid = () => crypto.randomUUID();
const literal = (value) => {
	if (value === null || value === undefined) return "null";
	if (typeof value === "number" || typeof value === "boolean") return String(value);
	if (typeof value === "object") return `'${JSON.stringify(value).replaceAll("'", "''")}'::jsonb`;
	return `'${value.replaceAll("'", "''")}'`;
};
const call = (name, ...args) =>
	stack.postgres.query(`select * from rushes.${name}(${args.map(literal).join(", ")})`);
const one = async (name, ...args) => (await call(name, ...args))[0];
const value = async (sql) => (await stack.postgres.psql(sql)).trim();

/** Ingest's part: serves segments to whoever runs a job that needs them, as rushes.serve_check says. */
function startIngest() {
	const { certificate, key } = stack.certificates.services.ingest;
	const listener = https.createServer(
		{ cert: fs.readFileSync(certificate), key: fs.readFileSync(key), ca: stack.ca, requestCert: true },
		async (request, response) => {
			const copy = path.basename(request.url);
			const uri = /URI:rushes:\/\/[^/]+\/([^,]+)/.exec(request.socket.getPeerCertificate().subjectaltname)[1];
			requests.push({ copy, uri });
			try {
				await one(
					"serve_check",
					INGEST,
					copy,
					uri,
					request.headers["rushes-job"],
					Number(request.headers["rushes-attempt"]),
				);
			} catch {
				response.writeHead(403).end();
				return;
			}
			const bytes = fs.readFileSync(path.join(segments, `${copy}.sealed`));
			response.writeHead(200, { "content-length": bytes.length }).end(bytes);
		},
	);
	return new Promise((resolve) => listener.listen(0, "127.0.0.1", () => resolve(listener)));
}

const beatNow = () =>
	call("node_beat", INGEST, "eu1", "ingest", `https://localhost:${server.address().port}`, 1e12, 1e12, false);

/**
 * A saved recording of these bytes, cut at `cuts` ([start, bytes, isOther] of each segment; isOther: each byte is another than the
 * file's); `spoil` changes the sealed files, `sha256` is what the client said of the whole.
 */
async function save(file, { conversion = "always", cuts, spoil = () => {}, sha256 = null } = {}) {
	const size = fs.statSync(file).size;
	const recording = uuid();
	const code = `\\x${crypto.randomBytes(8).toString("hex")}`;
	const environment = environments[conversion];
	const expires = await value("select rushes.rushes_now() + interval '1 day'");
	await call("link_create", "test", account, environment, uuid(), code, expires, 1, {}, null);
	const consent = await value(`select consent_text from rushes.environment where id = '${environment}'`);
	const { session } = await one("session_open", code, uuid(), "\\x01", null, consent, "12 h");
	const opened = await one(
		"recording_open",
		recording,
		account,
		session,
		"video/webm",
		"192.0.2.1",
		"agent",
		null,
		null,
		null,
		null,
		null,
	);
	assert.equal(opened.verdict, "new");
	const parts = (cuts ?? [[0, size]]).map(([start, bytes, isOther]) => `${start}:${bytes}${isOther ? "x" : ""}`);
	const { stdout } = await run(
		PROBE,
		["seal", stack.keyFile("spool-root"), account, recording, file, segments, ...parts],
		{ env: { DATABASE: stack.postgres.conninfo("ingest") } },
	);
	const sealed = JSON.parse(stdout);
	spoil(sealed.segments.map(({ copy }) => path.join(segments, `${copy}.sealed`)));
	for (const s of sealed.segments) {
		const { epoch } = await one("segment_prepare", recording, session);
		const location = `${s.copy}.sealed`;
		const key = [sealed.account_key, `\\x${sealed.wrapped}`];
		await call("segment_open", recording, epoch, s.number, INGEST, s.start, s.copy, location, ...key);
		await call("segment_present", s.copy, INGEST);
		await call("segment_close", recording, s.number, INGEST, s.bytes, `\\x${s.sha256}`, s.crc32);
	}
	await call("recording_saved", recording, "user", true, false, false, size, sha256 && `\\x${sha256}`);
	return { recording, segments: sealed.segments };
}

const stateOf = (recording) => value(`select state from rushes.recording where id = '${recording}'`);
const filesOf = (recording) =>
	stack.postgres.query(`select f.kind, f.bytes, encode(f.sha256, 'hex') as sha256, f.facts, c.id as copy,
		c.location, c.state, n.service from rushes.file f left join rushes.copy c on c.recording = f.recording
		and c.kind = f.kind left join rushes.node n on n.id = c.node where f.recording = '${recording}' order by f.kind`);
const attemptsOf = (recording) =>
	stack.postgres.query(`select outcome, class, error from rushes.attempt where recording = '${recording}'
		order by ended_at`);

async function reached(recording, states, limitMs = 60_000) {
	let state;
	await waitFor(
		`the recording is ${states}`,
		async () => {
			state = await stateOf(recording);
			return states.includes(state);
		},
		{ limitMs },
	);
	return state;
}

const spoolFiles = () => filesBelow(stack.spoolPath("transcoder")).filter((file) => file.endsWith(".sealed"));

/** Opens a file of the transcoder's spool. */
async function opened(recording, file) {
	const to = path.join(stack.dir, `${file.kind}-${recording}`);
	await run(
		PROBE,
		["open", stack.keyFile("spool-root"), recording, path.join(stack.spoolPath("transcoder"), file.location), to],
		{ env: { DATABASE: stack.postgres.conninfo("transcoder") } },
	);
	assert.equal(await sha256sum(to), file.sha256);
	assert.equal(fs.statSync(to).size, file.bytes);
	return to;
}

/** Rows and files of the transcoder's spool say the same. */
async function agreed() {
	// what a failed attempt began is looked for once a minute
	const limitMs = 100_000;
	await waitFor(
		"rows and files of the spool agree",
		async () => {
			const rows = await stack.postgres.query(`select c.id from rushes.copy c join rushes.node n on n.id = c.node
				where n.service = 'transcoder' order by c.id`);
			const files = spoolFiles().map((file) => path.basename(file, ".sealed"));
			return JSON.stringify(rows.map(({ id }) => id)) === JSON.stringify(files.sort());
		},
		{ limitMs },
	);
}

before(async () => {
	stack = testStack("transcoder");
	await stack.prepare();
	segments = path.join(stack.dir, "segments");
	fs.mkdirSync(segments);
	server = await startIngest();
	await beatNow();
	beat = setInterval(() => void beatNow().catch(() => {}), 3000);
	account = (await stack.ctl(["account", "create", "Transcoder"])).id;
	await stack.ctl(["target", "create", "storage", "--kind", "file", "--path", stack.storage]);
	environments = {};
	for (const conversion of ["always", "never"])
		environments[conversion] = await value(
			`select rushes.environment_set('test', '${account}', '${conversion}', '${JSON.stringify({ conversion })}')`,
		);
	await stack.startService("transcoder");
});
after(async () => {
	clearInterval(beat);
	server?.close();
	server?.closeAllConnections();
	await stack.remove();
});

describe("a saved recording", () => {
	it("is copied from its segments and converted", { timeout: 90_000 }, async () => {
		const sent = fixture("cam-vp8-opus.webm");
		// the third repeats bytes of the second: a client that sent again
		const cuts = [
			[0, 200_000],
			[200_000, 100_000],
			[250_000, sent.bytes.length - 250_000],
		];
		const { recording } = await save(sent.file, { cuts });
		assert.equal(await reached(recording, ["processed", "failed-copy", "failed-conversion"]), "processed");
		const files = await filesOf(recording);
		assert.deepEqual(
			files.map(({ kind, state, service }) => [kind, state, service]),
			["filmstrip", "main", "raw", "snapshot"].map((kind) => [kind, "present", "transcoder"]),
		);
		const [filmstrip, main, raw, snapshot] = files;
		assert.equal(raw.sha256, await sha256sum(sent.file));
		assert.deepEqual(fs.readFileSync(await opened(recording, raw)), sent.bytes);
		const mp4 = await opened(recording, main);
		const probed = await probe(mp4);
		assert.equal(probed.video.codec_name, "h264");
		assert.equal(probed.audio.codec_name, "aac");
		assert.ok(Math.abs(probed.duration_s - 5.2) < 0.15);
		const boxes = mp4Boxes(mp4);
		assert.ok(boxes.indexOf("moov") < boxes.indexOf("mdat"));
		assert.equal(main.facts.width, 640);
		assert.equal(main.facts.source_video, "vp8");
		assert.ok(Math.abs(main.facts.duration_s - 5.2) < 0.15);
		assert.equal((await probe(await opened(recording, snapshot))).video.codec_name, "mjpeg");
		assert.equal((await probe(await opened(recording, filmstrip))).video.width, filmstrip.facts.width);
		for (const file of spoolFiles()) {
			const bytes = fs.readFileSync(file);
			for (const secret of [sent.bytes, fs.readFileSync(mp4)]) assert.equal(commonRun(secret, bytes), -1);
		}
		assert.deepEqual(
			(await attemptsOf(recording)).map(({ outcome }) => outcome),
			["done", "done"],
		);
	});

	it("without a picture has neither snapshot nor filmstrip", { timeout: 90_000 }, async () => {
		const { recording } = await save(fixture("mic-opus.webm").file);
		assert.equal(await reached(recording, ["processed", "failed-conversion"]), "processed");
		const files = await filesOf(recording);
		assert.deepEqual(
			files.map(({ kind }) => kind),
			["main", "raw"],
		);
		assert.equal(files[0].facts.has_video, false);
		await agreed();
	});

	it("with conversion `never` stays as it is", { timeout: 90_000 }, async () => {
		const sent = fixture("cam-av1-opus.webm");
		const { recording } = await save(sent.file, { conversion: "never" });
		assert.equal(await reached(recording, ["processed", "failed-copy"]), "processed");
		const files = await filesOf(recording);
		assert.deepEqual(
			files.map(({ kind }) => kind),
			["main"],
		);
		assert.deepEqual(fs.readFileSync(await opened(recording, files[0])), sent.bytes);
	});

	it("that no decoder opens fails at once and for good", { timeout: 180_000 }, async () => {
		const { recording } = await save(fixture("bad-random-bytes.webm").file);
		assert.equal(await reached(recording, ["processed", "failed-conversion"]), "failed-conversion");
		const attempts = await attemptsOf(recording);
		assert.equal(attempts.at(-1).class, "reject");
		const [copy] = await stack.postgres.query(
			`select due_at, rule from rushes.copy where recording = '${recording}' and kind = 'raw'`,
		);
		assert.equal(copy.rule, "failed-conversion");
	});

	it("is taken by its jobs alone", { timeout: 20_000 }, async () => {
		assert.ok(requests.every(({ uri }) => uri === "transcoder/transcoder-1"));
		const { status, body } = await stack.admin("transcoder", "/metrics");
		assert.equal(status, 200);
		assert.match(body, /rushes_transcoder_conversions_total\{result="encoded"\} [1-9]/);
		assert.match(body, /rushes_transcoder_conversions_total\{result="reject"\} 1/);
		assert.match(body, /rushes_transcoder_alarms_total 0/);
	});
});

describe("a segment", () => {
	it("that was changed on its way is refused, and copied when it is whole again", { timeout: 240_000 }, async () => {
		const sent = fixture("cam-h264-opus.mkv");
		let whole;
		let file;
		const saved = await save(sent.file, {
			spoil: ([only]) => {
				file = only;
				whole = fs.readFileSync(file);
				const changed = Buffer.from(whole);
				changed[100_000] ^= 1;
				fs.writeFileSync(file, changed);
			},
		});
		await waitFor("an attempt found it out", async () =>
			(await attemptsOf(saved.recording)).some((attempt) => attempt.class === "corrupt"),
		);
		fs.writeFileSync(file, whole);
		await advanceTime(stack, "10 minutes");
		await beatNow();
		assert.equal(await reached(saved.recording, ["processed", "failed-copy"]), "processed");
		assert.equal((await filesOf(saved.recording)).find(({ kind }) => kind === "raw").sha256, await sha256sum(sent.file));
		await agreed();
	});
});

describe("segments", () => {
	const sent = fixture("cam-vp8-opus.webm");
	const { length } = sent.bytes;
	const digest = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");
	const alarms = (recording) =>
		stack.log("transcoder").filter((line) => line.recording === recording && /ALARM: \d+ bytes of segment \d+ are not those/.test(line.message));
	const differing = async () => {
		const { body } = await stack.admin("transcoder", "/metrics");
		return Number(/^rushes_transcoder_overlaps_that_differ_total (\d+)/m.exec(body)?.[1] ?? 0);
	};

	it("that overlap with other bytes: the earlier ones count, and it is told", { timeout: 120_000 }, async () => {
		const before = await differing();
		// what came again lies within what was there, and reaches beyond it
		const cuts = [
			[0, 200_000],
			[50_000, 40_000, true],
			[150_000, 100_000, true],
			[250_000, length - 250_000],
		];
		const whole = Buffer.from(sent.bytes);
		for (let at = 200_000; at < 250_000; at++) whole[at] ^= 1;
		const { recording } = await save(sent.file, { conversion: "never", cuts, sha256: digest(whole) });
		assert.equal(await reached(recording, ["processed", "failed-copy"]), "processed");
		const [main] = await filesOf(recording);
		assert.equal(main.sha256, digest(whole));
		assert.equal(main.facts.overlaps_that_differ, 2);
		// a follower that finds a difference copies again, and says so again
		assert.deepEqual(
			new Set(alarms(recording).map(({ message }) => /\d+ bytes of segment \d+/.exec(message)[0])),
			new Set(["40000 bytes of segment 1", "50000 bytes of segment 2"]),
		);
		assert.equal((await differing()) - before, 2);
	});

	/** The copy failed at once and for good, and everything that came is there still. */
	async function failedForGood({ recording, segments: made }, reason) {
		assert.equal(await reached(recording, ["processed", "failed-copy"]), "failed-copy");
		const attempts = await attemptsOf(recording);
		assert.deepEqual(attempts.map(({ outcome, class: kind }) => [outcome, kind]), [["failed", "reject"]]);
		assert.match(attempts[0].error, reason);
		const copies = await stack.postgres.query(`select id, state, rule, due_at > rushes.rushes_now() + interval '27 days' as is_late
			from rushes.copy where recording = '${recording}' and segment is not null order by segment`);
		assert.deepEqual(copies, made.map(({ copy }) => ({ id: copy, state: "present", rule: "failed-copy", is_late: true })));
		await agreed();
	}

	it("whose whole has another SHA-256 than the client said fail for good, and are kept", { timeout: 180_000 }, async () => {
		const cuts = [[0, 200_000], [200_000, length - 200_000]];
		const said = digest(Buffer.from("another take"));
		await failedForGood(
			await save(sent.file, { cuts, sha256: said }),
			new RegExp(`SHA-256 of its 2 segments together is ${digest(sent.bytes)}, the client said ${said}`),
		);
	});

	it("that differ where they overlap are named as the reason", { timeout: 180_000 }, async () => {
		const cuts = [[0, 200_000], [150_000, 100_000, true], [250_000, length - 250_000]];
		await failedForGood(await save(sent.file, { cuts, sha256: digest(sent.bytes) }), /1 of its segments differs from an earlier one where they overlap/);
	});
});

describe("a conversion", () => {
	/** Waits until a child works on the recording. */
	const converting = (recording) =>
		waitFor(
			"a child converts it",
			async () => {
				const { body } = await stack.admin("transcoder", "/debug/state");
				return body && JSON.parse(body).conversions?.some((c) => c.recording === recording);
			},
			{ limitMs: 60_000, pollMs: 20 },
		);

	/** A take that needs some seconds. */
	async function longTake() {
		const file = path.join(stack.dir, "long.webm");
		if (!fs.existsSync(file))
			await run("ffmpeg", [
				...["-v", "error", "-stream_loop", "2", "-i", fixture("tab-vp9-opus.webm").file],
				...["-c", "copy", file],
			]);
		return file;
	}

	const children = async () => {
		const pid = stack.services.transcoder.pid;
		const tasks = fs.readdirSync(`/proc/${pid}/task`);
		return tasks.flatMap((task) =>
			fs.readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
		);
	};

	it("shows neither keys nor paths in its command line", { timeout: 90_000 }, async () => {
		const { recording } = await save(await longTake());
		await converting(recording);
		let child;
		await waitFor("the child runs", async () => ([child] = await children()).length > 0, { pollMs: 20 });
		const command = fs.readFileSync(`/proc/${child}/cmdline`, "latin1").split("\0").filter(Boolean);
		assert.deepEqual(command.slice(1), ["convert-child"]);
		assert.equal(await reached(recording, ["processed"]), "processed");
	});

	it("of a recording that is deleted ends at once and leaves nothing", { timeout: 180_000 }, async () => {
		const { recording } = await save(await longTake());
		await converting(recording);
		await call("recording_delete", recording, "deleted-by-user", "test", "no longer wanted");
		await waitFor("the child has gone", async () => (await children()).length === 0, { limitMs: 20_000 });
		await waitFor("no copy of it is left on the transcoder", async () => {
			await call("sweep_decide", "janitor", 100); // nobody else does it here
			const rows = await stack.postgres.query(`select id from rushes.copy c where c.recording = '${recording}'
				and c.node <> '${INGEST}'`);
			return rows.length === 0;
		});
		await agreed();
	});

	it("survives kill -9 of its service", { timeout: 300_000 }, async () => {
		const { recording } = await save(await longTake());
		await converting(recording);
		const [child] = await children();
		await stack.kill("transcoder");
		await waitFor("the child died with it", async () => !child || !fs.existsSync(`/proc/${child}`));
		await stack.startService("transcoder");
		// the lease runs out, which is a failed attempt; the schedule says two minutes
		await advanceTime(stack, "20 minutes");
		await beatNow();
		await waitFor("the attempt has failed", async () =>
			(await attemptsOf(recording)).some(({ outcome }) => outcome !== "done"),
		);
		await advanceTime(stack, "30 minutes");
		await beatNow();
		assert.equal(await reached(recording, ["processed", "failed-conversion"], 90_000), "processed");
		await agreed();
	});

	it("is finished before an orderly stop, or handed back", { timeout: 120_000 }, async () => {
		const { recording } = await save(await longTake());
		await converting(recording);
		assert.ok(await stopProcess(stack.dir, stack.services.transcoder, { limitMs: 60_000 }), "stops in good order");
		await stack.startService("transcoder");
		assert.equal(await reached(recording, ["processed"], 60_000), "processed");
		assert.ok((await attemptsOf(recording)).every(({ outcome }) => outcome !== "failed"));
	});
});
