// Many recordings at once come to two ingest nodes that are killed (SIGKILL) at random moments; then every acknowledged byte and
// every SHA-256 is compared with what was sent, by opening the sealed segments with a reader that is not the product's.
//
//	make chaos-ingest        RECORDINGS=1000 KILLS=100 SEED=1 PARALLEL=24 NODES=2 KEEP=1
//
// Takes come by WebSocket, tus and POST, in all sizes and speeds; clients pause, cut their lines, come back at the other node or
// with a second connection while the first one lives, and some never come back. Ends with
// `chaos ingest recordings=N kills=N lost_bytes=N mismatched=N`; the same seed gives the same takes and, as far as the machine's
// timing allows, the same run.
import { randomUUID } from "node:crypto";
import https from "node:https";
import { setTimeout as delay } from "node:timers/promises";
import { makeAccount, makeLink, openSession } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { ConnectionLost, StreamConnection, StreamError } from "../../scripts/lib/stream-client.mjs";
import { crc32 } from "../../scripts/lib/crc32.mjs";
import { testStack } from "../lib/harness.mjs";
import { sha256 } from "../lib/takes.mjs";
import { judgeTakes } from "./judge.mjs";
import { bytesOf, generator } from "./random.mjs";

const RECORDINGS = Number(process.env.RECORDINGS ?? 1000);
const KILLS = Number(process.env.KILLS ?? 100);
const SEED = Number(process.env.SEED ?? Date.now() % 100_000);
const PARALLEL = Number(process.env.PARALLEL ?? 24);
const NODES = Array.from({ length: Number(process.env.NODES ?? 2) }, (_, n) => (n === 0 ? "ingest" : `ingest-${n + 1}`));
const SESSIONS = 20;
// takes that may be ahead of the kills, so that all kills fall among takes that run
const AHEAD = 3;
// how long one take may try; a node that is killed all the time needs its turns
const TAKE_LIMIT_MS = 600_000;
const START_LIMIT_MS = 180_000;
const SETTLE_LIMIT_MS = 120_000;
// of the whole run, whatever hangs
const RUN_LIMIT_MS = 600_000 + RECORDINGS * 1500 + KILLS * 10_000;
const WINDOW_BYTES = 1024 * 1024;
// at most, about, that a take spends between its pieces; and what happens to one line, on average
const SLOWEST_MS = 15_000;
const MISCHIEFS = 4;
const KIB = 1024;

const random = generator(SEED);
const stack = testStack("chaos-ingest", { logLevel: "info", instances: NODES.slice(1) });
const stats = { connections: 0, cuts: 0, doubles: 0, pauses: 0, repeated: 0, abandoned: 0, bytes: 0, ways: {} };
let kills = 0;
let done = 0;
const problems = [];

/** A take's plan, from its own chance: so it is the same whatever the others do. */
function plan(n) {
	const chance = generator(SEED * 100_003 + n);
	const kind = chance();
	const size = kind < 0.7 ? 1 + chance() * 400 * KIB : kind < 0.95 ? 400 * KIB + chance() * 3000 * KIB : 4000 * KIB + chance() * 16000 * KIB;
	const piece = Math.floor(512 + chance() ** 3 * 256 * KIB);
	const pieces = Math.ceil(size / piece);
	const way = chance() < 0.72 ? "stream" : chance() < 0.6 ? "tus" : "post";
	return {
		n,
		chance,
		way,
		bytes: bytesOf(SEED, n, Math.floor(size)),
		piece,
		// a small take in few pieces, or a large one in many, takes seconds, not minutes
		pauseMs: Math.min(chance() ** 2 * 60, (2 * SLOWEST_MS) / pieces),
		mischief: Math.min(0.06, MISCHIEFS / pieces),
		isAbandoned: way === "stream" && chance() < 0.06,
		acked: 0,
		lines: [],
	};
}

const pick = (take, list) => list[Math.floor(take.chance() * list.length)];

function noteAck(take, offset) {
	take.acked = Math.max(take.acked, offset);
}

// ---- by WebSocket

function absorb(take, message) {
	if (message.type === "ack") noteAck(take, message.offset);
	if (message.type === "saved") take.isSaved = true;
}

function drain(take, connection) {
	while (connection.messages.length > 0) {
		const message = connection.messages.shift();
		if (message.type === "error") throw new StreamError(message);
		absorb(take, message);
	}
	if (connection.ended) throw connection.ended;
}

/** Something that lines and people do. True: this connection is over. */
async function mischief(take, connection, offset) {
	const luck = take.chance() / take.mischief;
	if (luck < 0.4) {
		stats.cuts++;
		connection.cut();
		return true;
	}
	if (luck < 0.6) {
		// the next connection comes while this one lives, and this one goes on sending for a while
		stats.doubles++;
		connection.socket.on("error", () => {});
		const rest = take.bytes.subarray(offset, offset + take.piece);
		setTimeout(() => {
			if (connection.socket.readyState === 1 && rest.length > 0) connection.sendBytes(offset, rest);
		}, take.chance() * 100);
		return true;
	}
	if (luck < 1) {
		stats.pauses++;
		connection.send({ type: "pause" });
		await delay(take.chance() * 300);
	}
	return false;
}

