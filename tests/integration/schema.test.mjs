// The steps of a recording, in the real PostgreSQL with a clock that the test sets.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { ROOT } from "../../scripts/lib/stack.mjs";
import {
	HASH, INGEST, PUSHER, START, TRANSCODER, WORKER, advance, beginTest, call, claim, copied, environment, literal, next, one, processed,
	push, refusal, removeGoing, rows, saved, session, stack, startDatabase, stateOf, uuid, value, world,
} from "../lib/steps.mjs";

before(startDatabase);
beforeEach(beginTest);
after(() => stack.remove());

test("a recording goes the whole way, each copy leaves by its rule, and a deletion leaves the tombstone", async () => {
	const take = await processed(await copied(await saved(await environment())));
	const order = [];
	for (let i = 0; i < 4; i++) order.push(await push(take));
	assert.deepEqual(order, ["main", "raw", "snapshot", "filmstrip"]);
	assert.equal(await stateOf(take.recording), "closed");

	const before = await rows(take.recording);
	assert.equal(before.filter((c) => c.rule === "work-delivered").length, 4);
	assert.equal(before.filter((c) => c.rule === "raw-copied").length, 1);
	assert.equal(new Date(before.find((c) => c.rule === "raw-copied").due_at).toISOString(), "2026-03-01T11:00:00.000Z", "playback_window after saved");

	assert.equal((await call("sweep_decide", "storage-pusher", 100)).length, 4);
	assert.equal((await call("sweep_decide", "ingest", 100)).length, 0, "not before its date");
	await advance("59 min");
	assert.equal((await call("sweep_decide", "ingest", 100)).length, 0);
	await advance("1 min");
	assert.equal((await call("sweep_decide", "ingest", 100)).length, 1);
	await removeGoing();
	assert.equal(await value(`select count(*) from rushes.recording_key where recording = '${take.recording}'`), "0", "no sealed copy, no key");

	await call("recording_delete", take.recording, "deleted-by-user", "test", "asked");
	assert.equal((await call("sweep_decide", "janitor", 100)).length, 4);
	await removeGoing();
	assert.equal(await stateOf(take.recording), "deleting", "personal metadata is left");
	assert.equal((await one("personal_sweep", 10)).personal_sweep, 1);
	assert.equal(await stateOf(take.recording), "deleted");
	for (const table of ["copy", "file", "segment", "job", "recording_key", "recording_personal"]) {
		assert.equal(await value(`select count(*) from rushes.${table} where recording = '${take.recording}'`), "0", table);
	}
	const ledger = await stack.postgres.query(`select kind, rule from rushes.ledger where recording = '${take.recording}' order by id`);
	assert.equal(ledger.at(-1).kind, "complete");
	assert.equal(ledger.filter(({ kind }) => kind === "gone").length, 10, "5 spool copies, 4 objects, personal metadata");
	assert.equal(await value(`select action from rushes.audit where subject = '${take.recording}'`), "recording.delete");
});

test("13 attempts take 74 hours and 2 minutes, then the original stays for 28 days at midnight", async () => {
	const take = await saved(await environment());
	for (let n = 1; n <= 13; n++) {
		const job = await claim("copy", take.job);
		assert.ok(job, `attempt ${n} is due`);
		const answer = await one("job_failed", job.id, job.attempt, "retry", "no route", false);
		assert.equal(answer.state, n === 13 ? "failed" : "queued");
		if (n === 13) break;
		await stack.postgres.psql(`update test_clock set at = '${answer.next_attempt_at}'::timestamptz - interval '1 second'`);
		await advance("0 s");
		assert.equal(await claim("copy", take.job), undefined, "not before its time");
		await advance("1 s");
	}
	assert.equal(await value(`select at - '${START}' from test_clock`), "3 days 02:02:00");
	assert.equal(await stateOf(take.recording), "failed-copy");
	const [segment] = await rows(take.recording);
	assert.equal(segment.rule, "failed-copy");
	// saved on 1 March (EET), the midnight that closes 28 March
	assert.equal(new Date(segment.due_at).toISOString(), "2026-03-28T22:00:00.000Z");
	const again = await value(`select rushes.job_retry('${take.job}', 'test')`);
	assert.equal(await stateOf(take.recording), "saved");
	assert.ok(await claim("copy", again));
	assert.equal((await rows(take.recording))[0].due_at, null, "an unfinished job needs it");
});

