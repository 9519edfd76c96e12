// PostgreSQL, NATS and Redis stand still for minutes (SIGSTOP of all their processes: they take connections and answer nothing)
// while takes run, end and begin; then every acknowledged byte and every SHA-256 is compared with what was sent (judge.mjs).
//
//	make outage-ingest        OUTAGE_S=120 TAKES=24 SEED=1 KEEP=1
//
// Meanwhile running takes must be acknowledged as ever, also after their lines were cut; who begins must be refused within seconds
// with a word that says to try again; who ends must be saved when the servers are back. Ends with
// `outage ingest seconds=N takes=N refusals=N slowest_refusal_ms=N slowest_ack_ms=N slowest_return_ms=N lost_bytes=N mismatched=N`.
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { makeAccount, makeLink, openSession, request } from "../../scripts/lib/journey.mjs";
import { ConnectionLost, StreamConnection, StreamError } from "../../scripts/lib/stream-client.mjs";
import { testStack } from "../lib/harness.mjs";
import { sha256 } from "../lib/takes.mjs";
import { judgeTakes } from "./judge.mjs";
import { bytesOf, generator } from "./random.mjs";

const OUTAGE_MS = Number(process.env.OUTAGE_S ?? 120) * 1000;
const TAKES = Number(process.env.TAKES ?? 24);
const SEED = Number(process.env.SEED ?? Date.now() % 100_000);
const SESSIONS = 8;
const SERVERS = ["postgres", "nats", "redis"];
const PIECE = 3000;
const PACE_MS = 100;
// before the outage a take runs so long, and so long behind it
const AROUND_MS = 5000;
// what the outage may make slower: an acknowledgement, a refusal, the end of all waits when the servers are back
const ACK_LIMIT_MS = 2000;
const REFUSAL_LIMIT_MS = 8000;
const RETURN_LIMIT_MS = 60_000;
const RUN_LIMIT_MS = 3 * OUTAGE_MS + 300_000;

const stack = testStack("outage-ingest", { logLevel: "info" });
const problems = [];
const slowest = { refusal: 0, ack: 0, return: 0 };
let refusals = 0;
let isAway = false;
let backAt = 0;

/** What a take does: `runs` through the outage, `ends` in it, `begins` in it by one of three ways. */
const KINDS = ["runs", "runs-and-returns", "ends", "begins", "begins-tus", "begins-post"];

function plan(n) {
	const pieces = Math.ceil((OUTAGE_MS + 2 * AROUND_MS) / PACE_MS);
	const kind = KINDS[n % KINDS.length];
	const length = kind.startsWith("runs") ? pieces * PIECE : 200_000 + n;
	return { n, way: kind, kind, length, acked: 0, bytes: bytesOf(SEED, n, length), id: randomUUID(), chance: generator(SEED * 1009 + n), sentAt: [] };
}

function absorb(take, message) {
	if (message.type === "saved") take.isSaved = true;
	if (message.type !== "ack") return;
	take.acked = Math.max(take.acked, message.offset);
	while (take.sentAt.length > 0 && take.sentAt[0].end <= take.acked) {
		const { at } = take.sentAt.shift();
		if (isAway) slowest.ack = Math.max(slowest.ack, Date.now() - at);
	}
}

function drain(take, connection) {
	while (connection.messages.length > 0) {
		const message = connection.messages.shift();
		if (message.type === "error") throw new StreamError(message);
		absorb(take, message);
	}
	if (connection.ended) throw connection.ended;
}

/** Opens a connection whose take begins or goes on. Resolves to it; `ready` tells where. */
async function open(take) {
	const connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca, authorization: take.token });
	try {
		await connection.opened;
		connection.send({ type: "start", take: take.id, mime: "video/webm", source: "camera", acked: take.acked });
		const ready = await connection.nextOf("ready", OUTAGE_MS);
		take.recording = ready.recording;
		return { connection, offset: ready.offset };
	} catch (error) {
		connection.cut();
		throw error;
	}
}