async function streamOnce(take, connection) {
	await connection.opened;
	connection.send({ type: "start", take: take.id, mime: "video/webm", source: "camera", acked: take.acked });
	const ready = await connection.nextOf("ready", 60_000);
	take.recording = ready.recording;
	if (ready.offset < take.acked) stats.repeated += take.acked - ready.offset;
	let offset = ready.offset;
	while (offset < take.bytes.length) {
		if (await mischief(take, connection, offset)) return;
		drain(take, connection);
		while (offset - take.acked > WINDOW_BYTES) absorb(take, await connection.next(60_000));
		const payload = take.bytes.subarray(offset, offset + take.piece);
		connection.sendBytes(offset, payload);
		offset += payload.length;
		if (take.isAbandoned && offset > take.bytes.length / 2 && take.acked > 0) {
			take.isLeft = true;
			connection.cut();
			return;
		}
		if (take.pauseMs > 1) await delay(take.chance() * take.pauseMs);
	}
	const total = { bytes: take.bytes.length, crc32: crc32(take.bytes).toString(16).padStart(8, "0"), sha256: sha256(take.bytes) };
	connection.send({ type: "stop", ...total });
	connection.send({ type: "send" });
	while (!take.isSaved) absorb(take, await connection.next(60_000));
	noteAck(take, take.bytes.length);
	connection.close();
}

async function stream(take) {
	const connection = new StreamConnection({ url: stack.ingestUrlOf(pick(take, NODES)), ca: stack.ca, authorization: take.token });
	take.lines.push(connection);
	stats.connections++;
	try {
		await streamOnce(take, connection);
	} catch (error) {
		connection.cut();
		throw error;
	}
	return take.isSaved || take.isLeft;
}

// ---- by HTTP

/** One request whose body is sent piece by piece. Resolves to {status, headers, json}. */
function send(take, method, route, headers, body = Buffer.alloc(0)) {
	stats.connections++;
	return new Promise((resolve, reject) => {
		const port = stack.ports[pick(take, NODES)];
		const outgoing = https.request({ host: "localhost", port, path: route, method, ca: stack.ca, agent: false, timeout: 60_000,
			headers: { authorization: `Bearer ${take.token}`, "content-length": body.length, ...headers } });
		outgoing.on("timeout", () => outgoing.destroy(new ConnectionLost("no answer")));
		outgoing.on("error", (error) => reject(new ConnectionLost(error.message)));
		outgoing.on("response", (answer) => {
			let text = "";
			answer.on("data", (data) => (text += data));
			answer.on("error", (error) => reject(new ConnectionLost(error.message)));
			answer.on("end", () => {
				const json = text.startsWith("{") ? JSON.parse(text) : null;
				if (answer.statusCode < 400) resolve({ status: answer.statusCode, headers: answer.headers, json });
				else reject(new StreamError({ code: json?.code ?? answer.statusCode, message: text, retry: answer.statusCode >= 500 || answer.statusCode === 423 || answer.statusCode === 409 }));
			});
		});
		(async () => {
			for (let at = 0; at < body.length && !outgoing.destroyed; at += take.piece) {
				if (!outgoing.write(body.subarray(at, at + take.piece))) {
					await new Promise((resume) => {
						const goOn = () => {
							outgoing.off("drain", goOn).off("close", goOn);
							resume();
						};
						outgoing.on("drain", goOn).on("close", goOn);
					});
				}
				if (take.pauseMs > 1) await delay(take.chance() * take.pauseMs);
			}
			outgoing.end();
		})();
	});
}

async function post(take) {
	const headers = { "content-type": "video/mp4", "rushes-take": take.id };
	const digest = Buffer.from(sha256(take.bytes), "hex").toString("base64");
	const answer = await send(take, "POST", "/v1/recordings", { ...headers, "repr-digest": `sha-256=:${digest}:` }, take.bytes);
	take.recording = answer.json.recording;
	noteAck(take, take.bytes.length);
	return true;
}

async function tus(take) {
	const common = { "tus-resumable": "1.0.0" };
	if (!take.upload) {
		const made = await send(take, "POST", "/v1/tus", { ...common, "upload-length": take.bytes.length });
		take.upload = made.headers.location;
		take.recording = take.upload.split("/").pop();
	}
	const head = await send(take, "HEAD", take.upload, common);
	let offset = Number(head.headers["upload-offset"]);
	if (offset < take.acked) stats.repeated += take.acked - offset;
	noteAck(take, offset);
	while (offset < take.bytes.length) {
		const part = take.bytes.subarray(offset, offset + 50_000 + Math.floor(take.chance() * 2_000_000));
		const headers = { ...common, "upload-offset": offset, "content-type": "application/offset+octet-stream" };
		offset = Number((await send(take, "PATCH", take.upload, headers, part)).headers["upload-offset"]);
		noteAck(take, offset);
	}
	return true;
}

const WAYS = { stream, tus, post };

