// What a recorder may play of its own take: what is durable so far, then the whole; nobody else, and not for ever.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import { after, before, describe, it } from "node:test";
import { makeAccount, request } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { sendRecording } from "../../scripts/lib/stream-client.mjs";
import { testStack } from "../lib/harness.mjs";
import { PAYLOAD, Takes, ackTo } from "../lib/takes.mjs";

const MIB = 1024 * 1024;

describe("playback of raw takes", () => {
	let stack;
	let takes;

	before(async () => {
		stack = testStack("ingest-playback");
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		takes = new Takes(stack, await makeAccount(stack));
	});
	after(() => stack.remove());

	const get = (recording, token, headers = {}, method = "GET") =>
		request(stack, {
			url: `https://localhost:${stack.ports.ingest}/v1/recordings/${recording}/raw`,
			method,
			headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
		});

	it("gives what is durable so far, then the finished take", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(5 * PAYLOAD + 777);
		const [token, take] = [await takes.token(), randomUUID()];
		const { connection, ready } = await takes.begin(token, take);
		assert.equal((await get(ready.recording, token)).body.length, 0);
		connection.sendBytes(0, bytes.subarray(0, 3 * PAYLOAD + 100));
		const acked = await ackTo(connection, 3 * PAYLOAD);
		const part = await get(ready.recording, token);
		assert.equal(part.status, 200);
		assert.ok(part.body.length >= 3 * PAYLOAD && part.body.length <= Math.max(acked, 3 * PAYLOAD + 100), `${part.body.length} bytes`);
		assert.ok(bytes.subarray(0, part.body.length).equals(part.body));
		connection.send({ type: "pause" });
		// all of it may have been acknowledged before, so that no further word comes
		const paused = await waitFor("the pause ends the segment", async () => {
			const answer = await get(ready.recording, token);
			return answer.body.length >= 3 * PAYLOAD + 100 && answer;
		});
		assert.ok(paused.body.equals(bytes.subarray(0, 3 * PAYLOAD + 100)));
		connection.sendBytes(3 * PAYLOAD + 100, bytes.subarray(3 * PAYLOAD + 100));
		connection.send({ type: "send" });
		await connection.nextOf("saved");
		connection.close();
		assert.equal((await takes.segments(ready.recording)).length, 2);
		const whole = await get(ready.recording, token);
		assert.equal(whole.status, 200);
		assert.ok(whole.body.equals(bytes));
		assert.equal(whole.headers["content-type"], "video/webm");
		assert.match(whole.headers["cache-control"], /no-store/);
		assert.equal(whole.headers["access-control-allow-origin"], "*");
		assert.equal(whole.headers["x-content-type-options"], "nosniff");
	});

	it("answers ranges and conditions", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(300_000);
		const token = await takes.token();
		const { recording } = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token, bytes });
		const range = (value, headers = {}) => get(recording, token, { range: value, ...headers });
		for (const [value, from, to] of [["bytes=0-0", 0, 1], ["bytes=65500-65510", 65500, 65511], ["bytes=299000-", 299_000, 300_000],
			["bytes=-10", 299_990, 300_000], ["bytes=100-9999999", 100, 300_000]]) {
			const answer = await range(value);
			assert.equal(answer.status, 206, value);
			assert.equal(answer.headers["content-range"], `bytes ${from}-${to - 1}/300000`);
			assert.ok(answer.body.equals(bytes.subarray(from, to)), value);
		}
		const beyond = await range("bytes=300000-");
		assert.deepEqual([beyond.status, beyond.headers["content-range"]], [416, "bytes */300000"]);
		const { etag } = (await get(recording, token)).headers;
		assert.equal((await range("bytes=1-2", { "if-range": etag })).status, 206);
		assert.equal((await range("bytes=1-2", { "if-range": '"other"' })).status, 200);
		assert.equal((await range("bytes=1-2,5-6")).status, 200);
		const head = await get(recording, token, {}, "HEAD");
		assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, "300000", 0]);
		const preflight = await get(recording, null, { origin: "https://shop.example", "access-control-request-method": "GET",
			"access-control-request-headers": "authorization,range" }, "OPTIONS");
		assert.equal(preflight.status, 204);
		assert.match(preflight.headers["access-control-allow-headers"], /Authorization.*Range/);
	});

	it("repeats no type that a browser would run", { timeout: 60_000 }, async () => {
		const token = await takes.token();
		const { recording } = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token, bytes: randomBytes(100), mime: "text/html" });
		assert.equal((await get(recording, token)).headers["content-type"], "application/octet-stream");
	});

	it("is for the session that recorded, as long as it may", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(1000);
		const token = await takes.token();
		const sent = () => sendRecording({ url: stack.ingestUrl, ca: stack.ca, token, bytes });
		const [{ recording }, over] = [await sent(), await sent()];
		const refused = async (id, bearer) => {
			const { status, json } = await get(id, bearer);
			return [status, json.code];
		};
		assert.deepEqual(await refused(recording, null), [401, "token-invalid"]);
		assert.deepEqual(await refused(recording, "v4.public.x"), [401, "token-invalid"]);
		assert.deepEqual(await refused(recording, await takes.token()), [404, "unknown-recording"]);
		assert.deepEqual(await refused(randomUUID(), token), [404, "unknown-recording"]);
		assert.deepEqual(await refused("x", token), [404, "unknown-recording"]);
		await stack.postgres.psql(`UPDATE rushes.recording SET saved_at = saved_at - interval '61 minutes' WHERE id = '${over.recording}'`);
		assert.deepEqual(await refused(over.recording, token), [410, "gone"]);
		assert.equal((await get(recording, token)).status, 200);
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		assert.deepEqual(await refused(recording, token), [410, "gone"]);
	});

	it("holds little of a large take in memory, and says where a part lies elsewhere", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(48 * MIB);
		const token = await takes.token();
		const { recording } = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token, bytes, chunkBytes: MIB });
		const resident = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${stack.services.ingest.pid}/status`, "utf8"))[1]);
		const before = resident();
		assert.ok((await get(recording, token)).body.equals(bytes));
		assert.ok(resident() - before < 8 * 1024, `${resident() - before} KiB more memory`);
		await waitFor("nobody is played to", async () => (await takes.metric("rushes_ingest_playbacks_total", 'outcome="played"')) > 0);
		const [node] = await stack.postgres.query("SELECT gen_random_uuid() AS id");
		await stack.postgres.psql(`SELECT rushes.node_beat('${node.id}', 'eu1', 'ingest', 'https://localhost:1', 1, 1, false);
			UPDATE rushes.copy SET node = '${node.id}' WHERE recording = '${recording}'`);
		const elsewhere = await get(recording, token);
		assert.deepEqual([elsewhere.status, elsewhere.json.code], [409, "elsewhere"]);
	});
});