function finish(take, connection) {
	connection.send({ type: "stop", bytes: take.length, sha256: sha256(take.bytes) });
	connection.send({ type: "send" });
	take.sentAll = Date.now();
}

async function waitSaved(take, connection) {
	while (!take.isSaved) absorb(take, await connection.next(OUTAGE_MS + RETURN_LIMIT_MS));
	if (backAt) slowest.return = Math.max(slowest.return, Date.now() - Math.max(backAt, take.sentAll));
	take.acked = take.length;
	connection.close();
}

/** Sends a take at its pace from `offset` to its end; `isCut(offset)`: the line is cut there and made anew. */
async function sendAll(take, { connection, offset }, isCut = () => false) {
	while (offset < take.length) {
		drain(take, connection);
		if (isCut(offset)) {
			connection.cut();
			await delay(take.chance() * 500);
			const began = Date.now();
			({ connection, offset } = await open(take));
			take.sentAt = [];
			if (offset < take.acked) problems.push(`take ${take.n}: goes on at ${offset}, ${take.acked} were acknowledged`);
			if (isAway) slowest.ack = Math.max(slowest.ack, Date.now() - began);
		}
		const part = take.bytes.subarray(offset, offset + PIECE);
		connection.sendBytes(offset, part);
		offset += part.length;
		take.sentAt.push({ at: Date.now(), end: offset });
		await delay(PACE_MS);
	}
	return connection;
}

async function run(take) {
	const cuts = take.kind === "runs" ? [] : [0.3, 0.5, 0.7].map((share) => share * take.length);
	const isCut = (offset) => cuts.length > 0 && offset >= cuts[0] && cuts.shift() !== undefined;
	const connection = await sendAll(take, await open(take), isCut);
	finish(take, connection);
	await waitSaved(take, connection);
}

/** All but the last pieces are there when the servers go away; the rest and the end come while they are. */
async function end(take, awayAt) {
	const { connection, offset } = await open(take);
	connection.sendBytes(offset, take.bytes.subarray(offset, 150_000));
	await awayAt;
	await delay(take.chance() * OUTAGE_MS * 0.8);
	connection.sendBytes(150_000, take.bytes.subarray(150_000));
	take.sentAt.push({ at: Date.now(), end: take.length });
	finish(take, connection);
	await waitSaved(take, connection);
}

const BEGINNINGS = {
	begins: async (take) => {
		const connection = await sendAll(take, await open(take));
		finish(take, connection);
		await waitSaved(take, connection);
		return 201;
	},
	"begins-post": async (take) => {
		const headers = { authorization: `Bearer ${take.token}`, "content-type": "video/mp4", "rushes-take": take.id };
		const answer = await request(stack, { url: `https://localhost:${stack.ports.ingest}/v1/recordings`, method: "POST", headers, body: take.bytes });
		take.recording = answer.json?.recording;
		return answer.status;
	},
	"begins-tus": async (take) => {
		const headers = { authorization: `Bearer ${take.token}`, "tus-resumable": "1.0.0", "upload-length": take.length, "content-type": "application/offset+octet-stream" };
		const answer = await request(stack, { url: `https://localhost:${stack.ports.ingest}/v1/tus`, method: "POST", headers, body: take.bytes });
		take.recording = answer.headers.location?.split("/").pop();
		return answer.status;
	},
};

/** Tries again and again, as a client does that is told to; each refusal is timed. */
async function begin(take, awayAt) {
	await awayAt;
	await delay(take.chance() * OUTAGE_MS * 0.5);
	for (;;) {
		const began = Date.now();
		const wasAway = isAway;
		let status;
		try {
			status = await BEGINNINGS[take.kind](take);
		} catch (error) {
			if (!(error instanceof StreamError && error.retry)) throw error;
			status = 503;
		}
		if (status === 201) break;
		if (status !== 503) throw new Error(`refused with ${status}`);
		refusals++;
		if (wasAway && isAway) slowest.refusal = Math.max(slowest.refusal, Date.now() - began);
		if (!isAway && Date.now() - backAt > RETURN_LIMIT_MS) throw new Error("still refused though the servers are back");
		await delay(500);
	}
	take.acked = take.length;
}