test("28 days at midnight: the source's example and both changes of daylight saving", async () => {
	for (const [start, due] of [
		["2019-11-04 09:30+02", "2019-12-01 22:00:00"],
		["2019-11-04 00:00+02", "2019-12-01 22:00:00"],
		["2019-11-04 23:59:59+02", "2019-12-01 22:00:00"],
		["2026-03-01 12:00+02", "2026-03-28 22:00:00"],
		["2026-03-02 12:00+02", "2026-03-29 21:00:00"],
		["2026-10-01 12:00+03", "2026-10-28 22:00:00"],
		["2028-02-01 12:00+02", "2028-02-28 22:00:00"],
	]) {
		assert.equal(await value(`select rushes.midnight_after_28_days('${start}') at time zone 'UTC'`), due, start);
	}
});

test("a stale worker changes nothing", async () => {
	const take = await saved(await environment());
	const first = await claim("copy", take.job);
	const copy = uuid();
	await call("file_copy_begin", first.id, first.attempt, TRANSCODER, "raw", copy, "x");
	await advance("31 s");
	assert.equal(await value("select rushes.job_expire_leases('copy', 10)"), "1");
	const second = await claim("copy", take.job);
	assert.equal(second.attempt, first.attempt + 1);
	assert.equal(await refusal("copy_job_done", first.id, first.attempt, copy, 100, `\\x${HASH}`, {}), "RU001");
	assert.equal(await refusal("job_failed", first.id, first.attempt, "retry", "late", false), "RU001");
	assert.deepEqual(await call("job_beat", WORKER, [first.id], [first.attempt], "30 s").catch(() => []), []);
	// the new attempt's own copy replaces the one that the stale worker began
	await call("file_copy_begin", second.id, second.attempt, TRANSCODER, "raw", uuid(), "y");
	assert.equal((await rows(take.recording)).find((c) => c.id === copy).state, "going");
});

test("a dead worker costs its job nothing, until the job has killed three", async () => {
	const take = await saved(await environment());
	for (let n = 1; n <= 4; n++) {
		const job = await claim("copy", take.job);
		assert.equal(job.failures, 0);
		await advance("31 s");
		await call("job_expire_leases", "copy", 10);
	}
	assert.equal(await claim("copy", take.job), undefined, "the fourth was a failed attempt");
	await advance("2 min");
	assert.equal((await claim("copy", take.job)).failures, 1);
});

test("a spool that starts again does not wait for the leases of its former process", async () => {
	const take = await saved(await environment());
	await claim("copy", take.job, `transcoder/${TRANSCODER}#old`);
	assert.equal((await one("job_release_dead", "copy", `transcoder/somebody#new`)).job_release_dead, 0);
	assert.equal((await one("job_release_dead", "copy", `transcoder/${TRANSCODER}#old`)).job_release_dead, 0, "not its own");
	assert.equal((await one("job_release_dead", "copy", `transcoder/${TRANSCODER}#new`)).job_release_dead, 1);
	assert.equal((await claim("copy", take.job)).failures, 0);
});

test("a job that is handed back loses no attempt", async () => {
	const take = await saved(await environment());
	const first = await claim("copy", take.job);
	await call("job_hand_back", first.id, first.attempt, "leaving");
	const second = await claim("copy", take.job);
	assert.equal(second.failures, 0);
	assert.equal(second.attempt, 2);
});

