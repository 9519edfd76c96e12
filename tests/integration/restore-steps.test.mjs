// The steps of a reconcile in the real PostgreSQL: a copy of the database from before stands in its place again, and is brought
// into agreement with what the ledger says since.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { INGEST, TRANSCODER, beginTest, call, claim, copied, environment, one, processed, push, refusal, removeGoing, saved, session, stack, startDatabase, stateOf, uuid, value } from "../lib/steps.mjs";

const sql = (text, options) => stack.postgres.psql(text, options);
const admin = (text) => sql(text, { database: "postgres" });
const texts = (batch) => stack.postgres.query(`select text from rushes.ledger_batch_texts(${batch})`).then((list) => list.map(({ text }) => text));
const findings = async () => (await call("restore_findings", 1000)).map(({ what, recording }) => [what, recording]);
const found = async (what) => (await findings()).filter(([name]) => name === what).map(([, recording]) => recording);

/** What is not sealed becomes the next batch; its head is none that anybody signed, which SQL does not look at. */
async function seal() {
	const entries = await stack.postgres.query("select id from rushes.ledger_unsealed(10000)");
	if (entries.length === 0) return;
	const last = await value("select coalesce(max(id), 0) from rushes.ledger_batch");
	await sql(`select rushes.ledger_seal(${Number(last) + 1}, array[${entries.map(({ id }) => id)}]::bigint[], sha256('${last}'), sha256('p'), rushes.rushes_now(), 'k', decode(repeat('00', 64), 'hex'))`);
}

async function backup() {
	await admin("drop database if exists rushes_before; create database rushes_before template rushes owner rushes_migrate");
}

/** The batches that the copy does not have; then the copy takes the database's place. */
async function restore() {
	await seal();
	const own = Number((await sql("select coalesce(max(id), 0) from rushes.ledger_batch", { database: "rushes_before" })).trim());
	const target = [];
	for (const { id } of await stack.postgres.query(`select id from rushes.ledger_batch where id > ${own} order by id`)) {
		const [head] = await stack.postgres.query(`select encode(root, 'hex') as root, at from rushes.ledger_batch where id = ${id}`);
		target.push({ id, ...head, texts: await texts(id) });
	}
	await admin("drop database if exists rushes_lost; alter database rushes rename to rushes_lost; alter database rushes_before rename to rushes");
	assert.equal((await one("service_gate")).state, "restoring", "a copy of the database");
	return target;
}

const json = (value) => `'${JSON.stringify(value).replaceAll("'", "''")}'::jsonb`;

const take = (batch, override = false) =>
	sql(`select rushes.restore_import(${batch.id}, '\\x${batch.root}', sha256('p'), '${batch.at}', 'k', decode(repeat('00', 64), 'hex'), ${json(batch.texts)}, ${override})`);

async function report(node, service, files) {
	await call("restore_report", node, "eu1", service, `https://localhost:1`, null, false, false);
	await sql(`select rushes.restore_report('${node}', 'eu1', '${service}', 'https://localhost:1', ${json(files)}, true, true)`);
}

/** Everything but the opening. */
async function reconcile(target) {
	for (const batch of target) await take(batch);
	while ((await one("restore_apply", 1)).restore_apply > 0);
}
const open = () => call("restore_open", "test", true, "test");

before(startDatabase);
beforeEach(async () => {
	// a test that failed leaves the gate closed
	if ((await one("service_gate")).state !== "open") {
		await sql("delete from rushes.restore_work");
		await open();
	}
	await beginTest();
});
after(() => stack.remove());

