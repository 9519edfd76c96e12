// A spool whose disk is destroyed: what can be made again is, what lay nowhere else becomes a tombstone, and the disk does not
// come back.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { INGEST, TRANSCODER, advance, beginTest, call, claim, copied, environment, one, processed, push, refusal, rows, saved, session, stack, startDatabase, stateOf, uuid, value } from "../lib/steps.mjs";

const OTHER = "33333333-0000-4000-8000-000000000003";
const sql = (text) => stack.postgres.psql(text);
const evidence = (recording) => stack.postgres.query(`select evidence from rushes.ledger where recording = '${recording}' and kind = 'gone' and place like 'node/%' order by id`);

/** The node falls silent, and is retired. */
async function retire(node) {
	await sql(`update rushes.node set beat_at = beat_at - interval '1 hour' where id = '${node}'`);
	await call("node_retire", "test", node, "Ann Lee", "the disk burned");
	while ((await one("node_retire_work", "test", node, 2)).node_retire_work > 0);
}

before(startDatabase);
beforeEach(async () => {
	await sql("update rushes.node set state = 'active', retired_at = null, attested_by = null");
	await beginTest();
});
after(() => stack.remove());

test("a spool that beats, or is unknown, is not retired", async () => {
	assert.equal(await refusal("node_retire", "test", TRANSCODER, "Ann Lee", "why"), "RU001");
	assert.equal(await refusal("node_retire", "test", OTHER, "Ann Lee", "why"), "RU002");
	assert.equal(await refusal("node_retire", "test", TRANSCODER, "", "why"), "RU005");
	assert.equal(await refusal("node_retire_work", "test", TRANSCODER, 10), "RU001", "nothing goes before it is retired");
});

test("what was made on it is made again from the raw on ingest", async () => {
	const env = await environment();
	const waiting = await copied(await saved(env));
	const done = await processed(await copied(await saved(env)));
	await retire(TRANSCODER);
	assert.equal(await refusal("file_copy_begin", uuid(), 1, TRANSCODER, "raw", uuid(), "x"), "RU004");
	for (const take of [waiting, done]) {
		assert.equal(await stateOf(take.recording), "saved");
		assert.deepEqual(await stack.postgres.query(`select kind, state, node from rushes.job where recording = '${take.recording}'`), [{ kind: "copy", state: "queued", node: INGEST }]);
		for (const row of await evidence(take.recording)) assert.deepEqual(row.evidence, { node_destroyed_attested_by: "Ann Lee" });
	}
	// on another spool it goes the whole way
	await call("node_beat", OTHER, "eu1", "transcoder", "https://localhost:3", 1, 1, false);
	const job = await one("job_claim", null, "copy", "eu1", `transcoder/${OTHER}#1`, OTHER, "30 s");
	const raw = uuid();
	await call("file_copy_begin", job.id, job.attempt, OTHER, "raw", raw, "raw.sealed");
	await call("copy_job_done", job.id, job.attempt, raw, 100, `\\x${"00".repeat(32)}`, {});
	assert.equal(await value(`select count(*) from rushes.job where recording = '${job.recording}' and kind = 'convert' and node = '${OTHER}'`), "1");
});

test("what was delivered stays, and what lay nowhere else becomes a tombstone with its proof", async () => {
	const env = await environment();
	const delivered = await processed(await copied(await saved(env)));
	for (let i = 0; i < 4; i++) await push(delivered);
	const lost = await processed(await copied(await saved(env)));
	const half = await processed(await copied(await saved(env)));
	await sql(`delete from rushes.copy where recording in ('${lost.recording}', '${half.recording}') and segment is not null`);
	await sql(`delete from rushes.job where recording = '${lost.recording}'`);
	assert.equal(await push(half), "main");
	await retire(TRANSCODER);
	assert.equal(await stateOf(delivered.recording), "closed");
	assert.equal((await rows(delivered.recording)).filter(({ node }) => node === TRANSCODER).length, 0);
	assert.equal((await rows(delivered.recording)).filter(({ target }) => target).length, 4);
	assert.equal(await stateOf(lost.recording), "deleting");
	await call("personal_sweep", 10);
	assert.equal(await stateOf(lost.recording), "deleted");
	assert.equal(await value(`select count(*) from rushes.event where recording = '${lost.recording}' and type = 'copy.lost'`), "1");
	assert.equal(await value(`select count(*) from rushes.audit where subject = '${lost.recording}' and action = 'recording.lost'`), "1");
	// main arrived, the other files can no longer be pushed
	assert.equal(await stateOf(half.recording), "closed");
	assert.deepEqual(await stack.postgres.query(`select distinct word from rushes.delivery where recording = '${half.recording}' order by 1`), [{ word: "delivered" }, { word: "failed-delivery" }]);
});

