// What was acknowledged is there after a power cut: everything that was not flushed is gone, but for some blocks that the
// disk wrote on its own; and a disk that fails is never trusted again.
import assert from "node:assert/strict";
import { createHash, randomBytes, randomInt, randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { makeAccount, makeLink, openSession } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { StreamConnection, StreamError, sendRecording } from "../../scripts/lib/stream-client.mjs";
import { testStack } from "../lib/harness.mjs";
import { shimDisk } from "../lib/power-cut.mjs";

const CUTS = Number(process.env.POWER_CUTS ?? 2);
const SEED = Number(process.env.POWER_SEED ?? randomInt(1_000_000));
// bytes that a stream brings each 10 ms: the journal takes the first ones, the last flushes its own file
const STREAMS = [200, 900, 5_000, 12_000, 12_000, 60_000];
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

describe(`a power cut (POWER_SEED=${SEED})`, () => {
	let stack;
	let disk;
	let account;

	before(async () => {
		// a small journal, so that its generations are overwritten many times
		stack = testStack("power-cut", {
			overrides: { ingest: { RUSHES_INGEST_LINGER: "500ms", RUSHES_INGEST_JOURNAL: "4MiB" } },
		});
		await stack.prepare();
		disk = shimDisk(stack, "ingest", { leak: 40, seed: SEED });
		await stack.startServices(["linkgen", "ingest"]);
		account = await makeAccount(stack);
	});
	after(() => stack.remove());

	const token = async () => (await openSession(stack, await makeLink(stack, account))).token;
	const metric = async (name) => {
		const { body } = await stack.admin("ingest", "/metrics");
		return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(body)?.[1] ?? 0);
	};

	/** A take whose bytes come by and by, over one connection after the other. */
	class Source {
		constructor(authorization, piece) {
			Object.assign(this, { authorization, piece, id: randomUUID(), acked: 0, sent: 0 });
			this.bytes = randomBytes(piece * 1500);
		}

		async connect() {
			this.connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca, authorization: this.authorization });
			await this.connection.opened;
			this.connection.send({ type: "start", take: this.id, mime: "video/webm", source: "screen" });
			const ready = await this.connection.nextOf("ready");
			assert.ok(ready.offset >= this.acked, `acknowledged ${this.acked}, goes on at ${ready.offset}`);
			this.recording = ready.recording;
			this.sent = ready.offset;
		}

		/** Until the connection breaks. */
		async run() {
			const { connection } = this;
			const acks = (async () => {
				for (;;) this.acked = (await connection.nextOf("ack", 60_000)).offset;
			})();
			const isOver = acks.then(
				() => true,
				() => true,
			);
			while (!(await Promise.race([isOver, delay(10, false)])) && this.sent + this.piece <= this.bytes.length) {
				if (this.sent - this.acked > 1_000_000) continue;
				connection.sendBytes(this.sent, this.bytes.subarray(this.sent, this.sent + this.piece));
				this.sent += this.piece;
			}
			await isOver;
		}
	}

	async function holds(source, bytes) {
		const rows = await stack.postgres.query(`SELECT state, start_offset, bytes, encode(sha256, 'hex') AS sha256
			FROM rushes.segment WHERE recording = '${source.recording}' ORDER BY number`);
		let at = 0;
		for (const row of rows) {
			assert.equal(row.state, "closed");
			assert.equal(Number(row.start_offset), at);
			const part = bytes.subarray(at, at + Number(row.bytes));
			assert.equal(row.sha256, sha256(part), `${source.recording} from ${at}`);
			at += part.length;
		}
		assert.equal(at, bytes.length);
	}

	it("loses no acknowledged byte, of slow streams and of fast ones", { timeout: 240_000 }, async () => {
		const sources = [];
		for (const piece of STREAMS) sources.push(new Source(await token(), piece));
		for (let cut = 0; cut < CUTS; cut++) {
			await Promise.all(sources.map((source) => source.connect()));
			const running = Promise.all(sources.map((source) => source.run()));
			const before = sources.map((source) => source.acked);
			await waitFor("each has something acknowledged", () => sources.every((source, i) => source.acked > before[i]));
			await delay(randomInt(1500));
			if (cut === CUTS - 1)
				// each flush of the spool lets one generation be overwritten
				await waitFor("generations are overwritten", async () => (await metric("rushes_journal_syncs_total")) >= 3);
			await disk.cut();
			await running;
			await stack.startService("ingest");
		}
		for (const source of sources) {
			const bytes = source.bytes.subarray(0, source.sent);
			const { authorization, id } = source;
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id, bytes });
			assert.ok(sent.resumed[0] >= source.acked, `acknowledged ${source.acked}, went on at ${sent.resumed[0]}`);
			await holds(source, bytes);
		}
	});

	it("saves what was acknowledged as recovered", { timeout: 60_000 }, async () => {
		const source = new Source(await token(), 700);
		await source.connect();
		const running = source.run();
		await waitFor("something is acknowledged", () => source.acked > 20_000);
		await disk.cut();
		await running;
		await stack.startService("ingest");
		await waitFor("its segment is closed", async () => (await stack.postgres.query(`SELECT 1 FROM rushes.segment
			WHERE recording = '${source.recording}' AND state = 'closed'`)).length === 1);
		await stack.postgres.psql(`UPDATE rushes.recording SET last_byte_at = now() - interval '91 minutes'
			WHERE id = '${source.recording}'`);
		const saved = await waitFor("it is saved", async () => {
			const [row] = await stack.postgres.query(`SELECT state, bytes FROM rushes.recording WHERE id = '${source.recording}'`);
			return row.state === "saved" && row;
		});
		assert.ok(Number(saved.bytes) >= source.acked);
		await holds(source, source.bytes.subarray(0, Number(saved.bytes)));
	});

	it("acknowledges nothing more when the journal's flush fails, and keeps what it had", { timeout: 60_000 }, async () => {
		const source = new Source(await token(), 700);
		await source.connect();
		const running = source.run();
		await waitFor("something is acknowledged", () => source.acked > 20_000);
		disk.rule("sync EIO journal/generation-?");
		await running;
		const again = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca, authorization: source.authorization });
		await again.opened;
		again.send({ type: "start", take: randomUUID() });
		await assert.rejects(again.nextOf("ready"), (error) => error instanceof StreamError && error.code === "full");
		disk.rule();
		await disk.cut();
		await stack.startService("ingest");
		const bytes = source.bytes.subarray(0, source.sent);
		const { authorization, id } = source;
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: authorization, id, bytes });
		assert.ok(sent.resumed[0] >= source.acked, `acknowledged ${source.acked}, went on at ${sent.resumed[0]}`);
		await holds(source, bytes);
	});
});