test("a silent spool makes its jobs wait without using attempts", async () => {
	const take = await saved(await environment());
	await stack.postgres.psql(`update rushes.node set beat_at = beat_at - interval '5 min' where id = '${INGEST}'`);
	assert.equal(await claim("copy", take.job), undefined);
	assert.equal((await one("job_watch_nodes", "copy")).waiting, 1);
	assert.equal(await value(`select state from rushes.job where id = '${take.job}'`), "waiting-for-node");
	await call("node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1, 1, false);
	assert.equal((await one("job_watch_nodes", "copy")).woken, 1);
	assert.equal((await claim("copy", take.job)).failures, 0);
});

test("of many claims at once each job goes to one worker", async () => {
	const env = await environment();
	for (let i = 0; i < 12; i++) await saved(env);
	const claims = await Promise.all(Array.from({ length: 20 }, (_, i) => claim("copy", null, `transcoder/${i}#1`)));
	const ids = claims.filter(Boolean).map((job) => job.id);
	assert.equal(new Set(ids).size, ids.length);
	// whoever lost a race for one row claims again, as workers do
	for (let job; (job = await claim("copy")); ) ids.push(job.id);
	assert.equal(new Set(ids).size, 12);
	assert.equal(ids.length, 12);
});

test("the account with the fewest running jobs comes next", async () => {
	const env = await environment();
	for (let i = 0; i < 3; i++) await saved(env);
	const mine = world.account;
	const other = await value(`select rushes.account_create('test', 'Other', 'eu1', 'bcdefghijklmnopqrstu', 'UTC', 'paid', '2036-01-01')`);
	await advance("1 s");
	await saved(await environment({}, other));
	const order = [];
	for (let i = 0; i < 4; i++) order.push((await claim("copy")).account);
	assert.deepEqual(order, [mine, other, mine, mine]);
});

test("a deletion in the middle of a conversion cancels the job and takes what it began", async () => {
	const take = await copied(await saved(await environment()));
	const job = await claim("convert", take.convert);
	const main = uuid();
	await call("file_copy_begin", job.id, job.attempt, TRANSCODER, "main", main, "main.sealed");
	await call("recording_delete", take.recording, "deleted-by-user", "test", "asked");
	assert.equal(await value(`select count(*) from rushes.recording_key where recording = '${take.recording}'`), "0");
	assert.equal(await refusal("convert_job_done", job.id, job.attempt, [{ kind: "main", copy: main, bytes: 1, sha256: HASH }]), "RU004");
	assert.equal(await refusal("file_copy_begin", job.id, job.attempt, TRANSCODER, "snapshot", uuid(), "s"), "RU004");
	assert.equal((await rows(take.recording)).find((c) => c.id === main).state, "going");
	assert.equal(await refusal("serve_check", INGEST, take.segment, `transcoder/${TRANSCODER}`, job.id, job.attempt), "RU004");
	await call("sweep_decide", "janitor", 100);
	await removeGoing();
	await call("personal_sweep", 10);
	assert.equal(await stateOf(take.recording), "deleted");
});

test("a peer reads a copy only while it runs the job that needs it", async () => {
	const take = await saved(await environment());
	const job = await claim("copy", take.job);
	const peer = `transcoder/${TRANSCODER}`;
	assert.equal((await one("serve_check", INGEST, take.segment, peer, job.id, job.attempt)).location, "a.sealed");
	assert.equal(await refusal("serve_check", INGEST, take.segment, "transcoder/somebody", job.id, job.attempt), "RU003");
	assert.equal(await refusal("serve_check", INGEST, take.segment, peer, job.id, job.attempt + 1), "RU003");
	assert.equal(await refusal("serve_check", TRANSCODER, take.segment, peer, job.id, job.attempt), "RU002");
	await call("job_hand_back", job.id, job.attempt, "leaving");
	assert.equal(await refusal("serve_check", INGEST, take.segment, peer, job.id, job.attempt), "RU003");
});

test("what cannot be pushed stays 28 days, and a retry delivers it", async () => {
	const take = await processed(await copied(await saved(await environment({ push_raw: false, push_snapshot: false, push_filmstrip: false }))));
	assert.equal(take.pushes.length, 1);
	const job = await claim("push", null, PUSHER);
	await one("push_begin", job.id, job.attempt, uuid(), "object", "object.part");
	await one("job_failed", job.id, job.attempt, "reject", "refused for ever", true);
	assert.equal(await stateOf(take.recording), "closed");
	const kept = (await rows(take.recording)).filter((c) => c.node === TRANSCODER);
	assert.equal(kept.find((c) => c.kind === "main").rule, "failed-delivery");
	assert.equal(new Date(kept.find((c) => c.kind === "main").due_at).toISOString(), "2026-03-28T22:00:00.000Z");
	assert.deepEqual(kept.map((c) => c.due_at), kept.map(() => kept.find((c) => c.kind === "main").due_at), "what goes nowhere leaves with main");
	// what the tries may have left at the target is removed first
	const removal = await claim("delete", null, PUSHER);
	await call("delete_job_done", removal.id, removal.attempt, { absent: true });
	await value(`select rushes.job_retry('${job.id}', 'test')`);
	assert.equal(await stateOf(take.recording), "processed");
	assert.equal(await push(take), "main");
	assert.ok((await rows(take.recording)).filter((c) => c.node === TRANSCODER).every((c) => c.rule === "work-delivered"));
});

test("a take that was never sent keeps its raw for the reconnect window", async () => {
	const take = await copied(await saved(await environment({ playback_window: "1 min" }), { sent: false }));
	const segment = (await rows(take.recording)).find((c) => c.id === take.segment);
	assert.equal(new Date(segment.due_at).toISOString(), "2026-03-01T11:30:00.000Z");
});

test("an empty take is discarded, and with conversion never the raw is main", async () => {
	const env = await environment({ conversion: "never" });
	const empty = uuid();
	const own = await session(env);
	await call("recording_open", empty, world.account, own, "video/webm", null, null, null, null, null, null, null);
	assert.equal((await one("recording_saved", empty, "lost", false, true, false, null, null)).job, null);
	await call("personal_sweep", 10);
	assert.equal(await stateOf(empty), "deleted");

	const take = await saved(env);
	const job = await claim("copy", take.job);
	const main = uuid();
	await call("file_copy_begin", job.id, job.attempt, TRANSCODER, "main", main, "main.sealed");
	const next = await call("copy_job_done", job.id, job.attempt, main, 100, `\\x${HASH}`, {});
	assert.deepEqual(next.map(({ kind }) => kind), ["push"]);
	assert.equal(await push(take), "main");
	assert.equal(await stateOf(take.recording), "closed");
});

test("the newer stream wins, and nothing is added after a take was saved", async () => {
	const env = await environment();
	const own = await session(env);
	const recording = uuid();
	const open = () => one("recording_open", recording, world.account, own, "video/webm", null, null, null, null, null, null, null);
	await open();
	const first = await one("segment_prepare", recording, own);
	const second = await one("segment_prepare", recording, own);
	const key = (await one("account_key_add", world.account, uuid(), "root", "\\x00")).id;
	assert.equal(await refusal("segment_open", recording, first.epoch, 0, INGEST, 0, uuid(), "x", key, "\\x01"), "RU001");
	const copy = uuid();
	await call("segment_open", recording, second.epoch, 0, INGEST, 0, copy, "x", key, "\\x01");
	await call("segment_close", recording, 0, INGEST, 10, `\\x${HASH}`, 1);
	assert.equal((await open()).verdict, "resume");
	assert.equal((await one("segment_prepare", recording, own)).closed_end, 10);
	await call("recording_saved", recording, "user", true, false, false, null, null);
	assert.equal((await open()).verdict, "finished");
	assert.equal(await refusal("segment_prepare", recording, own), "RU001");
	assert.equal((await one("recording_open", recording, world.account, uuid(), "video/webm", null, null, null, null, null, null, null)).reason, "not-yours");
});

test("a revoked or expired link opens no session and no recording", async () => {
	const env = await environment();
	const own = await session(env);
	const link = await value(`select link from rushes.session where id = '${own}'`);
	await call("link_revoke", "test", world.account, link);
	assert.equal((await one("recording_open", uuid(), world.account, own, null, null, null, null, null, null, null, null)).reason, "link-revoked");
	const code = "\\xff01";
	await call("link_create", "test", world.account, env.id, uuid(), code, "2026-03-01T11:00:00Z", 1, {}, null);
	await advance("2 h");
	assert.equal((await one("link_resolve", code)).state, "expired");
	assert.equal((await one("session_open", code, uuid(), "\\x01", null, "x", "1 h")).state, "expired");
});

test("states change only as the table says", async () => {
	const take = await saved(await environment());
	for (const to of ["open", "closed", "deleted", "nonsense"]) {
		assert.equal(await refusal("set_recording_state", take.recording, to), "RU001", to);
	}
});

test("no service reads keys or personal metadata, and none writes a table", async () => {
	const roles = ["ingest", "linkgen", "transcoder", "pusher", "janitor", "ctl"].map((name) => `rushes_${name}`);
	const held = await stack.postgres.query(`select grantee, table_name, privilege_type from information_schema.role_table_grants
		where table_schema = 'rushes' and grantee in (${roles.map(literal).join(",")})`);
	assert.deepEqual(held.filter((g) => g.privilege_type !== "SELECT"), []);
	assert.deepEqual(held.filter((g) => ["recording_key", "account_key", "recording_personal"].includes(g.table_name)), []);
	const columns = await stack.postgres.query(`select grantee, column_name from information_schema.column_privileges
		where table_schema = 'rushes' and column_name in ('credential', 'secret_hash', 'wrapped') and grantee in (${roles.map(literal).join(",")})`);
	assert.deepEqual(columns, []);
	const open = await value(`select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
		where n.nspname = 'rushes' and has_function_privilege('public', p.oid, 'execute')`);
	assert.equal(open, "0", "no function is everybody's");
});

test("docs/retention.md tells the rules as the database knows them", async () => {
	const page = fs.readFileSync(path.join(ROOT, "docs/retention.md"), "utf8");
	const told = [...page.matchAll(/^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/gm)].map(([, ...cells]) => cells.join(" | "));
	const rules = await stack.postgres.query("select name, slice, takes, due from rushes.retention_rule");
	assert.deepEqual(told.sort(), rules.map((r) => [r.name, r.slice, r.takes, r.due].join(" | ")).sort());
});

test("settings that belong together change together", async () => {
	const env = await environment({ do_not_store: true, store_ours: false });
	const name = await value(`select name from rushes.environment where id = '${env.id}'`);
	await value(`select rushes.environment_set('test', '${world.account}', '${name}', '{"do_not_store": false, "store_ours": true}')`);
	assert.equal(await refusal("environment_set", "test", world.account, name, { do_not_store: true }), "23514");
	assert.equal(await refusal("environment_set", "test", world.account, name, { nonsense: 1 }), "RU005");
});

test("a client's copies stay the client's, unless the target says that they go too", async () => {
	const env = await environment({ store_ours: false, push_raw: false, push_snapshot: false, push_filmstrip: false });
	const theirs = { keeps: uuid(), removes: uuid() };
	await call("target_create", "test", theirs.keeps, "client", world.account, "eu1", `keeps-${next()}`, "file", { path: "/a" }, null, false);
	await call("target_create", "test", theirs.removes, "client", world.account, "eu1", `removes-${next()}`, "file", { path: "/b" }, null, true);
	for (const id of Object.values(theirs)) await call("environment_target_set", "test", world.account, env.id, id, true);
	const take = await processed(await copied(await saved(env)));
	assert.equal(take.pushes.length, 2);
	await push(take);
	await push(take);
	assert.deepEqual((await rows(take.recording)).filter((c) => c.target).map((c) => c.state), ["released", "released"]);
	await call("recording_delete", take.recording, "deleted-by-user", "test", "asked");
	assert.equal((await rows(take.recording)).find((c) => c.target === theirs.removes).state, "going");
	assert.equal((await rows(take.recording)).find((c) => c.target === theirs.keeps).state, "released");
	await call("sweep_decide", "janitor", 100);
	await removeGoing();
	await call("personal_sweep", 10);
	assert.equal(await stateOf(take.recording), "deleted");
	const complete = await value(`select evidence->>'left_with_the_client' from rushes.ledger where recording = '${take.recording}' and kind = 'complete'`);
	assert.equal(complete, "1");
});