test("a deletion that waited for it ends, and a take that was being received starts again", async () => {
	const take = await saved(await environment());
	await call("recording_delete", take.recording, "deleted-by-user", "test", "asked");
	await call("sweep_decide", "janitor", 10);
	await call("personal_sweep", 10);
	const env = await environment();
	const open = uuid();
	const own = await session(env);
	await one("recording_open", open, env.account, own, "video/webm", "192.0.2.1", "agent", null, null, null, null, null);
	const { epoch } = await one("segment_prepare", open, own);
	const copy = uuid();
	await call("segment_open", open, epoch, 0, INGEST, 0, copy, "a.sealed", (await one("account_key_add", env.account, uuid(), "root", "\\x00")).id, "\\x01");
	await call("segment_present", copy, INGEST);
	assert.equal(await stateOf(take.recording), "deleting");
	await retire(INGEST);
	assert.equal(await stateOf(take.recording), "deleted");
	assert.equal(await stateOf(open), "open");
	assert.equal((await one("segment_prepare", open, own)).closed_end, 0, "the page sends from the beginning");
	assert.equal(await refusal("segment_open", open, epoch + 1, 0, INGEST, 0, uuid(), "b.sealed", uuid(), "\\x01"), "RU003");
});

test("a retired spool may not come back, and its beat changes nothing", async () => {
	await retire(TRANSCODER);
	const before = await value(`select beat_at from rushes.node where id = '${TRANSCODER}'`);
	await advance("1 year");
	await sql(`update rushes.node set beat_at = '${before}' where id = '${TRANSCODER}'`);
	assert.equal((await one("node_beat", TRANSCODER, "eu1", "transcoder", "https://localhost:2", 1, 1, false)).node_beat, "retired");
	assert.equal(await value(`select beat_at from rushes.node where id = '${TRANSCODER}'`), before);
	assert.equal((await one("node_show", TRANSCODER)).node_show.attested_by, "Ann Lee");
	assert.equal(await claim("convert"), undefined);
});

test("a spool that was away for a year: what was deleted meanwhile goes at once, and nothing else changes", async () => {
	const env = await environment();
	const gone = await saved(env);
	const kept = await saved(env);
	await sql(`update rushes.account set paid_until = null where id = '${env.account}'`);
	await call("recording_delete", gone.recording, "deleted-by-user", "test", "asked");
	await call("sweep_decide", "janitor", 10);
	await call("personal_sweep", 10);
	await advance("1 year");
	await sql(`update rushes.node set beat_at = beat_at - interval '1 year' where id = '${INGEST}'`);
	assert.equal(await stateOf(gone.recording), "deleting", "nobody has seen it go");
	assert.equal((await one("deletion_overdue", "5 days")).recording, gone.recording);
	assert.equal(await claim("copy", kept.job), undefined, "its raw is not there");
	assert.equal((await one("node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1, 1, false)).node_beat, "active");
	assert.deepEqual((await call("copies_going", INGEST, 10)).map(({ copy }) => copy), [gone.segment]);
	await call("copy_gone", gone.segment, `node/${INGEST}`, { unlinked: true });
	assert.equal(await stateOf(gone.recording), "deleted");
	assert.equal((await one("spool_file_fate", INGEST, gone.segment, gone.recording)).spool_file_fate, "gone", "should its file be there again");
	assert.equal((await one("spool_file_fate", INGEST, kept.segment, kept.recording)).spool_file_fate, "known");
	assert.equal((await claim("copy", kept.job))?.recording, kept.recording);
});
