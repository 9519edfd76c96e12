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
			.map(({ msg }) => /let the recording go in (\d+) ms/.exec(msg ?? ""))
			.filter(Boolean)
			.map((match) => Number(match[1]));

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
});