async function outage() {
	console.log(`the servers stand still for ${OUTAGE_MS / 1000} s`);
	isAway = true;
	for (const server of SERVERS) stack.pause(server);
	for (const until = Date.now() + OUTAGE_MS; Date.now() < until; ) {
		await delay(Math.min(10_000, until - Date.now()));
		console.log(`${refusals} refusals, slowest ${JSON.stringify(slowest)}, ${problems.length} problems, ${Math.round(process.uptime())} s`);
	}
	backAt = Date.now();
	isAway = false;
	for (const server of SERVERS) stack.resume(server);
	console.log("the servers are back");
}

console.log(`outage ingest seed=${SEED}`);
let counts = { lost: "unknown", mismatched: "unknown" };
setTimeout(() => {
	for (const problem of problems) console.error(problem);
	console.error(`outage ingest: not at its end after ${RUN_LIMIT_MS / 1000} s; given up`);
	process.exit(1);
}, RUN_LIMIT_MS).unref();
const takes = Array.from({ length: TAKES }, (_, n) => plan(n));
try {
	await stack.prepare();
	await stack.startServices(["linkgen", "ingest"]);
	const account = await makeAccount(stack);
	const tokens = [];
	for (let n = 0; n < SESSIONS; n++) tokens.push((await openSession(stack, await makeLink(stack, account))).token);
	for (const take of takes) take.token = tokens[take.n % SESSIONS];
	let goAway;
	const awayAt = new Promise((resolve) => (goAway = resolve));
	const going = takes.map(async (take) => {
		try {
			if (take.kind.startsWith("runs")) await run(take);
			else await (take.kind === "ends" ? end : begin)(take, awayAt);
		} catch (error) {
			const what = error instanceof ConnectionLost ? "its connection was lost: " : "";
			problems.push(`take ${take.n} (${take.kind}, ${take.recording ?? "never opened"}): ${what}${error.message}`);
		}
	});
	await delay(AROUND_MS);
	const away = outage();
	goAway();
	await Promise.all([away, ...going]);
	counts = await judgeTakes(stack, { nodes: ["ingest"], takes, seed: SEED });
	problems.push(...counts.problems);
	if (slowest.ack > ACK_LIMIT_MS) problems.push(`an acknowledgement took ${slowest.ack} ms`);
	if (slowest.refusal > REFUSAL_LIMIT_MS) problems.push(`a refusal took ${slowest.refusal} ms`);
	if (slowest.return > RETURN_LIMIT_MS) problems.push(`the last take was saved ${slowest.return} ms after the return`);
	if (refusals === 0) problems.push("nobody was refused");
} catch (error) {
	problems.push(`the run broke off: ${error.stack}`);
} finally {
	for (const server of SERVERS) if (stack[server]?.record) stack.resume(server);
	for (const problem of problems) console.error(problem);
	if (process.env.KEEP && problems.length > 0) console.error(`the instance is left in ${stack.dir}`);
	else await stack.remove();
}
console.log(
	`outage ingest seconds=${OUTAGE_MS / 1000} takes=${TAKES} refusals=${refusals} slowest_refusal_ms=${slowest.refusal} ` +
		`slowest_ack_ms=${slowest.ack} slowest_return_ms=${slowest.return} lost_bytes=${counts.lost} mismatched=${counts.mismatched}`,
);
process.exitCode = problems.length > 0 || counts.lost !== 0 || counts.mismatched !== 0 ? 1 : 0;
if (process.env.KEEP && problems.length > 0) process.kill(process.pid, "SIGKILL");
