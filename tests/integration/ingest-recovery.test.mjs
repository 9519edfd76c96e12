// What ingest does when its disk is full or fails, and when PostgreSQL, Redis or NATS are away: nothing acknowledged is lost, who
// cannot be served is told so and sent on, and all goes on when they are back.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { makeAccount } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { sendRecording } from "../../scripts/lib/stream-client.mjs";
import { judgeTakes } from "../chaos/judge.mjs";
import { bytesOf } from "../chaos/random.mjs";
import { Faults } from "../lib/faults.mjs";
import { advanceTime, testStack } from "../lib/harness.mjs";
import { claimsOf } from "../lib/tokens.mjs";
import { PAYLOAD, Takes, ackTo, closeCode, errorOf } from "../lib/takes.mjs";

const MIB = 1024 * 1024;
const RESERVE = 64 * MIB;
const OUTAGE_MS = 1500;
const LINGER_MS = 500;

describe("ingest when its disk or its servers fail", () => {
	let stack;
	let account;
	let takes;
	let faults;

	before(async () => {
		stack = testStack("ingest-recovery", { instances: ["ingest-2"] });
		faults = new Faults(path.join(stack.dir, "..", "ingest-recovery-faults"));
		stack.overrides.ingest = { ...faults.environment, RUSHES_SPOOL_RESERVE: String(RESERVE), RUSHES_INGEST_LINGER: `${LINGER_MS}ms` };
		await stack.prepare();
		await stack.startServices(["linkgen", "ingest"]);
		account = await makeAccount(stack);
		takes = new Takes(stack, account);
	});
	after(async () => {
		await stack.remove();
		faults.remove();
	});

	const ready = async () => (await stack.admin("ingest", "/readyz")).status;
	const closed = async (id) => waitFor("its segments are closed", async () => (await takes.segments(id)).every(({ state }) => state === "closed"));

	async function goOnWith(token, take, bytes, acked) {
		const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token, id: take, bytes });
		assert.ok(sent.resumed[0] >= acked, `${acked} were acknowledged, it went on at ${sent.resumed[0]}`);
		await takes.holds(sent.recording, bytes);
	}

	/** A POST whose body does not end by itself: {request, answer}. */
	async function openPost(length) {
		const request = https.request({ host: "localhost", port: stack.ports.ingest, path: "/v1/recordings", method: "POST", ca: stack.ca,
			agent: false, headers: { authorization: `Bearer ${await takes.token()}`, "content-type": "video/mp4", "content-length": length } });
		const answer = new Promise((resolve) => {
			request.on("response", (response) => {
				let text = "";
				response.on("data", (data) => (text += data));
				response.on("end", () => resolve({ status: response.statusCode, json: JSON.parse(text) }));
				response.on("error", () => resolve(null));
			});
			request.on("error", () => resolve(null));
		});
		request.flushHeaders();
		return { request, answer };
	}

	describe("its disk", () => {
		it("claims room for what was declared, and refuses what would not find any", { timeout: 60_000 }, async () => {
			const claimed = async (kind) => (await takes.debug()).room.claims[kind];
			faults.room(RESERVE + 100 * MIB);
			const large = await openPost(150 * MIB);
			const refused = await large.answer;
			assert.deepEqual([refused.status, refused.json.code], [507, "full"]);
			const first = await openPost(60 * MIB);
			first.request.write(randomBytes(MIB));
			await waitFor("its room is claimed", async () => (await claimed("upload")).bytes > 58 * MIB);
			const second = await (await openPost(60 * MIB)).answer;
			assert.equal(second.status, 507);
			assert.ok((await takes.metric("rushes_ingest_promised_bytes")) > 58 * MIB);
			const { connection } = await takes.begin(await takes.token(), randomUUID());
			assert.equal((await claimed("stream")).count, 1);
			first.request.destroy();
			await waitFor("its room is given back", async () => (await claimed("upload")).count === 0);
			const third = await openPost(60 * MIB);
			await waitFor("the next one has it", async () => (await claimed("upload")).count === 1);
			third.request.destroy();
			connection.send({ type: "abort" });
			await connection.nextOf("discarded");
			await waitFor("nothing is claimed", async () => (await claimed("stream")).bytes + (await claimed("upload")).bytes === 0);
			assert.equal(await takes.metric("rushes_ingest_expected_bytes"), 0);
			faults.heal();
		});

		it("sends streams on before it is full, and lets finish what ends", { timeout: 60_000 }, async () => {
			const bytes = randomBytes(6 * PAYLOAD + 99);
			const [token, going, ending] = [await takes.token(), randomUUID(), randomUUID()];
			const one = await takes.begin(token, going);
			const other = await takes.begin(token, ending);
			for (const { connection } of [one, other]) connection.sendBytes(0, bytes.subarray(0, 3 * PAYLOAD));
			const acked = await ackTo(one.connection, PAYLOAD);
			await ackTo(other.connection, PAYLOAD);
			faults.room(RESERVE);
			const ended = closeCode(one.connection);
			one.connection.sendBytes(3 * PAYLOAD, bytes.subarray(3 * PAYLOAD));
			const error = await errorOf(one.connection);
			assert.deepEqual([error.code, error.retry, await ended], ["full", true, 1013]);
			await closed(one.ready.recording);
			other.connection.send({ type: "send" });
			await other.connection.nextOf("saved");
			other.connection.close();
			await takes.holds(other.ready.recording, bytes, 3 * PAYLOAD);
			assert.equal(await ready(), 503);
			faults.heal();
			assert.equal(await ready(), 200);
			await goOnWith(token, going, bytes, acked);
		});

		for (const [fault, code, isReadOnly] of [["ENOSPC", "full", false], ["EIO", "storage-failed", true]]) {
			it(`keeps what was acknowledged when writing ends with ${fault}`, { timeout: 60_000 }, async () => {
				const bytes = randomBytes(8 * PAYLOAD);
				const [token, take] = [await takes.token(), randomUUID()];
				const { connection, ready: opened } = await takes.begin(token, take);
				connection.sendBytes(0, bytes.subarray(0, 3 * PAYLOAD));
				const acked = await ackTo(connection, PAYLOAD);
				faults.at(isReadOnly ? `sync .sealed 1 ${fault}` : `write .sealed 1 ${fault}`);
				connection.sendBytes(3 * PAYLOAD, bytes.subarray(3 * PAYLOAD));
				const error = await errorOf(connection);
				assert.deepEqual([error.code, error.retry], [code, true]);
				assert.equal((await takes.debug()).room.read_only, isReadOnly);
				if (isReadOnly) {
					assert.equal(await ready(), 503);
					const refused = takes.connect(token);
					await refused.opened;
					refused.send({ type: "start", take: randomUUID() });
					assert.equal((await errorOf(refused)).code, "full");
					await waitFor("the database knows", async () =>
						(await stack.postgres.query("SELECT state FROM rushes.node WHERE service = 'ingest'"))[0].state === "read-only");
				}
				faults.heal();
				if (isReadOnly) {
					await stack.kill("ingest");
					await stack.restart("ingest");
				}
				await closed(opened.recording);
				await goOnWith(token, take, bytes, acked);
				assert.equal(await ready(), 200);
			});
		}
	});

	describe("a file that cannot be written any more", () => {
		before(() => stack.startService("ingest-2"));
		after(async () => {
			await stack.kill("ingest-2");
			faults.heal();
		});

		// a stream whose bytes come together, which flushes its own file, and one that waits for the journal
		for (const [call, piece] of [["write", 20_000], ["sync", 500_000]]) {
			it(`is made anew by its node, and the take goes on at another: ${call}`, { timeout: 90_000 }, async () => {
				const [seed, n, length] = [1, piece, 6 * piece];
				const bytes = bytesOf(seed, n, length);
				const [token, take] = [await takes.token(), randomUUID()];
				const { connection, ready: opened } = await takes.begin(token, take);
				connection.sendBytes(0, bytes.subarray(0, piece));
				let acked = await ackTo(connection, piece);
				const [{ copy }] = await takes.segments(opened.recording);
				faults.at(`${call} ${copy}.sealed 1 EIO`);
				connection.socket.on("message", (data, isBinary) => {
					const message = isBinary ? {} : JSON.parse(data);
					if (message.type === "ack") acked = Math.max(acked, message.offset);
				});
				const failed = errorOf(connection);
				for (let at = piece; at < length; at += piece) {
					connection.sendBytes(at, bytes.subarray(at, at + piece));
					await delay(5);
				}
				assert.deepEqual([(await failed).code, (await failed).retry], ["storage-failed", true]);
				await closed(opened.recording);
				const [segment] = await takes.segments(opened.recording);
				assert.ok(Number(segment.bytes) >= acked, `${acked} were acknowledged, ${segment.bytes} are there`);
				const sent = await sendRecording({ url: stack.ingestUrlOf("ingest-2"), ca: stack.ca, token, id: take, bytes });
				assert.ok(sent.resumed[0] >= acked, `${acked} were acknowledged, it went on at ${sent.resumed[0]}`);
				const { lost, mismatched, problems } = await judgeTakes(stack, { nodes: ["ingest", "ingest-2"], seed, progress: () => {},
					takes: [{ n, way: "stream", length, acked: length, recording: sent.recording }] });
				assert.deepEqual([lost, mismatched, problems], [0, 0, []]);
				assert.ok(stack.log("ingest").some(({ copy: of, message }) => of === copy && /made anew/.test(message)));
				faults.heal();
				await stack.kill("ingest");
				await stack.restart("ingest");
				assert.equal(await ready(), 200);
			});
		}
	});

	describe("its servers", () => {
		/** PostgreSQL silent, NATS and Redis dead, for the time of the outage, while `act` goes on. */
		async function outage(act) {
			stack.pause("postgres");
			await Promise.all([stack.kill("nats"), stack.kill("redis")]);
			try {
				const going = act();
				await delay(OUTAGE_MS);
				return { going };
			} finally {
				stack.resume("postgres");
				await Promise.all([stack.restart("nats"), stack.restart("redis")]);
			}
		}

		it("are away while a take opens, pauses, goes on and is sent", { timeout: 120_000 + 4 * OUTAGE_MS }, async () => {
			const bytes = randomBytes(5 * PAYLOAD + 5000);
			const connection = takes.connect(await takes.token());
			await connection.opened;
			const opening = await outage(async () => {
				connection.send({ type: "start", take: randomUUID(), mime: "video/webm" });
				return connection.nextOf("ready", 60_000);
			});
			const { recording } = await opening.going;
			connection.sendBytes(0, bytes.subarray(0, 3 * PAYLOAD));
			await ackTo(connection, PAYLOAD);
			// all that came is durable and acknowledged though the segment's row cannot be closed; what comes then waits
			const pausing = await outage(async () => {
				connection.sendBytes(3 * PAYLOAD, bytes.subarray(3 * PAYLOAD, 3 * PAYLOAD + 1000));
				connection.send({ type: "pause" });
				await ackTo(connection, 3 * PAYLOAD + 1000);
				connection.sendBytes(3 * PAYLOAD + 1000, bytes.subarray(3 * PAYLOAD + 1000));
			});
			await pausing.going;
			const sending = await outage(async () => {
				connection.send({ type: "stop", bytes: bytes.length });
				connection.send({ type: "send" });
				await connection.nextOf("saved", 60_000);
			});
			await sending.going;
			connection.close();
			await takes.holds(recording, bytes);
			assert.equal((await takes.recording(recording)).recovered, false);
		});

		it("stand still: takes go on, who begins is refused within seconds, who ends is saved afterwards", { timeout: 180_000 }, async () => {
			const bytes = randomBytes(60_000);
			const tokens = await Promise.all([1, 2, 3, 4, 5].map(() => takes.token()));
			const take = randomUUID();
			const running = await takes.begin(tokens[0], take);
			running.connection.sendBytes(0, bytes.subarray(0, 10_000));
			await ackTo(running.connection, 10_000);
			const ending = await takes.begin(tokens[1], randomUUID());
			ending.connection.sendBytes(0, bytes);
			const idle = takes.connect(tokens[2]);
			await Promise.all([ackTo(ending.connection, bytes.length), idle.opened]);
			const servers = ["postgres", "nats", "redis"];
			for (const server of servers) stack.pause(server);
			const linesBefore = stack.log("ingest").length;
			try {
				// asked of a database that has been silent for no time yet
				idle.send({ type: "start", take: randomUUID(), mime: "video/webm" });
				ending.connection.send({ type: "stop", bytes: bytes.length });
				ending.connection.send({ type: "send" });
				const refused = await errorOf(idle, 15_000);
				assert.deepEqual([refused.code, refused.retry], ["unavailable", true]);
				// and now at once
				const began = Date.now();
				const late = takes.connect(tokens[3]);
				await late.opened;
				late.send({ type: "start", take: randomUUID(), mime: "video/webm" });
				assert.equal((await errorOf(late, 15_000)).code, "unavailable");
				assert.equal((await takes.post(bytes, { token: tokens[4] })).status, 503);
				assert.ok(Date.now() - began < 3000, `refused after ${Date.now() - began} ms`);
				// a take that runs needs no database, not to be paused nor to come back
				running.connection.sendBytes(10_000, bytes.subarray(10_000, 20_000));
				running.connection.send({ type: "pause" });
				await ackTo(running.connection, 20_000);
				running.connection.cut();
				// for longer than a segment lingers without a connection
				await delay(2 * LINGER_MS);
				const back = await takes.begin(tokens[0], take);
				assert.equal(back.ready.offset, 20_000);
				back.connection.sendBytes(20_000, bytes.subarray(20_000));
				await ackTo(back.connection, bytes.length);
				running.connection = back.connection;
				assert.deepEqual(stack.log("ingest").slice(linesBefore).filter(({ message }) => /goes on/.test(message)), []);
			} finally {
				for (const server of servers) stack.resume(server);
			}
			await ending.connection.nextOf("saved", 60_000);
			running.connection.send({ type: "stop", bytes: bytes.length });
			running.connection.send({ type: "send" });
			await running.connection.nextOf("saved", 60_000);
			await takes.holds(running.ready.recording, bytes);
			assert.equal((await takes.segments(running.ready.recording)).length, 1);
			await takes.holds(ending.ready.recording, bytes);
			await waitFor("it is ready", async () => (await ready()) === 200);
			const sent = await sendRecording({ url: stack.ingestUrl, ca: stack.ca, token: tokens[2], bytes });
			await takes.holds(sent.recording, bytes);
		});

		it("die in the middle, and the client with them: what was acknowledged is saved as recovered", { timeout: 120_000 }, async () => {
			const bytes = randomBytes(5 * PAYLOAD);
			const { connection, ready: opened } = await takes.begin(await takes.token(), randomUUID());
			connection.sendBytes(0, bytes.subarray(0, 3 * PAYLOAD));
			const acked = await ackTo(connection, 2 * PAYLOAD);
			await Promise.all(["postgres", "nats", "redis"].map((server) => stack.kill(server)));
			connection.cut();
			await delay(OUTAGE_MS);
			await Promise.all(["postgres", "nats", "redis"].map((server) => stack.restart(server)));
			await closed(opened.recording);
			await stack.postgres.psql(`UPDATE rushes.recording SET last_byte_at = now() - interval '91 minutes' WHERE id = '${opened.recording}'`);
			const row = await waitFor("it is saved", async () => {
				const found = await takes.recording(opened.recording);
				return found.state === "saved" && found;
			});
			assert.deepEqual([row.recovered, row.stop], [true, "lost"]);
			assert.ok(Number(row.bytes) >= acked);
			await takes.holds(row.id, bytes, Number(row.bytes));
			const line = stack.log("ingest").find(({ recording, message }) => recording === row.id && /saved as recovered/.test(message));
			assert.ok(line);
			assert.ok((await takes.metric("rushes_ingest_recordings_total", 'end="lost"')) >= 1);
		});

		it("are away when a killed ingest starts again", { timeout: 120_000 }, async () => {
			const bytes = randomBytes(4 * PAYLOAD);
			const [token, take] = [await takes.token(), randomUUID()];
			const { connection } = await takes.begin(token, take);
			connection.sendBytes(0, bytes.subarray(0, 3 * PAYLOAD));
			const acked = await ackTo(connection, 2 * PAYLOAD);
			stack.pause("postgres");
			await stack.kill("ingest");
			try {
				await stack.launchService("ingest");
				await delay(OUTAGE_MS);
				assert.notEqual(await ready(), 200);
			} finally {
				stack.resume("postgres");
			}
			await stack.serviceReady("ingest");
			await goOnWith(token, take, bytes, acked);
		});
	});

	describe("files that no row names", () => {
		const restart = async () => {
			await stack.kill("ingest");
			await stack.restart("ingest");
		};

		it("that the ledger calls gone are removed at once", { timeout: 60_000 }, async () => {
			const { connection, ready: opened } = await takes.begin(await takes.token(), randomUUID());
			connection.sendBytes(0, randomBytes(3 * PAYLOAD));
			await ackTo(connection, PAYLOAD);
			const [segment] = await takes.segments(opened.recording);
			const file = takes.path(segment);
			const kept = fs.readFileSync(file);
			connection.send({ type: "abort" });
			await connection.nextOf("discarded");
			await waitFor("it is gone", () => !fs.existsSync(file));
			const entries = () => stack.postgres.query(`SELECT kind, rule FROM rushes.ledger WHERE recording = '${opened.recording}' ORDER BY id`);
			await waitFor("the ledger has it", async () => (await entries()).some(({ kind }) => kind === "gone"));
			assert.ok((await entries()).some(({ kind, rule }) => kind === "decided" && rule === "discarded"));
			assert.ok((await takes.metric("rushes_ingest_recordings_total", 'end="discarded"')) >= 1);
			fs.writeFileSync(file, kept);
			await restart();
			assert.ok(!fs.existsSync(file));
			assert.ok(stack.log("ingest").some(({ copy, message }) => copy === segment.copy && /ledger calls gone/.test(message)));
		});

		it("and that never had one wait for six hours of a database that answers", { timeout: 120_000 }, async () => {
			const stray = path.join(stack.spoolPath("ingest"), "copies", "00", "whose.bin");
			stack.pause("postgres");
			await stack.kill("ingest");
			fs.writeFileSync(stray, "whose is this?");
			const seen = () => stack.postgres.query("SELECT name FROM rushes.unknown_file");
			try {
				await stack.launchService("ingest");
				await delay(OUTAGE_MS);
			} finally {
				stack.resume("postgres");
			}
			await stack.serviceReady("ingest");
			assert.deepEqual((await seen()).map(({ name }) => name), ["copies/00/whose.bin"]);
			await advanceTime(stack, "5 hours 59 minutes");
			await restart();
			assert.ok(fs.existsSync(stray));
			await advanceTime(stack, "6 hours 1 minute");
			await restart();
			assert.ok(!fs.existsSync(stray));
			assert.deepEqual(await seen(), []);
			const [entry] = await stack.postgres.query("SELECT kind, place, evidence->>'name' AS name FROM rushes.ledger WHERE rule = 'unknown'");
			assert.deepEqual([entry.kind, entry.name], ["gone", "copies/00/whose.bin"]);
			assert.ok((await takes.metric("rushes_spool_alarms_total", 'kind="unknown-removed"')) >= 1);
			assert.ok(stack.log("ingest").some(({ message }) => /rule unknown/.test(message)));
			await advanceTime(stack, "0 s");
		});
	});

	describe("rows that a restored database does not know", () => {
		const TABLES = ["recording", "recording_personal", "recording_key", "segment", "copy", "job", "event"];
		const withoutChecks = (sql) => stack.postgres.psql(`BEGIN; SET LOCAL session_replication_role = replica; ${sql} COMMIT`);
		const column = (table) => (table === "recording" ? "id" : "recording");
		const lose = (id) => withoutChecks(TABLES.map((table) => `CREATE TABLE IF NOT EXISTS public.lost_${table} (LIKE rushes.${table});
			INSERT INTO public.lost_${table} OVERRIDING SYSTEM VALUE SELECT * FROM rushes.${table} WHERE ${column(table)} = '${id}';
			DELETE FROM rushes.${table} WHERE ${column(table)} = '${id}';`).join("\n"));
		const bringBack = (id) => withoutChecks(TABLES.map((table) => `INSERT INTO rushes.${table} OVERRIDING SYSTEM VALUE
			SELECT * FROM public.lost_${table} WHERE ${column(table)} = '${id}';`).join("\n"));

		/** A take whose last bytes are in the journal alone when ingest is killed. */
		async function begun() {
			const bytes = randomBytes(PAYLOAD + 30_000);
			const { connection, ready: opened } = await takes.begin(await takes.token(), randomUUID());
			for (let at = 0; at < bytes.length; at += 8000) {
				connection.sendBytes(at, bytes.subarray(at, at + 8000));
				await delay(5);
			}
			const acked = await ackTo(connection, bytes.length);
			const [segment] = await takes.segments(opened.recording);
			return { recording: opened.recording, bytes, acked, copy: segment.copy, file: takes.path(segment), tail: takes.path(segment).replace(/sealed$/, "tail") };
		}

		const emptyJournal = () => {
			const folder = path.join(stack.spoolPath("ingest"), "journal");
			for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name));
		};

		it("leave the whole of what was acknowledged in the spool, until they are known again or let go", { timeout: 120_000 }, async () => {
			const [known, unwanted] = [await begun(), await begun()];
			await stack.kill("ingest");
			await lose(known.recording);
			await lose(unwanted.recording);
			await stack.startService("ingest");
			for (const { file, tail, copy } of [known, unwanted]) {
				assert.ok(fs.existsSync(file) && fs.existsSync(tail));
				assert.ok(stack.log("ingest").some(({ copy: of, message }) => of === copy && /ALARM: the journal has .* kept/.test(message)));
			}
			// later starts neither remove nor replace them, whatever became of the journal
			await stack.kill("ingest");
			emptyJournal();
			await advanceTime(stack, "7 hours");
			const kept = fs.readFileSync(known.tail);
			await stack.startService("ingest");
			assert.ok(fs.readFileSync(known.tail).equals(kept));
			assert.ok(fs.existsSync(unwanted.tail));
			const { node } = JSON.parse(fs.readFileSync(path.join(stack.spoolPath("ingest"), "superblock.json"), "utf8"));
			await stack.ctl(["node", "discard", node, unwanted.copy, "--reason", "a drill", "--yes"], { json: false });
			await stack.kill("ingest");
			await advanceTime(stack, "0 s");
			await bringBack(known.recording);
			await stack.startService("ingest");
			assert.ok(!fs.existsSync(unwanted.file) && !fs.existsSync(unwanted.tail));
			await closed(known.recording);
			await takes.holds(known.recording, known.bytes, known.acked);
			assert.ok(!fs.existsSync(known.tail));
		});
	});

	it("stores nothing of what may not record", { timeout: 60_000 }, async () => {
		const token = await takes.token();
		await stack.postgres.psql(`UPDATE rushes.account SET plan = 'paid', paid_until = now() - interval '1 day' WHERE id = '${account.account}'`);
		const before = await takes.metrics();
		const connection = takes.connect(token);
		await connection.opened;
		const take = randomUUID();
		connection.send({ type: "start", take });
		const error = await errorOf(connection);
		assert.deepEqual([error.code, error.retry], ["subscription-expired", false]);
		assert.ok(!before.includes('code="subscription-expired"'));
		assert.equal(await takes.metric("rushes_ingest_refusals_total", 'code="subscription-expired"'), 1);
		assert.ok(stack.log("ingest").some(({ message }) => /subscription-expired/.test(message)));
		const [{ n }] = await stack.postgres.query(`SELECT count(*) AS n FROM rushes.recording WHERE session = '${claimsOf(token).session}'`);
		assert.equal(Number(n), 0);
	});
});
