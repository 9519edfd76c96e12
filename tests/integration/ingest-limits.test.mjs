// What bounds a stream: the environment's limits, silence, slow disks and slow readers, a node that stops. And how each end is
// told: code, retry, close code, as proto/stream.md says.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import { after, before, describe, it } from "node:test";
import tls from "node:tls";
import { setTimeout as delay } from "node:timers/promises";
import { crc32 } from "../../scripts/lib/crc32.mjs";
import { makeAccount } from "../../scripts/lib/journey.mjs";
import { signalProcess, waitFor, waitGone } from "../../scripts/lib/process.mjs";
import { sendRecording } from "../../scripts/lib/stream-client.mjs";
import { testStack } from "../lib/harness.mjs";
import { closeCodeOf, exchange, frame, upgradeHead } from "../lib/raw.mjs";
import { PAYLOAD, Takes, ackTo, closeCode, errorOf, sha256 } from "../lib/takes.mjs";
import { claimsOf, makeToken, readKey } from "../lib/tokens.mjs";

const MIB = 1024 * 1024;

describe("limits of a stream", () => {
	let stack;
	let account;
	let takes;

	before(async () => {
		stack = testStack("ingest-limits", { overrides: { ingest: { RUSHES_INGEST_LINGER: "500ms" } } });
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		account = await makeAccount(stack, { settings: ["--max-bytes", "40MiB"] });
		takes = new Takes(stack, account);
	});
	after(() => stack.remove());

	const residentKib = () =>
		Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${stack.services.ingest.pid}/status`, "utf8"))[1]);

	/** A fresh take, what is done to it, and how it ended: [code, retry, close code]. */
	async function ended(act, begun) {
		const { connection, ready } = await (begun ?? takes.begin(await takes.token(), randomUUID()));
		const closed = closeCode(connection);
		await act(connection, ready);
		const error = await errorOf(connection);
		return [error.code, error.retry, await closed];
	}

	it("compares what stop says with what came", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(200_000);
		const stop = (total) => ended((connection) => {
			connection.sendBytes(0, bytes);
			connection.send({ type: "stop", ...total });
		});
		assert.deepEqual(await stop({ bytes: 1 }), ["bytes-mismatch", false, 1008]);
		assert.deepEqual(await stop({ bytes: 200_001 }), ["bytes-mismatch", true, 1013]);
		assert.deepEqual(await stop({ crc32: "00000000" }), ["total-mismatch", false, 1008]);
		assert.deepEqual(await stop({ sha256: sha256("other") }), ["total-mismatch", false, 1008]);
		const { connection, ready } = await takes.begin(await takes.token(), randomUUID());
		connection.sendBytes(0, bytes);
		const crc = crc32(bytes).toString(16).padStart(8, "0");
		connection.send({ type: "stop", bytes: bytes.length, crc32: crc, sha256: sha256(bytes) });
		connection.send({ type: "send" });
		await connection.nextOf("saved");
		const row = await takes.recording(ready.recording);
		assert.equal(Buffer.from(row.expected_sha256.slice(2), "hex").toString("hex"), sha256(bytes));
		connection.close();
	});

	it("says each code with its close code", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(1000);
		assert.deepEqual(await ended((c) => c.sendBytes(5, bytes)), ["gap", true, 1013]);
		assert.deepEqual(await ended((c) => c.sendBytes(0, bytes, 1)), ["crc-mismatch", true, 1013]);
		assert.deepEqual(await ended((c) => c.send({ type: "start", take: randomUUID() })), ["bad-request", false, 1008]);
		assert.deepEqual(await ended((c) => c.send({ type: "dance" })), ["unknown-message", false, 1008]);
		assert.deepEqual(await ended((c) => c.socket.send("[")), ["bad-request", false, 1008]);
		const [session, take] = [await takes.token(), randomUUID()];
		const { connection: first } = await takes.begin(session, take);
		const older = Promise.all([errorOf(first), closeCode(first)]);
		const { connection: second } = await takes.begin(session, take);
		const [error, code] = await older;
		assert.deepEqual([error.code, error.retry, code], ["superseded", false, 1008]);
		second.close();
	});

	it("refuses tokens, each for its reason", { timeout: 60_000 }, async () => {
		const key = readKey(stack.keyFile("token-sign"));
		const claims = claimsOf(await takes.token());
		const refused = async (token) => {
			const connection = takes.connect(token);
			const closed = closeCode(connection);
			const error = await errorOf(connection);
			return [error.code, error.retry, await closed];
		};
		assert.deepEqual(await refused("v4.public.nonsense"), ["token-invalid", false, 1008]);
		assert.deepEqual(await refused(makeToken({ ...claims, exp: "2020-01-01T00:00:00Z" }, key)), ["token-expired", false, 1008]);
		assert.deepEqual(await refused(makeToken({ ...claims, aud: "elsewhere" }, key)), ["token-invalid", false, 1008]);
	});

	it("keeps to the rules of frames", { timeout: 60_000 }, async () => {
		const authorized = upgradeHead().replace("\r\n\r\n", `\r\nAuthorization: Bearer ${await takes.token()}\r\n\r\n`);
		const answer = async (...frames) =>
			closeCodeOf(await exchange(stack, stack.ports.ingest, Buffer.concat([Buffer.from(authorized), ...frames])));
		assert.equal(await answer(frame({ opcode: 1, payload: Buffer.from([0xff]) })), 1007);
		assert.equal(await answer(frame({ opcode: 1, payload: Buffer.alloc(9000, 0x20) })), 1009);
		assert.equal(await answer(frame({ opcode: 3 })), 1002);
		assert.equal(await answer(frame({ opcode: 1, payload: Buffer.from("{}"), masked: false })), 1002);
	});

	it("ends a silent connection, and goes on with its take", { timeout: 60_000 }, async () => {
		await stack.ctl(["env", "set", account.account, "support", "--max-idle", "2s"]);
		const [session, take] = [await takes.token(), randomUUID()];
		const bytes = randomBytes(100_000);
		const begun = await takes.begin(session, take);
		const reached = Date.now();
		const how = await ended((connection) => connection.sendBytes(0, bytes), begun);
		assert.deepEqual(how, ["idle", true, 1013]);
		assert.ok(Date.now() - reached >= 2000);
		await waitFor("its segment is closed", async () => (await takes.segments(begun.ready.recording))[0].state === "closed");
		const again = await takes.begin(session, take);
		assert.equal(again.ready.offset, bytes.length);
		// whoever sends is not idle, however little
		for (let n = 0; n < 6; n++) {
			again.connection.sendBytes(bytes.length + n, Buffer.from([n]));
			await delay(500);
		}
		again.connection.send({ type: "send" });
		await again.connection.nextOf("saved");
		again.connection.close();
		await stack.ctl(["env", "set", account.account, "support", "--max-idle", "30m"]);
	});

	it("saves what came before a limit", { timeout: 60_000 }, async () => {
		const limited = async (limits) => makeToken({ ...claimsOf(await takes.token()), ...limits }, readKey(stack.keyFile("token-sign")));
		const bytes = randomBytes(300_000);
		const large = takes.begin(await limited({ max_bytes: 100_000 }), randomUUID());
		assert.deepEqual(await ended((connection) => connection.sendBytes(0, bytes), large), ["too-large", false, 1009]);
		const row = await takes.recording((await large).ready.recording);
		assert.deepEqual([row.state, row.stop, row.truncated], ["saved", "limit", true]);
		await takes.holds(row.id, bytes, 100_000);
	});

	it("slows the sender down while nothing can be written", { timeout: 120_000 }, async () => {
		const bytes = randomBytes(36 * MIB);
		const { connection, ready } = await takes.begin(await takes.token(), randomUUID());
		// the first byte opens a segment, which needs the database: until it answers nothing is written
		stack.pause("postgres");
		const before = residentKib();
		for (let at = 0; at < bytes.length; at += MIB) connection.sendBytes(at, bytes.subarray(at, at + MIB));
		let waiting = 0;
		let held;
		let grown;
		try {
			await waitFor("the sender is held up", async () => {
				const former = connection.socket.bufferedAmount;
				await delay(300);
				const { recordings } = await takes.debug();
				waiting = recordings.recordings.find(({ recording }) => recording === ready.recording).waiting;
				return waiting > 0 && connection.socket.bufferedAmount === former && former > 0;
			});
			held = connection.socket.bufferedAmount;
			grown = residentKib() - before;
		} finally {
			stack.resume("postgres");
		}
		assert.ok(waiting <= 4 * MIB, `${waiting} bytes wait`);
		assert.ok(held >= 20 * MIB, `only ${held} bytes were held back`);
		assert.ok(grown < 24 * 1024, `${grown} KiB more memory`);
		connection.send({ type: "stop", bytes: bytes.length, sha256: sha256(bytes) });
		connection.send({ type: "send" });
		await connection.nextOf("saved", 60_000);
		await takes.holds(ready.recording, bytes);
		connection.close();
	});

	it("piles nothing up for a client that never reads", { timeout: 120_000 }, async () => {
		const token = await takes.token();
		const socket = tls.connect({ host: "127.0.0.1", port: stack.ports.ingest, servername: "localhost", ca: stack.ca });
		await new Promise((resolve) => socket.once("secureConnect", resolve));
		socket.pause();
		socket.on("error", () => {});
		const before = residentKib();
		socket.write(upgradeHead().replace("\r\n\r\n", `\r\nAuthorization: Bearer ${token}\r\n\r\n`));
		const take = randomUUID();
		socket.write(frame({ opcode: 1, payload: Buffer.from(JSON.stringify({ type: "start", take })) }));
		const [{ session }] = [claimsOf(token)];
		await waitFor("it is open", async () => (await takes.debug()).recordings.recordings.some(({ state }) => state === "receiving"));
		// each ping asks for a pong that is not read; each byte sooner or later for an acknowledgement
		const ping = frame({ opcode: 9, payload: randomBytes(125) });
		const pings = Buffer.concat(Array.from({ length: 1000 }, () => ping));
		for (let n = 0; n < 150; n++) await new Promise((resolve) => socket.write(pings, resolve));
		const head = Buffer.alloc(12);
		const payload = randomBytes(3 * PAYLOAD);
		head.writeUInt32BE(crc32(payload), 8);
		socket.write(frame({ opcode: 2, payload: Buffer.concat([head, payload]) }));
		const [row] = await waitFor("its bytes are durable", async () => {
			const { recordings } = await takes.debug();
			const found = recordings.recordings.filter(({ durable }) => durable >= 3 * PAYLOAD - PAYLOAD);
			return found.length > 0 && found;
		});
		assert.ok(session && row);
		const grown = residentKib() - before;
		assert.ok(grown < 8 * 1024, `${grown} KiB more memory`);
		socket.destroy();
	});

	it("tells many streams to go on elsewhere when it stops, lets uploads finish, and loses nothing", { timeout: 120_000 }, async () => {
		const STREAMS = 60;
		const bytes = randomBytes(3 * PAYLOAD + 1234);
		const upload = randomBytes(2 * MIB);
		const sessions = await Promise.all(Array.from({ length: 4 }, () => takes.token()));
		const all = await Promise.all(
			Array.from({ length: STREAMS }, async (_, n) => {
				const [session, take] = [sessions[n % 4], randomUUID()];
				return { session, take, ...(await takes.begin(session, take)) };
			}),
		);
		for (const one of all) one.connection.sendBytes(0, bytes);
		await Promise.all(all.map(async (one) => (one.acked = await ackTo(one.connection, PAYLOAD))));
		// an upload whose last bytes come after the signal
		const url = new URL(`https://localhost:${stack.ports.ingest}/v1/recordings`);
		const { request } = await import("node:https");
		const post = request(url, { method: "POST", ca: stack.ca, agent: false, headers: {
			authorization: `Bearer ${await takes.token()}`, "content-type": "video/mp4", "content-length": upload.length } });
		const answered = new Promise((resolve, reject) => post.on("response", resolve).on("error", reject));
		post.write(upload.subarray(0, MIB));
		await waitFor("the upload is under way", async () =>
			(await takes.debug()).recordings.recordings.some(({ received }) => received === MIB));

		const record = stack.services.ingest;
		const ends = all.map(async ({ connection }) => {
			const closed = closeCode(connection);
			const error = await errorOf(connection);
			return `${error.code} ${error.retry} ${await closed}`;
		});
		signalProcess(record, "SIGTERM");
		assert.deepEqual(new Set(await Promise.all(ends)), new Set(["draining true 1001"]));
		post.end(upload.subarray(MIB));
		assert.equal((await answered).statusCode, 201);
		await waitGone(record);
		assert.deepEqual(await waitFor("its status is known", () => record.exit), { code: 0, signal: null });
		await stack.restart("ingest");
		await Promise.all(all.map(async ({ session, take, ready, acked }) => {
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: session, id: take, bytes });
			assert.equal(sent.recording, ready.recording);
			assert.ok(sent.resumed[0] >= acked);
			await takes.holds(sent.recording, bytes);
		}));
	});
});