// ---- the run

async function record(take) {
	const end = Date.now() + TAKE_LIMIT_MS;
	stats.ways[take.way] = (stats.ways[take.way] ?? 0) + 1;
	for (let isDone = false; !isDone; ) {
		try {
			isDone = await WAYS[take.way](take);
		} catch (error) {
			const again = error instanceof ConnectionLost || (error instanceof StreamError && error.retry) || /no message/.test(error.message);
			if (!again || Date.now() > end) throw error;
			await delay(50 + take.chance() * 300);
		}
	}
	for (const line of take.lines) line.cut();
	stats.bytes += take.bytes.length;
	if (take.isLeft) stats.abandoned++;
}

async function sender(queue, tokens, takes) {
	for (let n; (n = queue.shift()) !== undefined; ) {
		await waitFor("the kills keep up", () => kills >= KILLS || kills >= Math.floor((n * KILLS) / RECORDINGS) - AHEAD, { limitMs: 600_000 });
		const take = Object.assign(plan(n), { id: randomUUID(), token: tokens[n % tokens.length] });
		takes[n] = take;
		try {
			await record(take);
		} catch (error) {
			problems.push(`take ${n} (${take.way}, ${take.recording ?? "never opened"}): ${error.message.slice(0, 200)}`);
		}
		take.length = take.bytes.length;
		take.bytes = null;
		if (++done % 50 === 0) console.log(`${done} takes, ${kills} kills, ${problems.length} problems, ${Math.round(process.uptime())} s`);
	}
}

async function killer() {
	for (; kills < KILLS; ) {
		const target = ((kills + random()) * RECORDINGS * 0.97) / KILLS;
		await waitFor("the takes keep up", () => done >= Math.min(target, RECORDINGS - 1) - PARALLEL, { limitMs: 600_000 });
		await delay(random() * 1200);
		const victim = NODES[Math.floor(random() * NODES.length)];
		await stack.kill(victim);
		kills++;
		await delay(random() * 800);
		await stack.launchService(victim);
		await stack.serviceReady(victim, START_LIMIT_MS);
	}
}

// ---- the truth

/** Closes what was left behind: a segment whose client went lingers a while, and closing it counts as a byte. */
async function settle() {
	const noneOf = async (what, from) => {
		const wait = async () => {
			const [open] = await stack.postgres.query(`SELECT count(*) AS n FROM ${from}`);
			return Number(open.n) === 0;
		};
		await waitFor(what, wait, { limitMs: SETTLE_LIMIT_MS, pollMs: 500 }).catch((error) => problems.push(error.message));
	};
	await noneOf("no segment is open", "rushes.segment WHERE state = 'open'");
	// who never came back is saved as recovered when the reconnect window closes; setting the clock instead would make the nodes
	// silent for so long, and their return opens the windows anew
	await stack.postgres.psql("UPDATE rushes.recording SET last_byte_at = last_byte_at - interval '2 hours' WHERE state = 'open'");
	await noneOf("broken-off takes are saved", "rushes.recording WHERE state = 'open' AND NOT is_tus");
}

console.log(`chaos ingest seed=${SEED}`);
let counts = { lost: "unknown", mismatched: "unknown" };
setTimeout(() => {
	for (const problem of problems.slice(0, 40)) console.error(problem);
	console.error(`chaos ingest: not at its end after ${RUN_LIMIT_MS / 1000} s: ${done} takes, ${kills} kills; given up`);
	process.exit(1);
}, RUN_LIMIT_MS).unref();
try {
	await stack.prepare();
	await stack.startServices(["linkgen", ...NODES]);
	const account = await makeAccount(stack);
	const tokens = [];
	for (let n = 0; n < SESSIONS; n++) tokens.push((await openSession(stack, await makeLink(stack, account))).token);
	const queue = Array.from({ length: RECORDINGS }, (_, n) => n);
	const takes = [];
	await Promise.all([killer(), ...Array.from({ length: PARALLEL }, () => sender(queue, tokens, takes))]);
	console.log(`all ${done} takes ended, ${kills} kills, ${problems.length} problems, ${Math.round(process.uptime())} s`);
	await settle();
	counts = await judgeTakes(stack, { nodes: NODES, takes, seed: SEED });
	problems.push(...counts.problems);
} catch (error) {
	problems.push(`the run broke off: ${error.stack}`);
} finally {
	for (const problem of problems.slice(0, 40)) console.error(problem);
	if (process.env.KEEP && problems.length > 0) console.error(`the instance is left in ${stack.dir}`);
	else await stack.remove();
}
console.log(JSON.stringify({ ...stats, seconds: Math.round(process.uptime()) }));
console.log(`chaos ingest seed=${SEED}`);
console.log(`chaos ingest recordings=${done} kills=${kills} lost_bytes=${counts.lost} mismatched=${counts.mismatched}`);
process.exitCode = problems.length > 0 || counts.lost !== 0 || counts.mismatched !== 0 ? 1 : 0;
if (process.env.KEEP && problems.length > 0) process.kill(process.pid, "SIGKILL");