test("deletions are done again, whole ones and begun ones, and a closed account stays closed", async () => {
	const env = await environment();
	const whole = await processed(await copied(await saved(env)));
	const begun = await saved(env);
	const untouched = await saved(env);
	const leaving = await value("select rushes.account_create('test', 'Leaving', 'eu1', 'zyxwvutsrqponmlkjihg', 'Europe/Bucharest', 'paid', '2036-01-01')");
	const own = await saved(await environment({}, leaving));
	await seal();
	await backup();
	for (let i = 0; i < 4; i++) await push(whole);
	await call("recording_delete", whole.recording, "deleted-by-user", "test", "asked");
	await call("account_close", "test", leaving, "they left");
	while ((await one("rules_change_work", 100)).rules_change_work > 0);
	while ((await call("sweep_decide", "janitor", 100)).length > 0);
	await removeGoing();
	await call("personal_sweep", 10);
	assert.equal((await one("account_keys_sweep", 10)).account_keys_sweep, 1);
	await call("recording_delete", begun.recording, "deleted-by-user", "test", "asked");
	const target = await restore();
	assert.equal(await stateOf(whole.recording), "processed");
	await reconcile(target);
	assert.equal(await stateOf(whole.recording), "deleted");
	assert.equal(await stateOf(own.recording), "deleted");
	assert.equal(await stateOf(begun.recording), "deleting");
	assert.equal(await stateOf(untouched.recording), "saved");
	assert.equal(await value(`select count(*) from rushes.recording_key where recording in ('${whole.recording}', '${begun.recording}')`), "0");
	assert.equal(await value(`select count(*) from rushes.account_key where account = '${leaving}'`), "0");
	assert.notEqual(await value(`select coalesce(closed_at::text, '') from rushes.account where id = '${leaving}'`), "");
	assert.equal(await value(`select count(*) from rushes.ledger where recording = '${whole.recording}' and kind = 'complete'`), "1", "the entries of the target stand, and no second ones");
	await assert.rejects(() => take(target[0]), /does not follow the last one/);
	await open();
	assert.equal((await one("service_gate")).state, "open");
	assert.equal(await refusal("restore_apply", 1), "RU001", "the gate is open");
	await call("sweep_decide", "janitor", 100);
	await removeGoing();
	await call("personal_sweep", 10);
	assert.equal(await stateOf(begun.recording), "deleted", "the saga goes on to its end");
});

test("what was being received or written is kept or made again, and nobody from before can go on", async () => {
	const env = await environment();
	const open_take = uuid();
	const own = await session(env);
	await one("recording_open", open_take, env.account, own, "video/webm", "192.0.2.1", "agent", null, null, null, null, null);
	const { epoch } = await one("segment_prepare", open_take, own);
	const segment = uuid();
	await call("segment_open", open_take, epoch, 0, INGEST, 0, segment, "a.sealed", (await one("account_key_add", env.account, uuid(), "root", "\\x00")).id, "\\x01");
	const copying = await saved(env);
	const job = await claim("copy", copying.job);
	const raw = uuid();
	await call("file_copy_begin", job.id, job.attempt, TRANSCODER, "raw", raw, "raw.sealed");
	await seal();
	await backup();
	await call("segment_present", segment, INGEST);
	const target = await restore();
	await reconcile(target);
	assert.equal(await refusal("restore_open", "test", false, "test"), "RU001", "the spools have not reported");
	const stray = uuid();
	await report(INGEST, "ingest", [[segment, open_take, 4096], [stray, uuid(), 4096], [copying.segment, copying.recording, 4096]]);
	await report(TRANSCODER, "transcoder", [[raw, copying.recording, 4096]]);
	await call("restore_open", "test", false, "test");
	assert.equal(await value(`select state from rushes.copy where id = '${segment}'`), "present", "its bytes may have been acknowledged");
	assert.deepEqual(await found("segment-kept"), [open_take]);
	assert.equal(await value(`select state from rushes.copy where id = '${raw}'`), "going", "it is made again from the segments");
	assert.equal(await value(`select copy from rushes.restore_finding where what = 'lost-row' order by at desc limit 1`), stray);
	assert.equal(await refusal("segment_open", open_take, epoch, 1, INGEST, 0, uuid(), "b.sealed", uuid(), "\\x01"), "RU001", "an epoch from before");
	const again = await claim("copy", copying.job);
	assert.ok(again.attempt > job.attempt + 900, "an attempt that nobody from before holds");
	assert.equal(await value("select count(*) from rushes.unknown_file"), "0", "a restored database was no answer");
});

test("a file that is the only one left is kept for a person", async () => {
	const take_ = await saved(await environment());
	const job = await claim("copy", take_.job);
	const raw = uuid();
	await call("file_copy_begin", job.id, job.attempt, TRANSCODER, "raw", raw, "raw.sealed");
	await seal();
	await backup();
	await sql(`select rushes.copy_set_going('${take_.segment}', 'raw-copied')`);
	await call("copy_gone", take_.segment, `node/${INGEST}`, { unlinked: true });
	await reconcile(await restore());
	await report(TRANSCODER, "transcoder", [[raw, take_.recording, 4096]]);
	await open();
	assert.equal(await value(`select state from rushes.copy where id = '${raw}'`), "lost");
	assert.deepEqual(await found("only-copy"), [take_.recording]);
	assert.equal(await value(`select count(*) from rushes.recording_key where recording = '${take_.recording}'`), "1", "its key is kept with it");
});

