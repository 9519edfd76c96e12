// The steps of a recording as the services take them, each one call of a function of the schema, in a real PostgreSQL whose
// clock the test sets: for tests of the schema and of the rules of retention.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Stack } from "../../scripts/lib/stack.mjs";

export const INGEST = "11111111-0000-4000-8000-000000000001";
export const TRANSCODER = "22222222-0000-4000-8000-000000000002";
export const WORKER = `transcoder/${TRANSCODER}#1`;
export const PUSHER = "storage-pusher/a#1";
export const HASH = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
export const START = "2026-03-01T10:00:00Z";

const dir = fs.mkdtempSync(path.join(os.tmpdir(), "rushes-schema-"));
// the logs of what failed stay
process.on("exit", (status) => status === 0 && fs.rmSync(dir, { recursive: true, force: true }));
export const stack = new Stack({ dir, durable: false });
/** The account and our target that startDatabase makes. */
export const world = {};
let counter = 0;

/** A number that no earlier call gave. */
export const next = () => ++counter;
export const uuid = () => `99999999-0000-4000-8000-${String(++counter).padStart(12, "0")}`;

export function literal(value) {
	if (value === null || value === undefined) return "null";
	if (typeof value === "number" || typeof value === "boolean") return String(value);
	if (Array.isArray(value) && typeof value[0] === "object") return `'${JSON.stringify(value)}'::jsonb`;
	if (Array.isArray(value)) return `array[${value.map(literal).join(",")}]`;
	if (typeof value === "object") return `'${JSON.stringify(value).replaceAll("'", "''")}'::jsonb`;
	return `'${value.replaceAll("'", "''")}'`;
}

/** Rows of rushes.name(args...). */
export const call = (name, ...args) => stack.postgres.query(`select * from rushes.${name}(${args.map(literal).join(", ")})`);
export const one = async (name, ...args) => (await call(name, ...args))[0];
export const value = async (sql) => (await stack.postgres.psql(sql)).trim();

/** The class of the refusal of a call that must be refused. */
export async function refusal(name, ...args) {
	const sql = `do $t$ begin perform rushes.${name}(${args.map(literal).join(", ")}); raise exception 'accepted';
		exception when others then raise exception '%', sqlstate; end $t$`;
	try {
		await stack.postgres.psql(sql);
	} catch (error) {
		return /ERROR: +(\w+)/.exec(error.stderr)[1];
	}
	return "accepted";
}

export const setClock = (at) => stack.postgres.psql(`update test_clock set at = '${at}'`);
export const advance = (interval) => stack.postgres.psql(`update test_clock set at = at + interval '${interval}';
	update rushes.node set beat_at = (select at from test_clock)`);

export async function environment(settings = {}, account = world.account) {
	const name = `env-${++counter}`;
	return { account, name, id: await value(`select rushes.environment_set('test', '${account}', '${name}', ${literal(settings)})`) };
}

export async function session(env) {
	const code = `\\x${String(++counter).padStart(8, "0")}`;
	await call("link_create", "test", env.account, env.id, uuid(), code, await value(`select rushes.rushes_now() + interval '1 day'`), 1, {}, null);
	const consent = await value(`select consent_text from rushes.environment where id = '${env.id}'`);
	const row = await one("session_open", code, uuid(), "\\x01", null, consent, "12 h");
	assert.equal(row.state, "open");
	return row.session;
}

/** A take of 100 bytes, saved. */
export async function saved(env, { sent = true } = {}) {
	const recording = uuid();
	const own = await session(env);
	assert.equal((await one("recording_open", recording, env.account, own, "video/webm", "192.0.2.1", "agent", null, null, null, null, null)).verdict, "new");
	const { epoch } = await one("segment_prepare", recording, own);
	const key = (await one("account_key_add", env.account, uuid(), "root", "\\x00")).id;
	const copy = uuid();
	await call("segment_open", recording, epoch, 0, INGEST, 0, copy, "a.sealed", key, "\\x01");
	await call("segment_present", copy, INGEST);
	await call("segment_close", recording, 0, INGEST, 100, `\\x${HASH}`, 5);
	const { job } = await one("recording_saved", recording, "user", sent, !sent, false, 100, null);
	return { recording, session: own, segment: copy, job };
}

export const claim = async (kind, hint = null, worker = WORKER) => one("job_claim", hint, kind, "eu1", worker, TRANSCODER, "30 s");

export async function copied(take) {
	const job = await claim("copy", take.job);
	const raw = uuid();
	await call("file_copy_begin", job.id, job.attempt, TRANSCODER, "raw", raw, "raw.sealed");
	const next = await one("copy_job_done", job.id, job.attempt, raw, 100, `\\x${HASH}`, {});
	return { ...take, raw, convert: next.job };
}

export async function processed(take) {
	const job = await claim("convert", take.convert);
	const outputs = [];
	for (const kind of ["main", "snapshot", "filmstrip"]) {
		const copy = uuid();
		await call("file_copy_begin", job.id, job.attempt, TRANSCODER, kind, copy, `${kind}.sealed`);
		outputs.push({ kind, copy, bytes: 7, sha256: HASH, facts: { duration_s: 5 } });
	}
	const pushes = await call("convert_job_done", job.id, job.attempt, outputs);
	return { ...take, outputs, pushes };
}

export async function push(take) {
	const job = await claim("push", null, PUSHER);
	assert.equal(job.recording, take.recording);
	const { copy } = await one("push_begin", job.id, job.attempt, uuid(), `${job.file_kind}.object`, null);
	await call("push_job_done", job.id, job.attempt, copy, { sha256: HASH }, false);
	return job.file_kind;
}

export const rows = (recording) => stack.postgres.query(`select * from rushes.copy where recording = '${recording}' order by created_at, id`);
export const stateOf = (recording) => value(`select state from rushes.recording where id = '${recording}'`);

/** Owners remove what is going. */
export async function removeGoing() {
	for (const c of await stack.postgres.query("select c.id, rushes.copy_place(c) as place from rushes.copy c where state = 'going' and node is not null")) {
		await call("copy_gone", c.id, c.place, { unlinked: true });
	}
	for (;;) {
		const job = await claim("delete", null, PUSHER);
		if (!job) break;
		await call("delete_job_done", job.id, job.attempt, { removed: 1 });
	}
}

/** Starts the servers, migrates, and puts the test's clock in the place of rushes_now(). */
export async function startDatabase() {
	await stack.prepare();
	await stack.postgres.psql(`create table test_clock (at timestamptz not null);
		insert into test_clock values ('${START}');
		grant usage on schema public to public;
		grant select on test_clock to public;
		create or replace function rushes.rushes_now() returns timestamptz language sql stable parallel safe
			as $$ select at from public.test_clock $$;`);
	world.account = await value(`select rushes.account_create('test', 'Test', 'eu1', 'abcdefghijklmnopqrst', 'Europe/Bucharest', 'paid', '2036-01-01')`);
	world.target = uuid();
	await call("target_create", "test", world.target, "ours", null, "eu1", "storage", "file", { path: "/storage" }, null, false);
}

/** Before each test: no work is left of the one before, the clock stands at START, both spools beat. */
export async function beginTest() {
	await stack.postgres.psql("delete from rushes.job");
	await setClock(START);
	await call("node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1, 1, false);
	await call("node_beat", TRANSCODER, "eu1", "transcoder", "https://localhost:2", 1, 1, false);
}
