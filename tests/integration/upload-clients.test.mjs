// The programs that people upload with: tus-js-client and Uppy from npm, in Node and in Chromium, and curl. Whatever
// happens to server and line, they end with the whole file, and none begins again.
import assert from "node:assert/strict";
import { File } from "node:buffer";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { PassThrough, Readable } from "node:stream";
import Uppy from "@uppy/core";
import Tus from "@uppy/tus";
import * as tus from "tus-js-client";
import { makeAccount, tool } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { startBrowser } from "../lib/browser.mjs";
import { testStack } from "../lib/harness.mjs";
import { openUploadPage } from "../lib/upload-page.mjs";
import { sessionToken } from "../lib/uploads.mjs";

/* Node 18 has it, but not under this name. */
globalThis.File ??= File;

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const RETRIES = Array(40).fill(250);

/* Uppy reaches for the browser's request object, which Node has none of before it sends. */
class BrowserlikeStack extends tus.DefaultHttpStack {
	createRequest(method, url) {
		const request = super.createRequest(method, url);
		request.getUnderlyingObject = () => ({});
		return request;
	}
}

// of all its tests together, and of each that names none
const LIMIT_MS = 500_000;

describe("upload clients", { timeout: LIMIT_MS }, () => {
	let stack;
	let account;
	let token;
	let browser;
	let desk;
	let page;
	let folder;

	before(async () => {
		folder = fs.mkdtempSync(path.join(os.tmpdir(), "rushes-uploads-"));
		stack = testStack("upload-clients", { overrides: { ingest: { RUSHES_INGEST_LINGER: "500ms" } } });
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		account = await makeAccount(stack);
		token = await sessionToken(stack, account);
		browser = await startBrowser();
		desk = await openUploadPage(browser);
		page = desk.page;
	});
	after(async () => {
		await desk?.close();
		await browser?.close();
		await stack?.remove();
		fs.rmSync(folder, { recursive: true, force: true });
	});

	const origin = () => `https://localhost:${stack.ports.ingest}`;
	const endpoint = () => `${origin()}/v1/tus`;
	const idOf = (url) => url.split("/").pop();
	const recording = async (id) => (await stack.postgres.query(`SELECT * FROM rushes.recording WHERE id = '${id}'`))[0];
	const made = async () => Number((await stack.postgres.query("SELECT count(*) AS n FROM rushes.recording"))[0].n);
	const durable = async (id) =>
		Number((await stack.postgres.query(`SELECT coalesce(sum(bytes), 0) AS n FROM rushes.segment WHERE recording = '${id}'`))[0].n);

	async function holds(id, bytes) {
		const segments = await stack.postgres.query(`SELECT start_offset, bytes, encode(sha256, 'hex') AS sha256 FROM rushes.segment
			WHERE recording = '${id}' AND bytes > 0 ORDER BY number`);
		let at = 0;
		for (const segment of segments) {
			assert.equal(Number(segment.start_offset), at);
			const part = bytes.subarray(at, at + Number(segment.bytes));
			assert.equal(segment.sha256, sha256(part));
			at += part.length;
		}
		assert.equal(at, bytes.length);
		const { state, stop } = await recording(id);
		assert.deepEqual([state, stop], ["saved", "upload"]);
	}

	/** An upload of tus-js-client in Node: {upload, done}. `done` resolves to the recording's id. */
	function upload(source, options = {}) {
		let upload;
		const done = new Promise((resolve, reject) => {
			upload = new tus.Upload(source, {
				endpoint: endpoint(),
				retryDelays: RETRIES,
				headers: { authorization: `Bearer ${token}` },
				httpStack: new tus.DefaultHttpStack({ ca: stack.ca }),
				metadata: { filename: "a.webm", filetype: "video/webm" },
				onSuccess: () => resolve(idOf(upload.url)),
				onError: reject,
				...options,
			});
		});
		upload.start();
		return { upload, done };
	}

	describe("tus-js-client in Node", () => {
		it("uploads in one request and in many", async () => {
			for (const chunkSize of [Infinity, 200_000]) {
				const bytes = randomBytes(900_000);
				const { done } = upload(bytes, { chunkSize });
				await holds(await done, bytes);
			}
		});

		it("sends bytes with the creation", async () => {
			const bytes = randomBytes(300_000);
			const { done } = upload(bytes, { uploadDataDuringCreation: true, chunkSize: 100_000 });
			await holds(await done, bytes);
		});

		it("uploads a stream whose length nobody knows", async () => {
			const bytes = randomBytes(700_000);
			const { done } = upload(Readable.from([bytes.subarray(0, 250_000), bytes.subarray(250_000)]), {
				uploadLengthDeferred: true, chunkSize: 100_000,
			});
			await holds(await done, bytes);
		});

		it("goes on at the durable offset when the server is killed", { timeout: 60_000 }, async () => {
			const bytes = randomBytes(3_000_000);
			const before = await made();
			let kill;
			const killed = new Promise((resolve) => {
				kill = resolve;
			});
			const { upload: running, done } = upload(bytes, {
				chunkSize: 400_000,
				onChunkComplete: (size, accepted) => accepted >= 800_000 && kill(),
			});
			await killed;
			await stack.kill("ingest");
			await stack.restart("ingest");
			await holds(await done, bytes);
			assert.equal(await made(), before + 1);
			assert.ok(running.url);
		});

		it("ends an upload for good", async () => {
			const slow = new PassThrough();
			const { upload: running, done } = upload(slow, { chunkSize: 100_000, uploadSize: 1_000_000 });
			done.catch(() => {});
			slow.write(randomBytes(250_000));
			await waitFor("bytes have come", async () => running.url && (await durable(idOf(running.url))) >= 200_000);
			const id = idOf(running.url);
			await running.abort(true);
			assert.equal((await recording(id)).delete_rule, "discarded");
			slow.destroy();
		});

		it("lets two clients finish one upload together", { timeout: 60_000 }, async () => {
			const bytes = randomBytes(2_000_000);
			const before = await made();
			let share;
			const shared = new Promise((resolve) => {
				share = resolve;
			});
			const first = upload(bytes, { chunkSize: 300_000, onChunkComplete: () => share(first.upload.url) });
			const second = upload(bytes, { uploadUrl: await shared, chunkSize: 250_000 });
			const ids = await Promise.all([first.done, second.done]);
			assert.equal(ids[0], ids[1]);
			await holds(ids[0], bytes);
			assert.equal(await made(), before + 1);
		});

		it("is told that parts are not put together", async () => {
			const before = await made();
			const { done } = upload(randomBytes(300_000), { parallelUploads: 2, retryDelays: null });
			await assert.rejects(done, /response code: 400/);
			assert.equal(await made(), before);
		});
	});

	it("Uppy uploads in Node", async () => {
		const bytes = randomBytes(600_000);
		const uppy = new Uppy({ autoProceed: false }).use(Tus, {
			endpoint: endpoint(), chunkSize: 250_000, retryDelays: RETRIES, headers: { authorization: `Bearer ${token}` },
			httpStack: new BrowserlikeStack({ ca: stack.ca }), storeFingerprintForResuming: false,
		});
		uppy.addFile({ name: "desk.webm", type: "video/webm", data: bytes });
		const { successful, failed } = await uppy.upload();
		assert.deepEqual(failed, []);
		await holds(idOf(successful[0].uploadURL), bytes);
		const [{ file_name }] = await stack.postgres.query(
			`SELECT file_name FROM rushes.recording_personal WHERE recording = '${idOf(successful[0].uploadURL)}'`);
		assert.equal(file_name, "desk.webm");
		uppy.destroy();
	});

	describe("in Chromium", () => {
		/** Begins an upload in the page under `name`: `size` bytes of a known pattern. */
		const begin = (name, client, size) =>
			page.evaluate(
				([id, kind, bytes, url, bearer, delays]) => {
					const data = new Uint8Array(bytes).map((_, i) => (i * 31 + (i >> 9)) & 255);
					const options = { endpoint: url, chunkSize: 200_000, retryDelays: delays, headers: { authorization: `Bearer ${bearer}` } };
					const state = (window[id] = { accepted: 0 });
					if (kind === "uppy") {
						const { Uppy: Core, Tus: Plugin } = window;
						const core = (state.uppy = new (Core.default ?? Core)().use(Plugin.default ?? Plugin, options));
						core.on("upload-progress", (file, { bytesUploaded }) => (state.accepted = bytesUploaded));
						core.addFile({ name: "page.webm", type: "video/webm", data: new Blob([data], { type: "video/webm" }) });
						state.done = core.upload().then(({ successful, failed }) => successful[0]?.uploadURL ?? Promise.reject(failed[0].error));
						return;
					}
					state.done = new Promise((resolve, reject) => {
						state.upload = new window.tus.Upload(new Blob([data]), {
							...options,
							onChunkComplete: (_, accepted) => (state.accepted = accepted),
							onSuccess: () => resolve(state.upload.url),
							onError: reject,
						});
						state.upload.start();
					});
				},
				[name, client, size, endpoint(), token, RETRIES],
			);
		const end = async (name) => idOf(await page.evaluate((id) => window[id].done, name));
		const accepted = (name) => page.evaluate((id) => window[id].accepted, name);
		const pattern = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 9)) & 255));

		for (const client of ["tus-js-client", "uppy"])
			it(`${client} uploads from a page of another origin, and goes on when the server is killed`, { timeout: 60_000 }, async () => {
				const [name, before] = [client.replaceAll("-", ""), await made()];
				await begin(name, client, 3_000_000);
				await waitFor("some is received", async () => (await accepted(name)) >= 400_000, { pollMs: 20 });
				await stack.kill("ingest");
				await stack.restart("ingest");
				await holds(await end(name), pattern(3_000_000));
				assert.equal(await made(), before + 1);
			});

		it("tus-js-client pauses, goes on, and ends for good", async () => {
			await begin("paused", "tus-js-client", 2_000_000);
			await waitFor("some is received", async () => (await accepted("paused")) >= 200_000, { pollMs: 20 });
			await page.evaluate(() => window.paused.upload.abort());
			await page.evaluate(() => window.paused.upload.start());
			const id = await end("paused");
			await holds(id, pattern(2_000_000));
			await page.evaluate(() => window.paused.upload.abort(true));
			assert.equal((await recording(id)).delete_rule, "discarded");
		});
	});

	describe("curl", () => {
		/** Runs curl on `/v1/recordings`; resolves to {status, json}. */
		async function curl(args, where = "/v1/recordings", bearer = true) {
			const output = await tool("curl", [
				"--silent", "--show-error", "--cacert", path.join(folder, "ca.pem"), "--write-out", "\n%{http_code}",
				...(bearer ? ["--header", `Authorization: Bearer ${token}`] : []), ...args, origin() + where,
			]);
			const [, body, status] = /^(.*)\n(\d+)$/s.exec(output);
			return { status: Number(status), json: JSON.parse(body) };
		}
		const fileOf = (name, bytes) => {
			fs.writeFileSync(path.join(folder, name), bytes);
			return path.join(folder, name);
		};
		const nameOf = async (id) =>
			(await stack.postgres.query(`SELECT p.file_name, r.mime FROM rushes.recording_personal p JOIN rushes.recording r
				ON r.id = p.recording WHERE p.recording = '${id}'`))[0];

		before(() => fs.writeFileSync(path.join(folder, "ca.pem"), stack.ca));

		it("-T sends a file, by its name and by chunks", async () => {
			const bytes = randomBytes(2_500_000);
			const file = fileOf("a take.webm", bytes);
			const named = await curl(["-T", file], "/v1/recordings/");
			assert.deepEqual([named.status, named.json.bytes], [201, bytes.length]);
			await holds(named.json.recording, bytes);
			assert.deepEqual(await nameOf(named.json.recording), { file_name: "a take.webm", mime: null });
			const chunked = await curl(["-T", file, "--header", "Transfer-Encoding: chunked", "--header", "Content-Type: video/webm"]);
			assert.equal(chunked.status, 201);
			await holds(chunked.json.recording, bytes);
			assert.equal((await nameOf(chunked.json.recording)).mime, "video/webm");
			const posted = await curl(["--data-binary", `@${file}`, "--header", "Content-Disposition: attachment; filename=\"b.webm\""]);
			await holds(posted.json.recording, bytes);
			assert.deepEqual(await nameOf(posted.json.recording), { file_name: "b.webm", mime: null });
		});

		it("-F sends a form, with a token in it or before it", async () => {
			const bytes = randomBytes(1_200_000);
			const file = fileOf("form.mp4", bytes);
			const plain = await curl(["-F", `video=@${file};type=video/mp4`]);
			assert.equal(plain.status, 201);
			await holds(plain.json.recording, bytes);
			assert.deepEqual(await nameOf(plain.json.recording), { file_name: "form.mp4", mime: "video/mp4" });
			const fields = ["-F", `token=${token}`, "-F", `take=${randomUUID()}`, "-F", "file_name=Ärger.mp4", "-F", `f=@${file}`];
			const [first, second] = [await curl(fields, undefined, false), await curl(fields, undefined, false)];
			assert.deepEqual([first.status, second.status], [201, 201]);
			assert.equal(first.json.recording, second.json.recording);
			assert.equal((await nameOf(first.json.recording)).file_name, "Ärger.mp4");
			await holds(first.json.recording, bytes);
		});

		it("is refused without a right token, before it sends the file", async () => {
			const file = fileOf("refused.mp4", randomBytes(600_000));
			const expect = ["--header", "Expect: 100-continue", "--expect100-timeout", "20"];
			for (const args of [["-T", file, ...expect], ["-F", `f=@${file}`], ["-F", "token=v4.public.x", "-F", `f=@${file}`]]) {
				const answer = await curl(args, undefined, false);
				assert.deepEqual([answer.status, answer.json.code], [401, "token-invalid"]);
			}
			const late = await curl(["-F", `f=@${file}`, "-F", `token=${token}`], undefined, false);
			assert.equal(late.status, 401);
		});

		it("gives digests, which are compared", async () => {
			const bytes = randomBytes(300_000);
			const file = fileOf("digest.webm", bytes);
			const digest = (algorithm, of = bytes) => `${algorithm.replace("sha", "sha-")}=:${createHash(algorithm).update(of).digest("base64")}:`;
			const other = randomBytes(9);
			const cases = [
				[`Content-Digest: ${digest("sha256")}`, 201],
				[`Content-Digest: ${digest("sha512")}, ${digest("sha256")}, md5=:AAAA:`, 201],
				[`Repr-Digest: ${digest("sha512")}`, 201],
				[`Content-Digest: ${digest("sha256", other)}`, 400, "total-mismatch"],
				[`Content-Digest: ${digest("sha256")}, ${digest("sha512", other)}`, 400, "total-mismatch"],
				[`Repr-Digest: ${digest("sha512", other)}`, 400, "total-mismatch"],
				["Content-Digest: sha-256=:AAAA:", 400, "bad-request"],
				["Content-Digest: sha-256=AAAA", 400, "bad-request"],
				["Repr-Digest: , ", 400, "bad-request"],
			];
			for (const [header, status, code] of cases) {
				const answer = await curl(["-T", file, "--header", header]);
				assert.deepEqual([header, answer.status, answer.json.code], [header, status, code]);
			}
			const form = (of) => curl(["-F", `f=@${file}`, "--header", `Repr-Digest: ${digest("sha256", of)}`]);
			assert.deepEqual([(await form(bytes)).status, (await form(other)).status], [201, 400]);
		});

		it("sends nothing that is larger than the session allows", async () => {
			const [{ max_bytes }] = await stack.postgres.query("SELECT max_bytes FROM rushes.environment");
			await stack.postgres.psql("UPDATE rushes.environment SET max_bytes = 500000");
			try {
				const small = await sessionToken(stack, account);
				const file = fileOf("large.webm", randomBytes(700_000));
				for (const args of [["-T", file], ["-T", file, "--header", "Transfer-Encoding: chunked"], ["-F", `f=@${file}`]]) {
					const before = await made();
					const answer = await curl([...args, "--header", `Authorization: Bearer ${small}`], undefined, false).catch((error) => error);
					// a server that closes before it read all may cut its own answer off
					assert.ok(answer.status === 413 || answer.code === 55 || answer.code === 56, `${answer.status ?? answer.message}`);
					await waitFor("nothing of it is kept", async () =>
						(await stack.postgres.query("SELECT 1 FROM rushes.recording WHERE state = 'open' AND NOT is_tus")).length === 0);
					assert.ok((await made()) <= before + 1);
				}
			} finally {
				await stack.postgres.psql(`UPDATE rushes.environment SET max_bytes = ${max_bytes}`);
			}
		});
	});
});