test("holds stand as they were set or lifted last", async () => {
	const env = await environment();
	const [first, second, third] = [await saved(env), await saved(env), await saved(env)];
	await call("hold_set", "test", second.recording, true, "a case");
	await seal();
	await backup();
	await call("hold_set", "test", first.recording, true, "a case");
	await call("hold_set", "test", second.recording, false, "settled");
	await call("hold_set", "test", third.recording, true, "a case");
	await call("hold_set", "test", third.recording, false, "settled");
	await reconcile(await restore());
	await open();
	const held = async ({ recording }) => value(`select held from rushes.recording where id = '${recording}'`);
	assert.deepEqual([await held(first), await held(second), await held(third)], ["t", "f", "f"]);
});

test("a database that went on from an older copy gives its own batches up, by a person's word only", async () => {
	const env = await environment();
	const gone = await saved(env);
	const local = await saved(env);
	await seal();
	await backup();
	await call("recording_delete", gone.recording, "deleted-by-user", "test", "asked");
	const target = await restore();
	// somebody let it work all the same: entries of its own under the same numbers
	await open();
	await call("hold_set", "test", local.recording, true, "a case");
	await seal();
	await sql("select rushes.gate_close('person', 'test')");
	assert.equal(await refusal("restore_fork", "test", target[0].id, true, ""), "RU005");
	await call("restore_fork", "test", target[0].id, true, "it went on");
	await assert.rejects(() => take(target[0]), /has other entries under the numbers/);
	await take(target[0], true);
	for (const batch of target.slice(1)) await take(batch, true);
	while ((await one("restore_apply", 10)).restore_apply > 0);
	await open();
	assert.equal(await stateOf(gone.recording), "deleting");
	assert.equal(await value(`select held from rushes.recording where id = '${local.recording}'`), "t");
	await seal();
	assert.equal(await value(`select count(*) from rushes.ledger l where l.hash <> sha256('\\x00'::bytea || convert_to(rushes.ledger_text(l), 'UTF8'))`), "0");
	assert.equal(await value(`select count(*) from rushes.ledger where batch is null`), "0");
});

test("a recording that was delivered and left the spools since is known again, and one that was not goes on", async () => {
	const env = await environment();
	const [delivered, raw, again] = [await saved(env), await saved(env), await processed(await copied(await saved(env)))];
	await sql(`update rushes.job set next_attempt_at = 'infinity' where recording = '${again.recording}'`);
	await seal();
	await backup();
	// the first goes the whole way and leaves both spools
	await processed(await copied(delivered));
	for (let i = 0; i < 4; i++) await push(delivered);
	// the second is copied only; the third loses what was made, without having been delivered
	const { raw: file } = await copied(raw);
	await sql(`select rushes.copies_set_going(array(select id from rushes.copy where recording = '${again.recording}' and kind is not null), 'failed-delivery', null);
		select rushes.copy_set_going('${raw.segment}', 'raw-copied'); select rushes.copy_set_going('${delivered.segment}', 'raw-copied')`);
	assert.equal((await call("sweep_decide", "storage-pusher", 100)).length, 4);
	await removeGoing();
	await reconcile(await restore());
	await open();
	assert.equal(await stateOf(delivered.recording), "closed");
	assert.deepEqual(await stack.postgres.query(`select kind, state, target is not null as delivered from rushes.copy where recording = '${delivered.recording}' order by kind`),
		["filmstrip", "main", "raw", "snapshot"].map((kind) => ({ kind, state: "present", delivered: true })));
	assert.equal(await value(`select count(*) from rushes.job where recording = '${delivered.recording}'`), "0");
	assert.equal(await value(`select bytes from rushes.recording where id = '${delivered.recording}'`), "100");
	assert.equal(await stateOf(raw.recording), "saved");
	assert.equal(await value(`select state from rushes.copy where id = '${file}'`), "present");
	assert.equal(await value(`select kind || ' ' || node from rushes.job where recording = '${raw.recording}'`), `convert ${TRANSCODER}`);
	assert.equal(await stateOf(again.recording), "saved");
	assert.equal(await value(`select kind || ' ' || state from rushes.job where recording = '${again.recording}'`), "copy queued");
	assert.deepEqual(await found("made-again"), [again.recording]);
	// and a deletion finds the objects
	await call("recording_delete", delivered.recording, "deleted-by-user", "test", "asked");
	const gone = (await call("sweep_decide", "janitor", 100)).filter(({ recording, copy }) => recording === delivered.recording && copy);
	assert.equal(gone.length, 4);
});
