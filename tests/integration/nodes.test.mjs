// A recording that moves between ingest nodes: the newer connection wins, the older node lets go, a silent one is gone without.
// No transcoder runs, so that what lies in the spools is what the nodes left there.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import { after, before, describe, it } from "node:test";
import { makeAccount, makeLink, openSession } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { StreamConnection, StreamError, sendRecording } from "../../scripts/lib/stream-client.mjs";
import { advanceTime, testStack } from "../lib/harness.mjs";
import { openApi } from "../lib/schemas.mjs";
import { Uploads, checksum } from "../lib/uploads.mjs";

const PAYLOAD = 65504;
const NODES = ["ingest", "ingest-2"];
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

describe("two ingest nodes", () => {
	let stack;
	let account;

	before(async () => {
		stack = testStack("nodes", { instances: ["ingest-2"] });
		await stack.prepare();
		await stack.startServices(["linkgen", ...NODES]);
		account = await makeAccount(stack);
	});
	after(() => stack.remove());

	const token = async () => (await openSession(stack, await makeLink(stack, account))).token;

	async function begin(node, authorization, take, acked) {
		const connection = new StreamConnection({ url: stack.ingestUrlOf(node), ca: stack.ca, authorization });
		await connection.opened;
		connection.send({ type: "start", take, mime: "video/webm", source: "screen", acked });
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

	async function finish(connection, bytes) {
		connection.send({ type: "stop", bytes: bytes.length });
		connection.send({ type: "send" });
		await connection.nextOf("saved");
		connection.close();
	}

	const recordingRow = async (id) => (await stack.postgres.query(`SELECT * FROM rushes.recording WHERE id = '${id}'`))[0];
	const segments = (id) =>
		stack.postgres.query(`SELECT number, state, start_offset, bytes, encode(sha256, 'hex') AS sha256, acked
			FROM rushes.segment WHERE recording = '${id}' ORDER BY number`);

	/** Each closed segment holds the bytes of its place, and together they cover the whole. */
	async function covers(id, bytes) {
		let end = 0;
		for (const segment of await segments(id)) {
			if (segment.state !== "closed" || Number(segment.bytes) === 0) continue;
			const start = Number(segment.start_offset);
			assert.ok(start <= end, `segment ${segment.number} begins at ${start}, ${end} are covered`);
			const part = bytes.subarray(start, start + Number(segment.bytes));
			assert.equal(segment.sha256, sha256(part), `segment ${segment.number}`);
			end = Math.max(end, start + part.length);
		}
		assert.equal(end, bytes.length);
	}

	/** POST to a node's peer listener as a service. Resolves to {status, body}. */
	function fence(node, service, body) {
		const { certificate, key } = stack.certificates.services[service];
		return new Promise((resolve, reject) => {
			const request = https.request(
				{
					host: "localhost",
					port: stack.ports[`${node}-peer`],
					path: "/spool/v1/fence",
					method: "POST",
					ca: stack.ca,
					cert: fs.readFileSync(certificate),
					key: fs.readFileSync(key),
					headers: { "content-type": "application/json" },
					agent: false,
				},
				(response) => {
					let text = "";
					response.on("data", (piece) => (text += piece));
					response.on("end", () => resolve({ status: response.statusCode, body: JSON.parse(text) }));
				},
			);
			request.on("error", reject);
			request.end(JSON.stringify(body));
		});
	}

	/** Milliseconds that nodes took to let go, from the log of the one that asked. */
	const fenceTimes = (node) =>
		stack
			.log(node)
			.map(({ message }) => /let the recording go in (\d+) ms/.exec(message ?? ""))
			.filter(Boolean)
			.map((match) => Number(match[1]));

	it("takes a client back that was at another node in between", { timeout: 60_000 }, async () => {
		const [authorization, take] = [await token(), randomUUID()];
		const bytes = randomBytes(5000);
		// the first node still has its connection, and no open segment by which the second one would find it
		const first = await begin("ingest", authorization, take);
		first.connection.sendBytes(0, bytes.subarray(0, 1000));
		first.connection.send({ type: "pause" });
		await ackTo(first.connection, 1000);
		const second = await begin("ingest-2", authorization, take);
		assert.equal(second.ready.offset, 1000);
		second.connection.sendBytes(1000, bytes.subarray(1000, 2000));
		second.connection.send({ type: "pause" });
		await ackTo(second.connection, 2000);
		const sent = await sendRecording({ url: stack.ingestUrlOf("ingest"), ca: stack.ca, token: authorization, id: take, bytes });
		assert.equal(sent.resumed.at(-1), 2000);
		await covers(sent.recording, bytes);
		second.connection.cut();
	});

	it("hand a recording over at its durable offset, and tell the older connection", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(500_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		first.connection.sendBytes(0, bytes.subarray(0, 200_000));
		await ackTo(first.connection, 3 * PAYLOAD);
		const second = await begin("ingest-2", authorization, take);
		assert.equal(second.ready.recording, first.ready.recording);
		assert.equal(second.ready.offset, 200_000);
		const error = await errorOf(first.connection);
		assert.deepEqual([error.code, error.retry], ["superseded", false]);
		second.connection.sendBytes(200_000, bytes.subarray(200_000));
		await finish(second.connection, bytes);
		assert.equal((await recordingRow(first.ready.recording)).state, "saved");
		await covers(first.ready.recording, bytes);
	});

	it("refuse a fence of others, and one of an epoch that is not the last", { timeout: 60_000 }, async () => {
		const [authorization, take] = [await token(), randomUUID()];
		const { connection, ready } = await begin("ingest", authorization, take);
		connection.sendBytes(0, randomBytes(2 * PAYLOAD));
		await ackTo(connection, 1);
		const { recording } = ready;
		const { stream_epoch: epoch } = await recordingRow(recording);
		assert.equal((await fence("ingest", "transcoder", { recording, epoch: epoch + 1 })).status, 403);
		assert.equal((await fence("ingest", "ingest-2", { recording, epoch: epoch + 1 })).status, 409);
		assert.equal((await fence("ingest", "ingest-2", { recording, epoch })).status, 409, "the epoch is its own");
		assert.equal((await fence("ingest", "ingest-2", { recording })).status, 400);
		assert.equal((await segments(recording))[0].state, "open");
		connection.send({ type: "abort" });
		await connection.nextOf("discarded");
	});

	it("lose nothing when a recording goes to and fro", { timeout: 120_000 }, async () => {
		const bytes = randomBytes(2_500_000);
		const cuts = Array.from({ length: 12 }, (_, i) => (i + 1) * 190_000);
		let connections = 0;
		const sent = await sendRecording({
			url: () => stack.ingestUrlOf(NODES[connections++ % 2]),
			ca: stack.ca,
			token: await token(),
			bytes,
			cuts,
		});
		assert.ok(sent.connections > 12);
		await covers(sent.recording, bytes);
		for (const node of NODES) {
			const times = fenceTimes(node).sort((a, b) => a - b);
			assert.ok(times.length >= 5 && times[times.length >> 1] < 100, `${node} waited for ${times} ms`);
		}
	});

	it("let the newer of two connections win while both send", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(1_000_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		let stopped = false;
		const sending = (async () => {
			for (let at = 0; at < 600_000 && !stopped; at += 10_000) {
				first.connection.sendBytes(at, bytes.subarray(at, at + 10_000));
				await new Promise(setImmediate);
			}
		})();
		await ackTo(first.connection, 1);
		const second = await begin("ingest-2", authorization, take);
		assert.equal((await errorOf(first.connection)).code, "superseded");
		stopped = true;
		await sending;
		second.connection.sendBytes(second.ready.offset, bytes.subarray(second.ready.offset));
		await finish(second.connection, bytes);
		await covers(first.ready.recording, bytes);
	});

	it("hand an upload by tus over, by HEAD and by PATCH", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(2_000_000);
		const authorization = await token();
		const [one, two] = NODES.map((node) => new Uploads(stack, authorization, openApi(), node));
		const { path } = await one.create(bytes.length);
		const id = path.split("/").pop();
		const held = one.open(path, 0, { "content-length": bytes.length });
		held.write(bytes.subarray(0, 700_000));
		await waitFor("a segment is open", async () => (await segments(id)).length > 0);
		const begun = performance.now();
		const at = await two.offset(path);
		assert.ok(performance.now() - begun < 2000, `${performance.now() - begun} ms`);
		assert.ok([423, undefined].includes((await held.answer)?.status));
		const back = two.open(path, at, { "content-length": bytes.length - at, "upload-checksum": checksum(bytes.subarray(at)) });
		back.write(bytes.subarray(at, at + 300_000));
		await waitFor("a provisional segment is open", async () => (await segments(id)).some(({ state }) => state === "open"));
		assert.equal(await one.offset(path), at, "bytes that nobody compared count");
		assert.ok([423, undefined].includes((await back.answer)?.status));
		const middle = at + 500_000;
		assert.equal((await one.patch(path, at, bytes.subarray(at, middle))).status, 204);
		assert.equal((await two.patch(path, at, bytes.subarray(at))).status, 409);
		assert.equal((await two.patch(path, middle, bytes.subarray(middle))).status, 204);
		assert.equal((await one.head(path)).headers["upload-offset"], String(bytes.length));
		await covers(id, bytes);
		assert.equal((await recordingRow(id)).state, "saved");
	});

	it("go on without a node that does not answer, which closes what it has when it is back", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(800_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		const { recording } = first.ready;
		first.connection.sendBytes(0, bytes.subarray(0, 100_000));
		first.connection.send({ type: "pause" });
		await ackTo(first.connection, 100_000);
		first.connection.sendBytes(100_000, bytes.subarray(100_000, 500_000));
		const acked = await ackTo(first.connection, 100_000 + 5 * PAYLOAD);
		stack.pause("ingest");
		try {
			const second = await begin("ingest-2", authorization, take, acked);
			assert.equal(second.ready.offset, 100_000, "the last closed end");
			second.connection.sendBytes(100_000, bytes.subarray(100_000));
			await finish(second.connection, bytes);
			assert.deepEqual(
				(await segments(recording)).map(({ state }) => state),
				["closed", "open", "closed"],
			);
		} finally {
			stack.resume("ingest");
		}
		assert.equal((await errorOf(first.connection)).code, "superseded");
		await waitFor("the older node closes its segment", async () => (await segments(recording))[1].state === "closed");
		assert.ok(Number((await segments(recording))[1].bytes) >= acked - 100_000);
		await covers(recording, bytes);
	});

	it("go on where the client is, whatever an older node closes meanwhile", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(700_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		const { recording } = first.ready;
		first.connection.sendBytes(0, bytes.subarray(0, 500_000));
		await ackTo(first.connection, 7 * PAYLOAD);
		stack.pause("ingest");
		const second = await begin("ingest-2", authorization, take).finally(() => stack.resume("ingest"));
		second.connection.sendBytes(0, bytes.subarray(0, 50_000));
		second.connection.send({ type: "pause" });
		await ackTo(second.connection, 50_000);
		await waitFor("the older node closes its segment", async () => (await segments(recording))[0].state === "closed");
		second.connection.sendBytes(50_000, bytes.subarray(50_000));
		await finish(second.connection, bytes);
		assert.deepEqual(
			(await segments(recording)).map(({ start_offset }) => Number(start_offset)),
			[0, 0, 50_000],
		);
		await covers(recording, bytes);
	});

	const epochOf = async (id) => (await recordingRow(id)).stream_epoch;

	/** A `start` whose answer is not waited for. */
	async function start(node, authorization, take) {
		const connection = new StreamConnection({ url: stack.ingestUrlOf(node), ca: stack.ca, authorization });
		await connection.opened;
		connection.send({ type: "start", take, mime: "video/webm", source: "screen" });
		return connection;
	}

	it("lose nothing when the newer node dies between raising the epoch and the answer", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(400_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		const { recording } = first.ready;
		first.connection.sendBytes(0, bytes.subarray(0, 300_000));
		const acked = await ackTo(first.connection, 4 * PAYLOAD);
		const epoch = await epochOf(recording);
		stack.pause("ingest");
		try {
			const second = await start("ingest-2", authorization, take);
			await waitFor("the epoch is raised", async () => (await epochOf(recording)) > epoch);
			await stack.kill("ingest-2");
			second.cut();
		} finally {
			stack.resume("ingest");
		}
		first.connection.cut();
		const sent = await sendRecording({ url: stack.ingestUrlOf("ingest"), ca: stack.ca, token: authorization, id: take, bytes });
		assert.ok(sent.resumed.at(-1) >= acked);
		await covers(recording, bytes);
		await stack.restart("ingest-2");
	});

	it("lose nothing when the older node dies with its file closed and its row open", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(400_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		const { recording } = first.ready;
		first.connection.sendBytes(0, bytes.subarray(0, 300_000));
		const acked = await ackTo(first.connection, 4 * PAYLOAD);
		const epoch = await epochOf(recording);
		stack.pause("ingest");
		const second = await start("ingest-2", authorization, take);
		await waitFor("the epoch is raised", async () => (await epochOf(recording)) > epoch);
		// nobody writes the rows of the recording while this sleeps
		const locked = stack.postgres.psql(
			`BEGIN; SELECT FROM rushes.recording WHERE id = '${recording}' FOR UPDATE; SELECT pg_sleep(6); COMMIT`,
		);
		const waits = async (query, event) =>
			Number(
				await stack.postgres.psql(
					`SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%${query}%' AND wait_event_type = '${event}'`,
				),
			) > 0;
		await waitFor("the rows are locked", () => waits("pg_sleep", "Timeout"), { pollMs: 50 });
		stack.resume("ingest");
		await waitFor("the older node wants to close its row", () => waits("rushes.segment_close", "Lock"), { pollMs: 50 });
		await stack.kill("ingest");
		await locked;
		const ready = await second.nextOf("ready");
		await stack.restart("ingest");
		await waitFor("its segment is closed", async () => (await segments(recording))[0].state === "closed");
		assert.ok(Number((await segments(recording))[0].bytes) >= acked);
		second.sendBytes(ready.offset, bytes.subarray(ready.offset));
		await finish(second, bytes);
		await covers(recording, bytes);
	});

	it("wait for acknowledged bytes that are not sent again", { timeout: 90_000 }, async () => {
		const bytes = randomBytes(400_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		const { recording } = first.ready;
		first.connection.sendBytes(0, bytes.subarray(0, 300_000));
		const acked = await ackTo(first.connection, 4 * PAYLOAD);
		await stack.kill("ingest");
		const second = await begin("ingest-2", authorization, take, acked);
		assert.equal(second.ready.offset, 0);
		second.connection.sendBytes(0, bytes.subarray(0, 50_000));
		second.connection.send({ type: "send" });
		const error = await errorOf(second.connection);
		assert.deepEqual([error.code, error.retry], ["elsewhere", true]);
		await stack.restart("ingest");
		await waitFor("its segment is closed", async () => (await segments(recording))[0].state === "closed");
		const third = await begin("ingest-2", authorization, take);
		assert.ok(third.ready.offset >= acked);
		third.connection.sendBytes(third.ready.offset, bytes.subarray(third.ready.offset));
		await finish(third.connection, bytes);
		await covers(recording, bytes);
	});

	it("keep a broken-off take open until the node that holds its bytes is back", { timeout: 120_000 }, async () => {
		const bytes = randomBytes(300_000);
		const [authorization, take] = [await token(), randomUUID()];
		const first = await begin("ingest", authorization, take);
		const { recording } = first.ready;
		first.connection.sendBytes(0, bytes);
		const acked = await ackTo(first.connection, 4 * PAYLOAD);
		await stack.kill("ingest");
		const second = await begin("ingest-2", authorization, take);
		second.connection.sendBytes(0, bytes.subarray(0, 10_000));
		second.connection.send({ type: "pause" });
		await ackTo(second.connection, 10_000);
		second.connection.cut();
		// a take that nothing is awaited for shows that the sweep has looked
		const other = await begin("ingest-2", await token(), randomUUID());
		other.connection.sendBytes(0, bytes);
		other.connection.send({ type: "pause" });
		await ackTo(other.connection, bytes.length);
		other.connection.cut();
		await advanceTime(stack, "100 minutes");
		await waitFor("the other take is recovered", async () => (await recordingRow(other.ready.recording)).state === "saved");
		assert.equal((await recordingRow(recording)).state, "open");
		await stack.restart("ingest");
		await waitFor("its segment is closed", async () => (await segments(recording))[0].state === "closed");
		assert.equal((await recordingRow(recording)).state, "open", "the window counts from the node's return");
		await advanceTime(stack, "200 minutes");
		await waitFor("the take is recovered", async () => (await recordingRow(recording)).state === "saved");
		const row = await recordingRow(recording);
		assert.ok(row.recovered && Number(row.bytes) >= acked);
		await covers(recording, bytes.subarray(0, Number(row.bytes)));
		await advanceTime(stack, "0");
	});
});
