// A transcoder copies recordings while they are still being received. Nobody takes the push jobs.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { makeAccount, makeLink, openSession } from "../../scripts/lib/journey.mjs";
import { stopProcess, waitFor } from "../../scripts/lib/process.mjs";
import { StreamConnection, sendRecording } from "../../scripts/lib/stream-client.mjs";
import { advanceTime, fixture, testStack } from "../lib/harness.mjs";
import { dataKey, openSealed } from "../lib/sealed-reader.mjs";

const PAYLOAD = 65504;
const NODES = ["ingest", "ingest-2"];
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

describe("a follower", () => {
	let stack;
	let account;
	let late; // a session for when time has gone on

	before(async () => {
		stack = testStack("follow", { instances: ["ingest-2"] });
		await stack.prepare();
		await stack.startServices(["linkgen", ...NODES, "transcoder"]);
		account = await makeAccount(stack);
		late = await token();
	});
	after(() => stack.remove());

	const token = async () => (await openSession(stack, await makeLink(stack, account))).token;
	const row = async (sql) => (await stack.postgres.query(sql))[0];
	const recordingRow = (id) => row(`SELECT *, encode(sha256, 'hex') AS hash FROM rushes.recording WHERE id = '${id}'`);
	const jobOf = (id) => row(`SELECT * FROM rushes.job WHERE recording = '${id}' AND kind = 'copy'`);
	const doneJobOf = (id) => row(`SELECT * FROM rushes.job_done WHERE recording = '${id}' AND kind = 'copy'`);
	const copyOf = (id) =>
		row(`SELECT c.* FROM rushes.copy c WHERE c.recording = '${id}' AND c.kind = 'raw' AND c.state <> 'going'
			ORDER BY c.created_at DESC LIMIT 1`);

	async function begin(node, authorization, take) {
		const connection = new StreamConnection({ url: stack.ingestUrlOf(node), ca: stack.ca, authorization });
		await connection.opened;
		connection.send({ type: "start", take, mime: "video/webm", source: "screen" });
		return { connection, ready: await connection.nextOf("ready") };
	}

	async function ackTo(connection, offset) {
		for (;;) {
			const ack = await connection.nextOf("ack");
			if (ack.offset >= offset) return ack.offset;
		}
	}

	const following = (id) =>
		waitFor("it is followed", async () => {
			const job = await jobOf(id);
			return job?.state === "running" && job;
		});

	/** Bytes of the sealed file on the transcoder. */
	async function copied(id) {
		const copy = await copyOf(id);
		const file = copy && path.join(stack.spoolPath("transcoder"), copy.location);
		return file && fs.existsSync(file) ? fs.statSync(file).size : 0;
	}

	/** The recording's one copy opens to these bytes, and no attempt was lost on the way. */
	async function isCopied(id, bytes) {
		await waitFor("it is copied", async () => (await recordingRow(id)).copied_at !== null);
		const { hash } = await recordingRow(id);
		assert.equal(hash, sha256(bytes));
		const { location } = await copyOf(id);
		const sealed = fs.readFileSync(path.join(stack.spoolPath("transcoder"), location));
		assert.ok(openSealed(sealed, await dataKey(stack, id)).plain.equals(bytes));
		assert.equal((await doneJobOf(id)).failures, 0);
	}

	it("has the bytes seconds after they were acknowledged, and the rest right after send", { timeout: 60_000 }, async () => {
		const bytes = randomBytes(4_000_000);
		const { connection, ready } = await begin("ingest", await token(), randomUUID());
		connection.sendBytes(0, bytes.subarray(0, 500_000));
		await following(ready.recording);
		for (let at = 500_000; at < bytes.length; at += 500_000) connection.sendBytes(at, bytes.subarray(at, at + 500_000));
		await ackTo(connection, 61 * PAYLOAD);
		// a writer keeps 16 slots in memory
		await waitFor("the copy grows", async () => (await copied(ready.recording)) > 44 * PAYLOAD);
		assert.equal((await recordingRow(ready.recording)).state, "open");
		const metrics = await stack.admin("ingest", "/metrics");
		assert.match(metrics.body, /rushes_peer_followers 1/);
		connection.send({ type: "stop", bytes: bytes.length });
		connection.send({ type: "send" });
		await connection.nextOf("saved");
		const saved = Date.now();
		await connection.nextOf("copied");
		assert.ok(Date.now() - saved < 5000, `copied came ${Date.now() - saved} ms after saved`);
		await isCopied(ready.recording, bytes);
		assert.equal((await doneJobOf(ready.recording)).attempt, 1);
	});

	it("follows a recording from node to node", { timeout: 60_000 }, async () => {
		const { bytes } = fixture("cam-vp8-opus.webm");
		let connections = 0;
		const sent = await sendRecording({
			url: () => stack.ingestUrlOf(NODES[connections++ % 2]),
			ca: stack.ca,
			token: await token(),
			bytes,
			cuts: [150_000, 300_000, 450_000],
			waitFor: "copied",
		});
		assert.ok(sent.connections > 3);
		await isCopied(sent.recording, bytes);
	});

	it("that dies or leaves costs no attempt", { timeout: 90_000 }, async () => {
		const bytes = randomBytes(900_000);
		const { connection, ready } = await begin("ingest", await token(), randomUUID());
		connection.sendBytes(0, bytes.subarray(0, 400_000));
		await following(ready.recording);
		await stack.kill("transcoder");
		await stack.startService("transcoder");
		const { attempt } = await waitFor("it is followed again", async () => {
			const job = await following(ready.recording);
			return job.attempt > 1 && job;
		});
		assert.ok(await stopProcess(stack.dir, stack.services.transcoder), "a follower leaves at once");
		const left = await jobOf(ready.recording);
		assert.deepEqual([left.state, left.failures, left.next_attempt_at], ["queued", 0, "infinity"]);
		connection.sendBytes(400_000, bytes.subarray(400_000));
		await stack.startService("transcoder");
		connection.send({ type: "send" });
		await connection.nextOf("copied");
		await isCopied(ready.recording, bytes);
		assert.ok((await doneJobOf(ready.recording)).attempt > attempt);
	});

	it("goes on when the node that it follows dies", { timeout: 90_000 }, async () => {
		const bytes = randomBytes(1_200_000);
		const [authorization, take] = [await token(), randomUUID()];
		const { connection, ready } = await begin("ingest", authorization, take);
		connection.sendBytes(0, bytes.subarray(0, 700_000));
		await ackTo(connection, 10 * PAYLOAD);
		const { attempt } = await following(ready.recording);
		await stack.kill("ingest");
		await stack.restart("ingest");
		const again = await begin("ingest", authorization, take);
		again.connection.sendBytes(again.ready.offset, bytes.subarray(again.ready.offset));
		again.connection.send({ type: "send" });
		await again.connection.nextOf("copied");
		await isCopied(ready.recording, bytes);
		assert.equal((await doneJobOf(ready.recording)).attempt, attempt);
	});

	it("of an aborted take leaves nothing", { timeout: 60_000 }, async () => {
		const { connection, ready } = await begin("ingest", await token(), randomUUID());
		connection.sendBytes(0, randomBytes(400_000));
		await following(ready.recording);
		await waitFor("the copy is begun", async () => copyOf(ready.recording));
		connection.send({ type: "abort" });
		await connection.nextOf("discarded");
		await waitFor("nothing is left", async () => {
			const left = await row(`SELECT count(*)::integer AS n FROM rushes.copy WHERE recording = '${ready.recording}'`);
			return left.n === 0;
		});
	});

	it("cannot take a torn stream for the whole", { timeout: 60_000 }, async () => {
		const { connection, ready } = await begin("ingest", await token(), randomUUID());
		connection.sendBytes(0, randomBytes(300_000));
		const { id: job, attempt } = await following(ready.recording);
		const { id: copy } = await row(`SELECT id FROM rushes.copy WHERE recording = '${ready.recording}' AND segment = 0`);
		const ask = (service, offset) => {
			const { certificate, key } = stack.certificates.services[service];
			return https.get({
				host: "localhost",
				port: stack.ports["ingest-peer"],
				path: `/spool/v1/copies/${copy}`,
				ca: stack.ca,
				cert: fs.readFileSync(certificate),
				key: fs.readFileSync(key),
				headers: { "rushes-job": job, "rushes-attempt": attempt, "rushes-follow": offset },
				agent: false,
			});
		};
		const refused = await new Promise((resolve) => ask("ingest-2", "0").on("response", resolve));
		assert.equal(refused.statusCode, 403);
		refused.resume();
		const response = await new Promise((resolve, reject) => ask("transcoder", "0").on("response", resolve).on("error", reject));
		assert.equal(response.statusCode, 200);
		let got = 0;
		const torn = new Promise((resolve) => {
			response.on("data", (piece) => (got += piece.length));
			response.on("error", () => resolve("torn"));
			response.on("end", () => resolve("whole"));
		});
		await waitFor("full slots came", () => got === 4096 + 4 * 65536);
		await stack.kill("ingest");
		assert.equal(await torn, "torn");
		await stack.restart("ingest");
		connection.cut();
	});

	// from here on time goes on by hours

	it("replaces a recovered take by the whole one that comes later", { timeout: 120_000 }, async () => {
		const { bytes } = fixture("cam-vp8-opus.webm");
		const [authorization, take] = [late, randomUUID()];
		const { connection, ready } = await begin("ingest", authorization, take);
		connection.sendBytes(0, bytes.subarray(0, 200_000));
		connection.send({ type: "pause" });
		await ackTo(connection, 200_000);
		connection.cut();
		await advanceTime(stack, "100 minutes");
		await waitFor("what came is saved", async () => (await recordingRow(ready.recording)).state !== "open");
		await isCopied(ready.recording, bytes.subarray(0, 200_000));
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id: take, bytes, waitFor: "copied" });
		assert.deepEqual(sent.resumed, [200_000, 0]);
		await isCopied(sent.recording, bytes);
		assert.equal((await recordingRow(sent.recording)).replaces, ready.recording);
		await waitFor("the recovered one goes", async () => (await recordingRow(ready.recording)).delete_rule === "replaced");
	});

	it("is not held up by a node that does not answer, nor by what that one closes later", { timeout: 120_000 }, async () => {
		const bytes = randomBytes(1_000_000);
		const [authorization, take] = [late, randomUUID()];
		const { connection, ready } = await begin("ingest", authorization, take);
		connection.sendBytes(0, bytes.subarray(0, 600_000));
		await ackTo(connection, 9 * PAYLOAD);
		await following(ready.recording);
		stack.pause("ingest");
		try {
			const second = await begin("ingest-2", authorization, take);
			assert.equal(second.ready.offset, 0);
			second.connection.sendBytes(0, bytes);
			second.connection.send({ type: "send" });
			await second.connection.nextOf("copied");
			second.connection.close();
			await isCopied(ready.recording, bytes);
		} finally {
			stack.resume("ingest");
		}
		const copies = () =>
			stack.postgres.query(`SELECT g.state, c.rule, c.due_at FROM rushes.copy c
				JOIN rushes.segment g ON g.recording = c.recording AND g.number = c.segment
				WHERE c.recording = '${ready.recording}' ORDER BY g.number`);
		await waitFor("both segments are closed and due", async () => {
			const rows = await copies();
			return rows.length === 2 && rows.every(({ state, rule }) => state === "closed" && rule === "raw-copied");
		});
		await advanceTime(stack, "6 hours");
		// services let no sweep decide for a while after such a jump of the clock
		await stack.postgres.psql("SELECT count(*) FROM rushes.sweep_decide('ingest', 100)");
		await waitFor("both are gone from their spools", async () => (await copies()).length === 0);
	});
});
