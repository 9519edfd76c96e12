// tus 1.0.0 at /v1/tus, header by header: every status and header that the specification names, and that no offset is ever
// told whose bytes could be lost. No transcoder runs, so that what lies in the spool is what ingest left there.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { makeAccount, request } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { testStack } from "../lib/harness.mjs";
import { openApi } from "../lib/schemas.mjs";
import { BYTES, Uploads, VERSION, checksum, metadata, sessionToken } from "../lib/uploads.mjs";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

// of all its tests together, and of each that names none
const LIMIT_MS = 500_000;

describe("tus", { timeout: LIMIT_MS }, () => {
	let stack;
	let account;
	let mine;

	before(async () => {
		stack = testStack("tus", { overrides: { ingest: { RUSHES_INGEST_LINGER: "500ms" } } });
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		account = await makeAccount(stack);
		mine = new Uploads(stack, await sessionToken(stack, account), openApi());
	});
	after(() => stack.remove());

	const idOf = (path) => path.split("/").pop();
	const row = async (path) => (await stack.postgres.query(`SELECT * FROM rushes.recording WHERE id = '${idOf(path)}'`))[0];
	const segments = (path) =>
		stack.postgres.query(`SELECT number, state, start_offset, bytes, encode(sha256, 'hex') AS sha256
			FROM rushes.segment WHERE recording = '${idOf(path)}' AND bytes > 0 ORDER BY number`);

	/** The upload is saved, and its segments' own hashes, in order, are those of the sent bytes. */
	async function holds(path, bytes) {
		let at = 0;
		for (const segment of await segments(path)) {
			assert.equal(segment.state, "closed");
			assert.equal(Number(segment.start_offset), at);
			const part = bytes.subarray(at, at + Number(segment.bytes));
			assert.equal(segment.sha256, sha256(part), `segment ${segment.number}`);
			at += part.length;
		}
		assert.equal(at, bytes.length);
		const { state, stop, recovered, sent_at } = await row(path);
		assert.deepEqual([state, stop, recovered], ["saved", "upload", false]);
		assert.ok(sent_at);
	}

	function refused(answer, status, code) {
		assert.equal(answer.status, status, answer.body?.toString());
		if (answer.body?.length) assert.equal(answer.json.code, code);
		assert.equal(answer.headers["tus-resumable"], VERSION);
	}

	describe("OPTIONS", () => {
		it("tells without a token what the server can do, and lets every origin in", async () => {
			const made = await mine.create(5);
			for (const path of ["/v1/tus", "/v1/tus/", made.path]) {
				const { status, headers } = await mine.send("OPTIONS", path, {
					authorization: undefined,
					"tus-resumable": undefined,
					origin: "https://helpdesk.example",
					"access-control-request-method": "PATCH",
					"access-control-request-headers": "tus-resumable,upload-offset,authorization",
				});
				assert.equal(status, 204);
				assert.equal(headers["tus-version"], VERSION);
				assert.deepEqual(headers["tus-extension"].split(",").sort(), [
					"checksum", "creation", "creation-defer-length", "creation-with-upload", "expiration", "termination",
				]);
				assert.deepEqual(headers["tus-checksum-algorithm"].split(","), ["sha1", "sha256", "crc32"]);
				assert.match(headers["tus-max-size"], /^\d+$/);
				assert.equal(headers["access-control-allow-origin"], "*");
				for (const name of ["Authorization", "Tus-Resumable", "Upload-Offset", "Upload-Checksum", "Content-Type"])
					assert.ok(headers["access-control-allow-headers"].split(", ").includes(name), name);
			}
		});
	});

	describe("every request", () => {
		it("needs the version, and is not looked at without it", async () => {
			for (const version of [undefined, "0.2.2", "1.0.1", "2.0.0"]) {
				const answer = await mine.create(5, { "tus-resumable": version, authorization: undefined });
				refused(answer, 412, "version-unknown");
				assert.equal(answer.headers["tus-version"], VERSION);
			}
			const before = await stack.postgres.query("SELECT count(*) AS n FROM rushes.recording");
			refused(await mine.create(5, { "tus-resumable": "0.1" }), 412, "version-unknown");
			assert.deepEqual(await stack.postgres.query("SELECT count(*) AS n FROM rushes.recording"), before);
		});

		it("needs a session's token, and finds only that session's uploads", async () => {
			const { path } = await mine.create(5);
			for (const method of ["POST", "HEAD", "PATCH", "DELETE"]) {
				const answer = await mine.send(method, method === "POST" ? "/v1/tus" : path, {
					authorization: undefined, "upload-length": 5, "upload-offset": 0, "content-type": BYTES,
				});
				refused(answer, 401, "token-invalid");
				assert.equal(answer.headers["www-authenticate"], "Bearer");
			}
			const other = new Uploads(stack, await sessionToken(stack, account), openApi());
			for (const where of [path, `/v1/tus/${randomUUID()}`, "/v1/tus/none"]) {
				refused(await other.head(where), 404);
				assert.equal((await other.head(where)).headers["upload-offset"], undefined);
				refused(await other.patch(where, 0, Buffer.from("hello")), 404, "unknown-upload");
				refused(await other.send("DELETE", where), 404, "unknown-upload");
			}
			assert.equal(await mine.offset(path), 0);
		});

		it("may name its method in a header", async () => {
			const bytes = randomBytes(2000);
			const { path } = await mine.create(bytes.length);
			const patched = await mine.send("POST", path,
				{ "x-http-method-override": "PATCH", "content-type": BYTES, "upload-offset": 0 }, bytes.subarray(0, 1500));
			assert.equal(patched.status, 204);
			assert.equal(patched.headers["upload-offset"], "1500");
			const looked = await mine.send("POST", path, { "x-http-method-override": "HEAD" });
			assert.deepEqual([looked.status, looked.headers["upload-offset"]], [200, "1500"]);
			assert.equal((await mine.send("POST", path, { "x-http-method-override": "DELETE" })).status, 204);
			const refusal = await mine.send("POST", path, { "x-http-method-override": "BREW" });
			assert.equal(refusal.status, 405);
			assert.equal(refusal.headers.allow, "OPTIONS, HEAD, PATCH, DELETE");
			assert.equal((await mine.send("GET", path)).status, 405);
			assert.equal((await mine.send("GET", "/v1/tus")).status, 405);
		});
	});

	describe("creation", () => {
		it("answers with the upload's place, which tells what was given", async () => {
			const about = metadata({ filename: "Bildschirm – 1.webm", filetype: "video/webm", nothing: "" });
			const made = await mine.create(100, { "upload-metadata": `${about},is_confidential` });
			assert.equal(made.status, 201);
			assert.equal(made.headers["tus-resumable"], VERSION);
			assert.equal(made.headers["upload-offset"], undefined);
			assert.ok(Date.parse(made.headers["upload-expires"]) > Date.now() + 80 * 60_000);
			assert.match(made.headers["upload-expires"], /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
			const { status, headers } = await mine.head(made.path);
			assert.equal(status, 200);
			assert.deepEqual(
				["upload-offset", "upload-length", "upload-defer-length", "upload-metadata", "cache-control"].map((name) => headers[name]),
				["0", "100", undefined, `${about},is_confidential`, "no-store"],
			);
			assert.ok(headers["upload-expires"]);
			assert.equal((await row(made.path)).mime, "video/webm");
			const [personal] = await stack.postgres.query(
				`SELECT file_name FROM rushes.recording_personal WHERE recording = '${idOf(made.path)}'`);
			assert.equal(personal.file_name, "Bildschirm – 1.webm");
		});

		it("refuses lengths and metadata that cannot be", async () => {
			const cases = [
				[undefined, {}, 400, "bad-request"],
				["-1", {}, 400, "bad-request"],
				["1e3", {}, 400, "bad-request"],
				["99999999999999999999", {}, 400, "bad-request"],
				[5, { "upload-defer-length": "1" }, 400, "bad-request"],
				[undefined, { "upload-defer-length": "2" }, 400, "bad-request"],
				[0, {}, 400, "empty"],
				["1000000000000000", {}, 413, "too-large"],
				[5, { "upload-concat": "partial" }, 400, "bad-request"],
				[5, { "upload-metadata": "name !!!" }, 400, "bad-request"],
				[5, { "upload-metadata": "a YQ==,a Yg==" }, 400, "bad-request"],
				[5, { "upload-metadata": ",a YQ==" }, 400, "bad-request"],
			];
			for (const [length, headers, status, code] of cases) refused(await mine.create(length, headers), status, code);
		});

		it("refuses what is longer than the environment allows, and what has no room here", async () => {
			const [{ max_bytes }] = await stack.postgres.query("SELECT max_bytes FROM rushes.environment LIMIT 1");
			refused(await mine.create(Number(max_bytes) + 1), 413, "too-large");
			const options = await mine.send("OPTIONS", "/v1/tus");
			assert.equal(options.headers["tus-max-size"], String(max_bytes));
		});

		it("takes the first bytes with it", async () => {
			const bytes = randomBytes(200_000);
			const made = await mine.create(bytes.length, { "content-type": BYTES }, bytes.subarray(0, 150_000));
			assert.deepEqual([made.status, made.headers["upload-offset"]], [201, "150000"]);
			assert.equal(await mine.offset(made.path), 150_000);
			assert.equal((await mine.patch(made.path, 150_000, bytes.subarray(150_000))).status, 204);
			await holds(made.path, bytes);
		});

		it("takes all bytes with it", async () => {
			const bytes = randomBytes(100_000);
			const made = await mine.create(bytes.length, { "content-type": BYTES }, bytes);
			assert.deepEqual([made.status, made.headers["upload-offset"], made.headers["upload-expires"]], [201, "100000", undefined]);
			await holds(made.path, bytes);
		});

		it("refuses bytes of another type, too many, and such as fail their checksum", async () => {
			const bytes = randomBytes(1000);
			refused(await mine.create(1000, { "content-type": "video/webm" }, bytes), 415, "unsupported-type");
			refused(await mine.create(1000, {}, bytes), 415, "unsupported-type");
			refused(await mine.create(999, { "content-type": BYTES }, bytes), 413, "too-large");
			const wrong = { "content-type": BYTES, "upload-checksum": checksum(randomBytes(3)) };
			refused(await mine.create(1000, wrong, bytes), 460, "checksum-mismatch");
		});

		it("may leave the length open", async () => {
			const bytes = randomBytes(90_000);
			const made = await mine.create(undefined, { "upload-defer-length": "1" });
			assert.equal(made.status, 201);
			const { headers } = await mine.head(made.path);
			assert.deepEqual([headers["upload-defer-length"], headers["upload-length"]], ["1", undefined]);
			assert.equal((await mine.patch(made.path, 0, bytes.subarray(0, 50_000))).status, 204);
			assert.equal((await mine.head(made.path)).headers["upload-defer-length"], "1");
			refused(await mine.patch(made.path, 50_000, Buffer.alloc(0), { "upload-length": 49_999 }), 400, "bad-request");
			assert.equal((await mine.patch(made.path, 50_000, Buffer.alloc(0), { "upload-length": 90_000 })).status, 204);
			const told = await mine.head(made.path);
			assert.deepEqual([told.headers["upload-defer-length"], told.headers["upload-length"]], [undefined, "90000"]);
			refused(await mine.patch(made.path, 50_000, bytes.subarray(50_000), { "upload-length": 90_001 }), 400, "length-changed");
			assert.equal((await mine.patch(made.path, 50_000, bytes.subarray(50_000), { "upload-length": 90_000 })).status, 204);
			await holds(made.path, bytes);
		});

		it("releases an open one when its length comes last", async () => {
			const bytes = randomBytes(70_000);
			const made = await mine.create(undefined, { "upload-defer-length": "1", "content-type": BYTES }, bytes);
			assert.deepEqual([made.status, made.headers["upload-offset"]], [201, "70000"]);
			const last = await mine.patch(made.path, 70_000, Buffer.alloc(0), { "upload-length": 70_000 });
			assert.deepEqual([last.status, last.headers["upload-expires"]], [204, undefined]);
			await holds(made.path, bytes);
		});

		it("keeps nothing of an open one that is told to be empty", async () => {
			const made = await mine.create(undefined, { "upload-defer-length": "1" });
			refused(await mine.patch(made.path, 0, Buffer.alloc(0), { "upload-length": 0 }), 400, "empty");
			assert.equal((await mine.head(made.path)).status, 410);
		});
	});

	describe("PATCH", () => {
		it("adds bytes at the offset only, and releases the take with the last", async () => {
			const bytes = randomBytes(400_000);
			const { path } = await mine.create(bytes.length);
			const first = await mine.patch(path, 0, bytes.subarray(0, 100_001));
			assert.deepEqual([first.status, first.headers["upload-offset"]], [204, "100001"]);
			assert.ok(first.headers["upload-expires"]);
			for (const wrong of [0, 100_000, 100_002, 400_000])
				refused(await mine.patch(path, wrong, bytes.subarray(wrong)), 409, "offset-mismatch");
			assert.equal(await mine.offset(path), 100_001);
			refused(await mine.patch(path, 100_001, bytes.subarray(100_000)), 413, "too-large");
			assert.equal((await mine.patch(path, 100_001, Buffer.alloc(0))).headers["upload-offset"], "100001");
			const last = await mine.patch(path, 100_001, bytes.subarray(100_001));
			assert.deepEqual([last.status, last.headers["upload-offset"], last.headers["upload-expires"]], [204, "400000", undefined]);
			await holds(path, bytes);
		});

		it("may be asked again when all is there, and takes nothing more", async () => {
			const bytes = randomBytes(1000);
			const { path } = await mine.create(bytes.length, { "content-type": BYTES }, bytes);
			const { headers } = await mine.head(path);
			assert.deepEqual([headers["upload-offset"], headers["upload-length"], headers["upload-expires"]], ["1000", "1000", undefined]);
			assert.equal((await mine.patch(path, 1000, Buffer.alloc(0))).status, 204);
			refused(await mine.patch(path, 1000, Buffer.from("x")), 413, "too-large");
			refused(await mine.patch(path, 0, bytes), 409, "offset-mismatch");
			refused(await mine.patch(path, 1000, bytes, { "upload-checksum": checksum(bytes) }), 413, "too-large");
			await holds(path, bytes);
			await waitFor("nobody is busy with it", async () => {
				const { recordings } = JSON.parse((await stack.admin("ingest", "/debug/state")).body).recordings;
				return !recordings.some(({ recording }) => recording === idOf(path));
			});
		});

		it("refuses other types, codings and offsets that are no numbers", async () => {
			const { path } = await mine.create(5);
			const five = Buffer.from("hello");
			refused(await mine.patch(path, 0, five, { "content-type": "application/octet-stream" }), 415, "unsupported-type");
			refused(await mine.patch(path, 0, five, { "content-type": undefined }), 415, "unsupported-type");
			refused(await mine.patch(path, 0, five, { "content-encoding": "gzip" }), 415, "unsupported-type");
			for (const offset of [undefined, "-1", "+0", "0x0", "", "one"])
				refused(await mine.patch(path, offset, five), 400, "bad-request");
			const trailing = mine.open(path, 0, { trailer: "Upload-Checksum" });
			trailing.end(five);
			assert.equal((await trailing.answer).status, 400);
			assert.equal(await mine.offset(path), 0);
		});

		it("takes a body of unknown length, up to the upload's", async () => {
			const bytes = randomBytes(300_000);
			const { path } = await mine.create(bytes.length);
			const over = mine.open(path, 0);
			over.end(Buffer.concat([bytes, Buffer.from("x")]));
			const status = (await over.answer)?.status;
			assert.ok(status === 413 || status === undefined, `${status}`);
			const at = await mine.offset(path);
			const rest = mine.open(path, at);
			for (let from = at; from < bytes.length; from += 50_000) rest.write(bytes.subarray(from, from + 50_000));
			rest.end();
			assert.equal((await rest.answer).status, 204);
			await holds(path, bytes);
		});

		it("keeps what came before the line was lost", async () => {
			const bytes = randomBytes(500_000);
			const { path } = await mine.create(bytes.length);
			const torn = mine.open(path, 0, { "content-length": bytes.length });
			torn.write(bytes.subarray(0, 250_000));
			await waitFor("a segment is open", async () =>
				(await stack.postgres.query(`SELECT 1 FROM rushes.segment WHERE recording = '${idOf(path)}'`)).length > 0);
			torn.cut();
			const at = await mine.offset(path);
			assert.ok(at > 0 && at <= 250_000, `${at}`);
			assert.equal((await mine.patch(path, at, bytes.subarray(at))).status, 204);
			await holds(path, bytes);
		});
	});

	describe("checksums", () => {
		const crc32 = (bytes) => {
			let crc = ~0;
			for (const byte of bytes) {
				crc ^= byte;
				for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
			}
			const four = Buffer.alloc(4);
			four.writeUInt32BE(~crc >>> 0);
			return four;
		};

		it("that are right let the bytes count", async () => {
			const bytes = randomBytes(300_000);
			const { path } = await mine.create(bytes.length);
			const parts = [bytes.subarray(0, 100_000), bytes.subarray(100_000, 200_000), bytes.subarray(200_000)];
			const sums = [checksum(parts[0], "sha1"), checksum(parts[1], "sha256"), `crc32 ${crc32(parts[2]).toString("base64")}`];
			for (const [i, part] of parts.entries()) {
				const answer = await mine.patch(path, i * 100_000, part, { "upload-checksum": sums[i] });
				assert.deepEqual([answer.status, answer.headers["upload-offset"]], [204, String((i + 1) * 100_000)]);
			}
			await holds(path, bytes);
		});

		it("that are wrong let none of them count, whatever came before and comes after", async () => {
			const bytes = randomBytes(400_000);
			const { path } = await mine.create(bytes.length);
			assert.equal((await mine.patch(path, 0, bytes.subarray(0, 70_000))).status, 204);
			for (const n of [1, 65_504, 330_000]) {
				const body = randomBytes(n);
				refused(await mine.patch(path, 70_000, body, { "upload-checksum": checksum(randomBytes(1)) }), 460, "checksum-mismatch");
				assert.equal(await mine.offset(path), 70_000);
			}
			const first = bytes.subarray(70_000, 300_000);
			assert.equal((await mine.patch(path, 70_000, first, { "upload-checksum": checksum(first) })).status, 204);
			assert.equal((await mine.patch(path, 300_000, bytes.subarray(300_000))).status, 204);
			await holds(path, bytes);
		});

		it("whose bytes break off are not compared, so nothing of them counts", async () => {
			const bytes = randomBytes(300_000);
			const { path } = await mine.create(bytes.length);
			const torn = mine.open(path, 0, { "content-length": bytes.length, "upload-checksum": checksum(bytes) });
			torn.write(bytes.subarray(0, 200_000));
			await waitFor("they are written", async () =>
				(await stack.postgres.query(`SELECT 1 FROM rushes.segment WHERE recording = '${idOf(path)}' AND provisional`)).length > 0);
			torn.cut();
			assert.equal(await mine.offset(path), 0);
			const again = mine.open(path, 0, { "content-length": bytes.length, "upload-checksum": checksum(bytes) });
			again.write(bytes.subarray(0, 200_000));
			await waitFor("they are written", async () =>
				(await stack.postgres.query(`SELECT 1 FROM rushes.copy WHERE recording = '${idOf(path)}' AND state = 'present'`)).length > 0);
			await stack.kill("ingest");
			await again.answer;
			await stack.restart("ingest");
			assert.equal(await mine.offset(path), 0);
			assert.equal((await mine.patch(path, 0, bytes, { "upload-checksum": checksum(bytes) })).status, 204);
			await holds(path, bytes);
		});

		it("of unknown kinds and shapes are refused", async () => {
			const { path } = await mine.create(5);
			const five = Buffer.from("hello");
			for (const [value, code] of [
				["md5 XUFAKrxLKna5cZ2REBfFkg==", "checksum-unknown"], ["SHA1 qvTGHdzF6KLavt4PO0gs2a6pQ00=", "checksum-unknown"],
				["sha1", "bad-request"], ["sha1 qvTGHdzF6KLavt4PO0gs2a6pQ0", "bad-request"], ["sha256 qvTGHdzF6KLavt4PO0gs2a6pQ00=", "bad-request"],
				["sha1  qvTGHdzF6KLavt4PO0gs2a6pQ00=", "bad-request"],
			])
				refused(await mine.patch(path, 0, five, { "upload-checksum": value }), 400, code);
			assert.equal((await mine.patch(path, 0, five, { "upload-checksum": "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=" })).status, 204);
		});
	});

	describe("two clients", () => {
		it("the newcomer is let in at once, and the holder's bytes are kept", async () => {
			const bytes = randomBytes(1_000_000);
			const { path } = await mine.create(bytes.length);
			const holder = mine.open(path, 0, { "content-length": bytes.length });
			holder.write(bytes.subarray(0, 400_000));
			await waitFor("a segment is open", async () =>
				(await stack.postgres.query(`SELECT 1 FROM rushes.segment WHERE recording = '${idOf(path)}'`)).length > 0);
			const begun = performance.now();
			const at = await mine.offset(path);
			const took = performance.now() - begun;
			assert.ok(took < 1000, `${took} ms`);
			const answer = await holder.answer;
			assert.ok(answer === null || answer.status === 423, `${answer?.status}`);
			assert.ok(at > 0);
			const late = mine.open(path, at, { "content-length": bytes.length - at });
			late.write(bytes.subarray(at, at + 100_000));
			refused(await mine.patch(path, 0, bytes), 409, "offset-mismatch");
			const now = await mine.offset(path);
			assert.ok(now >= at);
			assert.equal((await mine.patch(path, now, bytes.subarray(now))).status, 204);
			await holds(path, bytes);
		});
	});

	describe("DELETE", () => {
		for (const [title, n] of [["a new", 0], ["an unfinished", 100_000], ["a finished", 200_000]])
			it(`ends ${title} upload for good`, async () => {
				const bytes = randomBytes(200_000);
				const { path } = await mine.create(bytes.length);
				if (n) assert.equal((await mine.patch(path, 0, bytes.subarray(0, n))).status, 204);
				const gone = await mine.send("DELETE", path);
				assert.deepEqual([gone.status, gone.body.length, gone.headers["tus-resumable"]], [204, 0, VERSION]);
				const after = await mine.head(path);
				assert.deepEqual([after.status, after.headers["upload-offset"]], [410, undefined]);
				refused(await mine.patch(path, n, bytes.subarray(n)), 410, "recording-deleted");
				refused(await mine.send("DELETE", path), 410, "recording-deleted");
				assert.equal((await row(path)).delete_rule, "discarded");
				await waitFor("nothing is left", async () =>
					(await stack.postgres.query(`SELECT 1 FROM rushes.copy WHERE recording = '${idOf(path)}'`)).length === 0);
				refused(await mine.send("DELETE", path), 410, "recording-deleted");
			});

		it("ends one that is being received", async () => {
			const { path } = await mine.create(1_000_000);
			const holder = mine.open(path, 0, { "content-length": 1_000_000 });
			holder.write(randomBytes(300_000));
			await waitFor("a segment is open", async () =>
				(await stack.postgres.query(`SELECT 1 FROM rushes.segment WHERE recording = '${idOf(path)}'`)).length > 0);
			assert.equal((await mine.send("DELETE", path)).status, 204);
			const answer = await holder.answer;
			assert.ok(answer === null || answer.status === 410, `${answer?.status}`);
			assert.equal((await mine.head(path)).status, 410);
		});
	});

	describe("what survives", () => {
		it("every offset that was told, when ingest is killed", { timeout: 60_000 }, async () => {
			const bytes = randomBytes(600_000);
			const { path } = await mine.create(bytes.length, { "upload-metadata": metadata({ filename: "a.webm" }) });
			let told = 0;
			for (const n of [1, 100_000, 65_503]) {
				told += n;
				const answer = await mine.patch(path, told - n, bytes.subarray(told - n, told));
				assert.equal(answer.headers["upload-offset"], String(told));
				await stack.kill("ingest");
				await stack.restart("ingest");
				const { headers } = await mine.head(path);
				assert.deepEqual(
					[headers["upload-offset"], headers["upload-length"], headers["upload-metadata"]],
					[String(told), "600000", metadata({ filename: "a.webm" })],
				);
			}
			const torn = mine.open(path, told, { "content-length": bytes.length - told });
			torn.write(bytes.subarray(told, told + 200_000));
			await waitFor("bytes are on their way", async () =>
				(await stack.postgres.query(`SELECT 1 FROM rushes.segment WHERE recording = '${idOf(path)}' AND state = 'open'`)).length > 0);
			await stack.kill("ingest");
			await torn.answer;
			await stack.restart("ingest");
			const at = await mine.offset(path);
			assert.ok(at >= told);
			assert.equal((await mine.patch(path, at, bytes.subarray(at))).status, 204);
			await holds(path, bytes);
		});

		it("no unfinished upload, once its window closes: it is kept as recovered, and gone for its client", { timeout: 60_000 }, async () => {
			const bytes = randomBytes(100_000);
			const { path } = await mine.create(200_000, { "content-type": BYTES }, bytes);
			await waitFor("its segment is closed", async () => (await segments(path))[0]?.state === "closed");
			await stack.postgres.psql(`UPDATE rushes.recording SET last_byte_at = now() - interval '91 minutes' WHERE id = '${idOf(path)}'`);
			await waitFor("it is saved", async () => (await row(path)).state === "saved", { limitMs: 20_000 });
			const kept = await row(path);
			assert.deepEqual([kept.recovered, kept.stop, Number(kept.bytes)], [true, "lost", 100_000]);
			assert.equal((await mine.head(path)).status, 410);
			refused(await mine.patch(path, 100_000, bytes), 410, "upload-expired");
		});

		it("nothing for a session that was revoked", async () => {
			const other = new Uploads(stack, await sessionToken(stack, account), openApi());
			const { path } = await other.create(100);
			await stack.postgres.psql(`UPDATE rushes.session SET revoked_at = now()
				WHERE id = (SELECT session FROM rushes.recording WHERE id = '${idOf(path)}')`);
			refused(await other.patch(path, 0, randomBytes(100)), 403, "session-revoked");
			refused(await other.create(100), 403, "session-revoked");
		});
	});

	it("is kept apart from the stream's and POST's recordings", async () => {
		const posted = await request(stack, {
			url: `${mine.origin}/v1/recordings`,
			method: "POST",
			headers: { authorization: `Bearer ${mine.token}`, "content-type": "video/webm" },
			body: randomBytes(1000),
		});
		assert.equal(posted.status, 201);
		refused(await mine.head(`/v1/tus/${posted.json.recording}`), 404);
		refused(await mine.send("DELETE", `/v1/tus/${posted.json.recording}`), 404, "unknown-upload");
	});
});
