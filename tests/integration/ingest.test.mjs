// What ingest promises of received bytes: acknowledged is durable, whoever dies; takes go on, end, or are forgotten by
// their rules. No transcoder runs, so that what lies in the spool is what ingest left there.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { makeAccount, makeLink, openSession, request, tool } from "../../scripts/lib/journey.mjs";
import { signalProcess, waitFor, waitGone } from "../../scripts/lib/process.mjs";
import { ConnectionLost, StreamConnection, StreamError, sendRecording } from "../../scripts/lib/stream-client.mjs";
import { judgeTakes } from "../chaos/judge.mjs";
import { bytesOf } from "../chaos/random.mjs";
import { advanceTime, testStack } from "../lib/harness.mjs";
import { dataKey, openSealed } from "../lib/sealed-reader.mjs";
import { claimsOf, makeToken, readKey } from "../lib/tokens.mjs";

const PAYLOAD = 65504;
const KILLS = Number(process.env.INGEST_KILLS ?? 3);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

// of all its tests together, and of each that names none
const LIMIT_MS = 500_000;

describe("ingest", { timeout: LIMIT_MS }, () => {
	let stack;
	let account;

	before(async () => {
		stack = testStack("ingest", { overrides: { ingest: { RUSHES_INGEST_LINGER: "500ms" } } });
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		account = await makeAccount(stack);
	});
	after(() => stack.remove());

	const token = async () => (await openSession(stack, await makeLink(stack, account))).token;
	const connect = (authorization) => new StreamConnection({ url: stack.ingestUrl, ca: stack.ca, authorization });

	/** A connection with its take begun. Resolves to {connection, ready}. */
	async function begin(authorization, take) {
		const connection = connect(authorization);
		await connection.opened;
		connection.send({ type: "start", take, mime: "video/webm", source: "screen" });
		return { connection, ready: await connection.nextOf("ready") };
	}

	async function errorOf(connection) {
		try {
			for (;;) await connection.next();
		} catch (error) {
			if (error instanceof StreamError) return error;
			throw error;
		}
	}

	async function ackTo(connection, offset) {
		for (;;) {
			const ack = await connection.nextOf("ack");
			if (ack.offset >= offset) return ack.offset;
		}
	}

	const recordingRow = async (id) => (await stack.postgres.query(`SELECT * FROM rushes.recording WHERE id = '${id}'`))[0];
	const segments = (id) =>
		stack.postgres.query(`SELECT number, state, start_offset, bytes, encode(sha256, 'hex') AS sha256
			FROM rushes.segment WHERE recording = '${id}' ORDER BY number`);

	function spoolFiles(dir = path.join(stack.spoolPath("ingest"), "copies")) {
		if (!fs.existsSync(dir)) return [];
		return fs.readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
			const name = path.join(dir, entry.name);
			return entry.isDirectory() ? spoolFiles(name) : [name];
		});
	}

	/** The segments' own hashes, in order, are those of the sent bytes. */
	async function holds(id, bytes) {
		let at = 0;
		for (const segment of await segments(id)) {
			assert.equal(segment.state, "closed");
			assert.equal(Number(segment.start_offset), at);
			const part = bytes.subarray(at, at + Number(segment.bytes));
			assert.equal(segment.sha256, sha256(part), `segment ${segment.number}`);
			at += part.length;
		}
		assert.equal(at, bytes.length);
	}

	it("saves what was sent, and no run of it lies in the spool", async () => {
		const bytes = randomBytes(1_000_000);
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: await token(), bytes });
		assert.equal((await recordingRow(sent.recording)).state, "saved");
		await holds(sent.recording, bytes);
		for (const file of spoolFiles()) {
			const sealed = fs.readFileSync(file);
			for (let at = 0; at + 64 <= bytes.length; at += 4096) assert.equal(sealed.indexOf(bytes.subarray(at, at + 64)), -1);
		}
	});

	it("writes files that a reader made from the format's page opens", async () => {
		const bytes = randomBytes(2 * PAYLOAD + 12_345);
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: await token(), bytes });
		const [copy] = await stack.postgres.query(`SELECT id, location FROM rushes.copy WHERE recording = '${sent.recording}'`);
		const sealed = fs.readFileSync(path.join(stack.spoolPath("ingest"), copy.location));
		const key = await dataKey(stack, sent.recording);
		const { header, plain } = openSealed(sealed, key);
		assert.deepEqual(plain, bytes);
		assert.deepEqual(
			[header.kind, header.account, header.recording, header.copy, header.segment],
			["raw-segment", account.account, sent.recording, copy.id, 0],
		);
		for (const at of [16, 5000, sealed.length - 1]) {
			const changed = Buffer.from(sealed);
			changed[at] ^= 1;
			assert.throws(() => openSealed(changed, key));
		}
		assert.throws(() => openSealed(sealed.subarray(0, 4096 + 65536), key));
	});

	it("is judged by what lies in the spool, as after a chaos run", async () => {
		const seed = 7;
		const authorization = await token();
		const takes = [];
		for (const [n, length] of [5, 200_000, 400_000].entries()) {
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, bytes: bytesOf(seed, n, length) });
			takes.push({ n, way: "stream", length, acked: length, recording: sent.recording });
		}
		const lines = [];
		const judge = async (of) => {
			const { lost, mismatched } = await judgeTakes(stack, { nodes: ["ingest"], takes: of, seed, progress: (line) => lines.push(line) });
			return [lost, mismatched];
		};
		assert.deepEqual(await judge(takes), [0, 0]);
		assert.match(lines.at(-1), /^judged 3 of 3 takes, 0 problems/);
		// what was sent otherwise, what has no recording, what was saved otherwise than its client knows
		assert.deepEqual(await judge([takes[0], { ...takes[1], n: 4 }]), [200_000, 1]);
		assert.deepEqual(await judge([{ ...takes[1], recording: undefined }, takes[2]]), [200_000, 1]);
		assert.deepEqual(await judge([{ ...takes[1], isLeft: true }]), [0, 1]);
		const [copy] = await stack.postgres.query(`SELECT location FROM rushes.copy WHERE recording = '${takes[2].recording}'`);
		const file = path.join(stack.spoolPath("ingest"), copy.location);
		const sealed = fs.readFileSync(file);
		fs.writeFileSync(file, sealed.map((byte, at) => (at === sealed.length - 1 ? byte ^ 1 : byte)));
		assert.deepEqual(await judge(takes), [400_000, 1]);
		fs.rmSync(file);
		assert.deepEqual(await judge(takes), [400_000, 1]);
		fs.writeFileSync(file, sealed);
	});

	it("acknowledges every byte while the take runs, of slow streams and of fast ones", async () => {
		const bytes = randomBytes(2 * PAYLOAD + 1000);
		const { connection } = await begin(await token(), randomUUID());
		connection.sendBytes(0, bytes);
		assert.equal(await ackTo(connection, bytes.length), bytes.length);
		connection.sendBytes(bytes.length, bytes.subarray(0, 1));
		assert.equal(await ackTo(connection, bytes.length + 1), bytes.length + 1);
		const more = randomBytes(1_000_000);
		connection.sendBytes(bytes.length + 1, more);
		assert.equal(await ackTo(connection, bytes.length + 1 + more.length), bytes.length + 1 + more.length);
		connection.close();
	});

	it("goes on after a pause in a new segment", async () => {
		const bytes = randomBytes(300_000);
		const { connection, ready } = await begin(await token(), randomUUID());
		connection.sendBytes(0, bytes.subarray(0, 100_000));
		connection.send({ type: "pause" });
		await ackTo(connection, 100_000);
		connection.sendBytes(100_000, bytes.subarray(100_000));
		connection.send({ type: "stop", bytes: bytes.length });
		connection.send({ type: "send" });
		await connection.nextOf("saved");
		assert.equal((await segments(ready.recording)).length, 2);
		await holds(ready.recording, bytes);
		connection.close();
	});

	it("goes on where a lost connection ended, while and after its segment is open", async () => {
		const bytes = randomBytes(400_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin(authorization, take);
		first.connection.sendBytes(0, bytes.subarray(0, 150_000));
		await ackTo(first.connection, 1);
		first.connection.cut();
		const second = await begin(authorization, take);
		assert.equal(second.ready.recording, first.ready.recording);
		assert.equal(second.ready.offset, 150_000);
		second.connection.sendBytes(150_000, bytes.subarray(150_000, 250_000));
		await ackTo(second.connection, 3 * PAYLOAD);
		second.connection.cut();
		await waitFor("the segment is closed", async () => (await segments(first.ready.recording))[0].state === "closed");
		const third = await begin(authorization, take);
		assert.equal(third.ready.offset, 250_000);
		third.connection.sendBytes(200_000, bytes.subarray(200_000)); // an overlap is skipped
		third.connection.send({ type: "stop", bytes: bytes.length });
		third.connection.send({ type: "send" });
		await third.connection.nextOf("saved");
		await holds(first.ready.recording, bytes);
		third.connection.close();
	});

	it("lets a newer connection of the same take win", async () => {
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin(authorization, take);
		first.connection.sendBytes(0, randomBytes(1000));
		const second = await begin(authorization, take);
		const error = await errorOf(first.connection);
		assert.equal(error.code, "superseded");
		assert.equal(error.retry, false);
		second.connection.send({ type: "abort" });
		await second.connection.nextOf("discarded");
	});

	it("answers a take that is saved already with ready and saved", async () => {
		const [authorization, take] = [await token(), randomUUID()];
		const bytes = randomBytes(5000);
		const first = await begin(authorization, take);
		first.connection.sendBytes(0, bytes);
		first.connection.send({ type: "send" });
		await first.connection.nextOf("saved");
		first.connection.cut();
		const second = await begin(authorization, take);
		assert.equal(second.ready.offset, bytes.length);
		await second.connection.nextOf("saved");
		second.connection.close();
	});

	it("saves what came before a limit, and says that it was reached", async () => {
		const small = makeToken({ ...claimsOf(await token()), max_bytes: 100_000 }, readKey(stack.keyFile("token-sign")));
		const bytes = randomBytes(300_000);
		const { connection, ready } = await begin(small, randomUUID());
		for (let at = 0; at < bytes.length; at += 50_000) connection.sendBytes(at, bytes.subarray(at, at + 50_000));
		const error = await errorOf(connection);
		assert.deepEqual([error.code, error.retry], ["too-large", false]);
		const row = await recordingRow(ready.recording);
		assert.deepEqual([row.state, row.stop, row.truncated, row.recovered], ["saved", "limit", true, true]);
		await holds(ready.recording, bytes.subarray(0, 100_000));
	});

	it("forgets an aborted take at once", async () => {
		const { connection, ready } = await begin(await token(), randomUUID());
		connection.sendBytes(0, randomBytes(200_000));
		await ackTo(connection, PAYLOAD);
		const [{ location }] = await stack.postgres.query(`SELECT location FROM rushes.copy WHERE recording = '${ready.recording}'`);
		const file = path.join(stack.spoolPath("ingest"), location);
		assert.ok(fs.existsSync(file));
		connection.send({ type: "abort" });
		await connection.nextOf("discarded");
		await waitFor("its file is gone", () => !fs.existsSync(file));
		assert.equal((await recordingRow(ready.recording)).delete_rule, "discarded");
	});

	for (let time = 0; time < KILLS; time++) {
		it(`loses no acknowledged byte to kill -9 (${time + 1})`, { timeout: 60_000 }, async () => {
			const bytes = randomBytes(3_000_000);
			const [authorization, take] = [await token(), randomUUID()];
			const { connection, ready } = await begin(authorization, take);
			let acked = 0;
			const listening = (async () => {
				try {
					for (;;) acked = (await connection.nextOf("ack")).offset;
				} catch (error) {
					if (!(error instanceof ConnectionLost)) throw error;
				}
			})();
			for (let at = 0; at < 2_500_000; at += 50_000) {
				connection.sendBytes(at, bytes.subarray(at, at + 50_000));
				if (at % 500_000 === 0) await delay(7 * (time % 12));
			}
			await waitFor("something is acknowledged", () => acked > 0);
			await stack.kill("ingest");
			await listening;
			await stack.restart("ingest");
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id: take, bytes });
			assert.equal(sent.recording, ready.recording);
			assert.ok(sent.resumed[0] >= acked, `acknowledged ${acked}, went on at ${sent.resumed[0]}`);
			await holds(sent.recording, bytes);
		});
	}

	it("loses no acknowledged byte of a slow stream to kill -9, resumed or recovered", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(200_000);
		const takes = [];
		for (let i = 0; i < 2; i++) {
			const [authorization, id] = [await token(), randomUUID()];
			takes.push({ authorization, id, acked: 0, ...(await begin(authorization, id)) });
		}
		for (let at = 0; at < 90_000; at += 900) {
			for (const { connection } of takes) connection.sendBytes(at, bytes.subarray(at, at + 900));
			await delay(5);
		}
		// each byte of a stream that never fills a second slot
		for (const take of takes) take.acked = await ackTo(take.connection, 90_000);
		await stack.kill("ingest");
		await stack.restart("ingest");
		const [resumed, recovered] = takes;
		const { id, authorization } = resumed;
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id, bytes });
		assert.deepEqual(sent.resumed, [90_000]);
		await holds(sent.recording, bytes);
		const { recording } = recovered.ready;
		await waitFor("the other segment is closed", async () => (await segments(recording))[0].state === "closed");
		await holds(recording, bytes.subarray(0, 90_000));
	});

	it("loses nothing when it dies while a segment opens", { timeout: 120_000 }, async () => {
		for (let ms = 0; ms <= 40; ms += 8) {
			const bytes = randomBytes(150_000);
			const [authorization, take] = [await token(), randomUUID()];
			const { connection, ready } = await begin(authorization, take);
			connection.sendBytes(0, bytes.subarray(0, 100_000));
			await delay(ms);
			await stack.kill("ingest");
			connection.cut();
			await stack.restart("ingest");
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id: take, bytes });
			assert.equal(sent.recording, ready.recording);
			await holds(sent.recording, bytes);
		}
	});

	it("ends the segment at its last durable byte when the disk fails, and takes nothing more", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(1_500_000);
		const [authorization, take] = [await token(), randomUUID()];
		const { connection, ready } = await begin(authorization, take);
		connection.sendBytes(0, bytes.subarray(0, 300_000));
		const acked = await ackTo(connection, 4 * PAYLOAD);
		await tool("prlimit", ["--pid", String(stack.services.ingest.pid), "--fsize=500000:"]);
		for (let at = 300_000; at < bytes.length; at += 100_000) connection.sendBytes(at, bytes.subarray(at, at + 100_000));
		const error = await errorOf(connection);
		assert.deepEqual([error.code, error.retry], ["storage-failed", true]);
		// what was acknowledged beyond the failed write is in the journal, and needs room in the file
		await tool("prlimit", ["--pid", String(stack.services.ingest.pid), "--fsize=unlimited:"]);
		await waitFor("the segment is closed", async () => (await segments(ready.recording))[0].state === "closed");
		const [segment] = await segments(ready.recording);
		assert.ok(Number(segment.bytes) >= acked);
		assert.equal((await stack.admin("ingest", "/readyz")).status, 503);
		const refused = connect(authorization);
		await refused.opened;
		refused.send({ type: "start", take: randomUUID() });
		assert.equal((await errorOf(refused)).code, "full");
		await stack.kill("ingest");
		await stack.restart("ingest");
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id: take, bytes });
		assert.deepEqual(sent.resumed, [Number(segment.bytes)]);
		await holds(sent.recording, bytes);
	});

	it("closes segments on SIGTERM and tells the client to come again", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(100_000);
		const [authorization, take] = [await token(), randomUUID()];
		const { connection, ready } = await begin(authorization, take);
		connection.sendBytes(0, bytes);
		await ackTo(connection, PAYLOAD);
		const record = stack.services.ingest;
		signalProcess(record, "SIGTERM");
		const error = await errorOf(connection);
		assert.deepEqual([error.code, error.retry], ["draining", true]);
		await waitGone(record);
		assert.deepEqual(
			(await segments(ready.recording)).map(({ state, bytes: n }) => [state, Number(n)]),
			[["closed", bytes.length]],
		);
		await stack.restart("ingest");
		const again = await begin(authorization, take);
		assert.equal(again.ready.offset, bytes.length);
		again.connection.send({ type: "send" });
		await again.connection.nextOf("saved");
		again.connection.close();
	});

	it("goes on without the database once a segment is open, and saves when it is back", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(500_000);
		const { connection, ready } = await begin(await token(), randomUUID());
		connection.sendBytes(0, bytes.subarray(0, 100_000));
		await ackTo(connection, PAYLOAD);
		stack.pause("postgres");
		connection.sendBytes(100_000, bytes.subarray(100_000));
		await ackTo(connection, 7 * PAYLOAD);
		connection.send({ type: "stop", bytes: bytes.length });
		connection.send({ type: "send" });
		await delay(500);
		stack.resume("postgres");
		await connection.nextOf("saved");
		await holds(ready.recording, bytes);
		connection.close();
	});

	describe("POST /v1/recordings", () => {
		const post = async (body, headers = {}) =>
			request(stack, {
				url: `https://localhost:${stack.ports.ingest}/v1/recordings`,
				method: "POST",
				headers: { authorization: `Bearer ${headers.token ?? (await token())}`, "content-type": "video/mp4", ...headers },
				body,
			});

		it("saves a raw body whose digest is right", async () => {
			const bytes = randomBytes(700_000);
			const digest = createHash("sha256").update(bytes).digest("base64");
			const answer = await post(bytes, { "repr-digest": `sha-256=:${digest}:` });
			assert.equal(answer.status, 201, answer.body.toString());
			assert.equal(answer.json.bytes, bytes.length);
			await holds(answer.json.recording, bytes);
			assert.equal((await recordingRow(answer.json.recording)).stop, "upload");
		});

		it("finds the same recording for the same take", async () => {
			const bytes = randomBytes(10_000);
			const same = { token: await token(), "rushes-take": randomUUID() };
			const first = await post(bytes, same);
			const second = await post(bytes, same);
			assert.equal(first.status, 201, first.body.toString());
			assert.equal(second.status, 201, second.body.toString());
			assert.equal(second.json.recording, first.json.recording);
			await holds(first.json.recording, bytes);
		});

		it("refuses a body whose digest is wrong, and keeps nothing of it", async () => {
			const answer = await post(randomBytes(200_000), { "repr-digest": `sha-256=:${randomBytes(32).toString("base64")}:` });
			assert.equal(answer.status, 400);
			assert.equal(answer.json.code, "total-mismatch");
			await waitFor("nothing is left of it", async () => {
				const left = await stack.postgres.query(
					"SELECT id FROM rushes.recording WHERE delete_rule IS DISTINCT FROM 'discarded' AND state NOT IN ('saved', 'open')");
				const files = await stack.postgres.query("SELECT count(*) AS n FROM rushes.copy");
				return left.length === 0 && Number(files[0].n) === spoolFiles().length;
			});
		});

		it("saves the file of a form", async () => {
			const bytes = Buffer.concat([randomBytes(300_000), Buffer.from("\r\n--front\r\n\r\n--")]);
			const form = Buffer.concat([
				Buffer.from('--frontier\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--frontier\r\n'),
				Buffer.from('Content-Disposition: form-data; name="take"; filename="a.mp4"\r\nContent-Type: video/mp4\r\n\r\n'),
				bytes,
				Buffer.from("\r\n--frontier--\r\n"),
			]);
			const answer = await post(form, { "content-type": "multipart/form-data; boundary=frontier" });
			assert.equal(answer.status, 201, answer.body.toString());
			await holds(answer.json.recording, bytes);
		});

		it("refuses a form without a file, a torn one, and an empty body", async () => {
			const part = 'Content-Disposition: form-data; name="note"\r\n\r\nhello\r\n';
			const type = { "content-type": "multipart/form-data; boundary=x" };
			assert.equal((await post(Buffer.from(`--x\r\n${part}--x--\r\n`), type)).status, 400);
			assert.equal((await post(Buffer.from(`--x\r\n${part.replace("note", "file")}`), type)).status, 400);
			assert.equal((await post(Buffer.alloc(0))).status, 400);
		});
	});

	describe("rules", () => {
		it("saves a broken-off take as recovered when its window closes", { timeout: 60_000 }, async () => {
			const bytes = randomBytes(200_000);
			const { connection, ready } = await begin(await token(), randomUUID());
			connection.sendBytes(0, bytes);
			await ackTo(connection, 3 * PAYLOAD);
			connection.cut();
			await waitFor("the segment is closed", async () => (await segments(ready.recording))[0].state === "closed");
			assert.equal((await recordingRow(ready.recording)).state, "open");
			await stack.postgres.psql(`UPDATE rushes.recording SET last_byte_at = now() - interval '91 minutes'
				WHERE id = '${ready.recording}'`);
			await waitFor("it is saved", async () => (await recordingRow(ready.recording)).state === "saved", { limitMs: 20_000 });
			const row = await recordingRow(ready.recording);
			assert.deepEqual([row.recovered, row.stop, row.sent_at], [true, "lost", null]);
			await holds(ready.recording, bytes);
		});

		it("removes a file that nobody ever knew after six hours, and keeps one whose row is lost", { timeout: 60_000 }, async () => {
			const stray = path.join(stack.spoolPath("ingest"), "copies", "stray.bin");
			fs.writeFileSync(stray, "whose is this?");
			const sealed = spoolFiles().find((file) => file.endsWith(".sealed"));
			const lost = path.join(path.dirname(sealed), `${randomUUID().slice(0, -2)}${path.basename(path.dirname(sealed))}.sealed`);
			fs.copyFileSync(sealed, lost);
			await stack.kill("ingest");
			await stack.restart("ingest");
			assert.ok(fs.existsSync(stray) && fs.existsSync(lost));
			await advanceTime(stack, "8 hours");
			await stack.kill("ingest");
			await stack.restart("ingest");
			assert.ok(!fs.existsSync(stray));
			assert.ok(fs.existsSync(lost));
			fs.unlinkSync(lost);
		});

		it("takes nothing new when its disk is full", { timeout: 60_000 }, async () => {
			await advanceTime(stack, "0 s");
			const authorization = await token();
			stack.overrides.ingest = { ...stack.overrides.ingest, RUSHES_SPOOL_RESERVE: "1000000GiB" };
			await stack.kill("ingest");
			await stack.launchService("ingest");
			await waitFor("it listens", async () => (await stack.admin("ingest", "/healthz")).status === 200);
			const connection = connect(authorization);
			await connection.opened;
			connection.send({ type: "start", take: randomUUID() });
			const error = await errorOf(connection);
			assert.deepEqual([error.code, error.retry], ["full", true]);
			assert.equal((await stack.admin("ingest", "/readyz")).status, 503);
		});
	});
});
