// Each window in which a crash of ingest could leave row, file and acknowledgement in disagreement: the process dies exactly
// there, the next one puts it right, and the take goes on or is gone as it should.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { makeAccount } from "../../scripts/lib/journey.mjs";
import { isRunning, waitFor } from "../../scripts/lib/process.mjs";
import { ConnectionLost, sendRecording } from "../../scripts/lib/stream-client.mjs";
import { Faults } from "../lib/faults.mjs";
import { testStack } from "../lib/harness.mjs";
import { PAYLOAD, Takes, sha256 } from "../lib/takes.mjs";

// A take: bytes, a pause, bytes, the end. The points are in the order in which its segments come to them. `all`: also those that
// leave for a killed process what another one leaves (CRASH_WINDOWS=all).
const isAll = process.env.CRASH_WINDOWS === "all";
const all = (...points) => (isAll ? points : []);
const WAY = [
	...all("query segment_open 1 before"),
	"query segment_open 1 after",
	...all("open .sealed 1 before"),
	"open .sealed 1 after",
	...all("sync .sealed 1 before"),
	"sync .sealed 1 after",
	...all("sync copies/ 2 before", "sync copies/ 2 after"), // the folder's own, behind the file's
	...all("query segment_present 1 before"),
	"query segment_present 1 after",
	...all("sync .sealed 2 before"), // the bytes, before their acknowledgement
	"sync .sealed 2 after",
	"query segment_close 1 before",
	"query segment_close 1 after",
	...all("query segment_open 2 after"), // the second segment
	"open .sealed 2 after",
	"query recording_saved 1 before",
	"query recording_saved 1 after",
];

// An aborted take: decided, then removed by the spool's owner.
const REMOVAL = [
	"query recording_discard 1 before",
	"query recording_discard 1 after",
	...all("unlink .sealed 1 before"),
	"unlink .sealed 1 after",
	...all("query copy_gone 1 before"),
	"query copy_gone 1 after",
];

describe("crash windows of ingest", () => {
	let stack;
	let takes;
	let faults;

	before(async () => {
		stack = testStack("ingest-crash");
		faults = new Faults(path.join(stack.dir, "..", "ingest-crash-faults"));
		stack.overrides.ingest = faults.environment;
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		takes = new Takes(stack, await makeAccount(stack));
	});
	after(async () => {
		await stack.remove();
		faults.remove();
	});

	const died = () => waitFor("it died there", () => !isRunning(stack.services.ingest), { limitMs: 60_000 });

	async function goOn() {
		await died();
		faults.heal();
		await stack.restart("ingest");
	}

	/** Every file of the spool is a present copy's, and every present copy has its file. */
	async function agree() {
		const folder = path.join(stack.spoolPath("ingest"), "copies");
		await waitFor("rows and files agree", async () => {
			const files = fs.readdirSync(folder).flatMap((name) => fs.readdirSync(path.join(folder, name)).map((file) => file.slice(0, 36)));
			const rows = await stack.postgres.query("SELECT id, state FROM rushes.copy");
			return rows.every(({ state }) => state === "present") && rows.map(({ id }) => id).sort().join() === files.sort().join();
		});
	}

	/** Sends until the line is lost; resolves to what was acknowledged by then, and whether `saved` came. */
	async function sendUntilLost(connection, bytes) {
		let acked = 0;
		try {
			connection.sendBytes(0, bytes.subarray(0, 2 * PAYLOAD + 100));
			connection.send({ type: "pause" });
			while (acked < 2 * PAYLOAD + 100) acked = (await connection.nextOf("ack")).offset;
			connection.sendBytes(acked, bytes.subarray(acked));
			connection.send({ type: "stop", bytes: bytes.length, sha256: sha256(bytes) });
			connection.send({ type: "send" });
			for (;;) {
				const message = await connection.next(60_000);
				if (message.type === "ack") acked = message.offset;
				assert.notEqual(message.type, "saved");
			}
		} catch (error) {
			if (!(error instanceof ConnectionLost)) throw error;
		}
		return acked;
	}

	for (const point of WAY) {
		it(`${point}: loses nothing that was acknowledged`, { timeout: 120_000 }, async () => {
			const bytes = randomBytes(4 * PAYLOAD + 55);
			const [token, take] = [await takes.token(), randomUUID()];
			const { connection, ready } = await takes.begin(token, take);
			faults.at(point);
			const acked = await sendUntilLost(connection, bytes);
			await goOn();
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token, id: take, bytes });
			assert.equal(sent.recording, ready.recording);
			assert.ok(sent.resumed[0] >= acked, `${acked} were acknowledged, it went on at ${sent.resumed[0]}`);
			await takes.holds(ready.recording, bytes);
			await agree();
		});
	}

	for (const point of REMOVAL) {
		it(`${point}: removes all of an aborted take`, { timeout: 120_000 }, async () => {
			const [token, take] = [await takes.token(), randomUUID()];
			const { connection, ready } = await takes.begin(token, take);
			connection.sendBytes(0, randomBytes(3 * PAYLOAD));
			await connection.nextOf("ack");
			const segment = (await takes.segments(ready.recording))[0];
			faults.at(point);
			connection.send({ type: "abort" });
			await goOn();
			if (point === "query recording_discard 1 before") {
				// it was never decided: the page aborts again
				const again = await takes.begin(token, take);
				again.connection.send({ type: "abort" });
				await again.connection.nextOf("discarded");
			}
			await waitFor("it is gone", async () => {
				const rows = await stack.postgres.query(`SELECT id FROM rushes.copy WHERE id = '${segment.copy}'`);
				return rows.length === 0 && !fs.existsSync(takes.path(segment));
			});
			const gone = await stack.postgres.query(`SELECT kind, evidence FROM rushes.ledger WHERE copy = '${segment.copy}' ORDER BY id`);
			assert.ok(gone.some(({ kind }) => kind === "gone"), JSON.stringify(gone));
			await agree();
		});
	}
});
