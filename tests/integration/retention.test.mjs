// The rules of retention by date: plans of accounts, lifecycle, holds, backups, brakes. In the real PostgreSQL with a clock that
// the test sets.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import {
	advance, beginTest, call, claim, copied, environment, literal, next, one, processed, push, PUSHER, refusal, removeGoing, rows, saved, setClock, stack,
	startDatabase, stateOf, uuid, value, world,
} from "../lib/steps.mjs";

before(startDatabase);
beforeEach(beginTest);
after(() => stack.remove());

const iso = (at) => (at === null ? null : new Date(at).toISOString());
const dueOf = async (recording) => iso((await stack.postgres.query(`select due_at from rushes.recording where id = '${recording}'`))[0].due_at);

async function newAccount(plan, expires, zone = "Europe/Bucharest") {
	const hash = `a${String(next()).padStart(21, "0")}`;
	return value(`select rushes.account_create('test', 'Account ${hash}', 'eu1', '${hash}', '${zone}', '${plan}', ${literal(expires)})`);
}

/** A take that went the whole way to our storage. */
async function delivered(env) {
	const take = await processed(await copied(await saved(env)));
	for (let i = 0; i < take.pushes.length; i++) await push(take);
	assert.equal(await stateOf(take.recording), "closed");
	return take;
}

/** All owners and the janitor do what there is to do now. */
async function work() {
	while ((await one("rules_change_work", 100)).rules_change_work > 0);
	for (const slice of ["ingest", "transcoder", "storage-pusher", "janitor"]) {
		for (let round = 0; round < 2; round++) {
			await call("sweep_brakes", slice);
			while ((await call("sweep_decide", slice, 100)).length > 0);
		}
	}
	await removeGoing();
	await call("personal_sweep", 1000);
	await call("account_keys_sweep", 100);
}

test("an expired subscription takes everything after 28 days at midnight, and the account's key with it", async () => {
	const account = await newAccount("paid", "2026-03-05 15:00+02");
	const take = await delivered(await environment({}, account));
	// 5 March is day 1: the midnight that closes 1 April, in summer time
	assert.equal(await dueOf(take.recording), "2026-04-01T21:00:00.000Z");
	await setClock("2026-04-01 20:59:59+00");
	await work();
	assert.equal(await stateOf(take.recording), "closed");
	await advance("1 s");
	await work();
	assert.equal(await stateOf(take.recording), "deleted");
	assert.equal(await value(`select count(*) from rushes.account_key where account = '${account}'`), "0");
	const rules = await stack.postgres.query(`select distinct rule from rushes.ledger where account = '${account}' and kind = 'complete'`);
	assert.deepEqual(rules, [{ rule: "subscription-expired" }]);
	assert.equal(await value(`select evidence->>'account_key' from rushes.ledger where account = '${account}' and recording is null`), "destroyed");
});

test("an account that renews within the 28 days keeps everything", async () => {
	const account = await newAccount("trial", "2026-03-05 15:00+02");
	const take = await delivered(await environment({}, account));
	await setClock("2026-04-01 20:00:00+00");
	await call("account_plan_set", "test", account, "paid", "2027-03-05T00:00:00Z");
	await setClock("2026-04-02 00:00:00+00");
	// even before the janitor recomputed: the sweep derives the date again
	assert.equal((await call("sweep_decide", "janitor", 100)).length, 0);
	await work();
	assert.equal(await stateOf(take.recording), "closed");
	assert.equal(await dueOf(take.recording), "2027-04-01T21:00:00.000Z");
});

test("a closed account loses its recordings at once, its links and its key", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({}, account);
	const take = await delivered(env);
	assert.equal(await dueOf(take.recording), null);
	assert.equal(await refusal("account_close", "test", account, ""), "RU005");
	await call("account_close", "test", account, "the customer left");
	await work();
	assert.equal(await stateOf(take.recording), "deleted");
	assert.equal(await value(`select count(*) from rushes.account_key where account = '${account}'`), "0");
	assert.equal(await value(`select count(*) from rushes.link where account = '${account}' and revoked_at is null`), "0");
});

test("lifecycle: by age at midnight in the account's zone, off until it is enabled", async () => {
	const account = await newAccount("paid", null, "America/New_York");
	const env = await environment({}, account);
	const take = await delivered(env);
	await call("lifecycle_set", "test", account, env.id, "year", 30, null, null, false);
	await work();
	assert.equal(await dueOf(take.recording), null);
	// saved on 1 March 05:00 in New York: 30 days old on 31 March 05:00, taken at the next midnight there
	const preview = await call("lifecycle_preview", account, env.id, 30, null, null, "2027-01-01T00:00:00Z", 100);
	assert.deepEqual(preview.map((p) => [p.recording, iso(p.due_at)]), [[take.recording, "2026-04-01T04:00:00.000Z"]]);
	await call("lifecycle_set", "test", account, env.id, "year", 30, null, null, true);
	await work();
	assert.equal(await dueOf(take.recording), "2026-04-01T04:00:00.000Z");
	await setClock("2026-04-01 04:00:00+00");
	await work();
	assert.equal(await stateOf(take.recording), "deleted");
});

test("lifecycle: one kind of file goes, the others stay", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({}, account);
	const take = await delivered(env);
	await work();
	await call("lifecycle_set", "test", account, env.id, "raw", 1, "received", "raw", true);
	await call("lifecycle_set", "test", account, env.id, "calls", 1, "call", null, true);
	await setClock("2026-03-02 22:00:00+00");
	await work();
	const left = (await rows(take.recording)).filter((c) => c.target).map((c) => c.kind);
	assert.deepEqual(left.sort(), ["filmstrip", "main", "snapshot"]);
	await call("lifecycle_remove", "test", account, env.id, "raw");
	assert.equal(await refusal("lifecycle_remove", "test", account, env.id, "raw"), "RU002");
});

test("zones where a midnight does not exist, and both changes of summer time", async () => {
	for (const [start, days, zone, due] of [
		["2018-11-02 12:00-03", 1, "America/Sao_Paulo", "2018-11-04 03:00:00"], // 4 November began at 01:00
		["2026-03-27 12:00+02", 1, "Europe/Bucharest", "2026-03-28 22:00:00"],
		["2026-03-28 12:00+02", 1, "Europe/Bucharest", "2026-03-29 21:00:00"],
		["2026-10-24 12:00+03", 1, "Europe/Bucharest", "2026-10-25 22:00:00"],
		["2028-02-28 12:00+00", 1, "UTC", "2028-03-01 00:00:00"],
		["2026-06-01 00:00+00", 1, "UTC", "2026-06-02 00:00:00"],
		["2011-12-28 12:00-10", 1, "Pacific/Apia", "2011-12-30 10:00:00"], // 30 December was left out there
	]) {
		assert.equal(await value(`select rushes.lifecycle_due('${start}', ${days}, '${zone}') at time zone 'UTC'`), due, `${start} ${zone}`);
	}
});

test("a hold wins over every rule but a person's deletion with a reason", async () => {
	const account = await newAccount("paid", "2026-03-05 15:00+02");
	const take = await delivered(await environment({}, account));
	assert.equal(await refusal("hold_set", "test", take.recording, true, ""), "RU005");
	await call("hold_set", "test", take.recording, true, "case 17");
	assert.equal(await dueOf(take.recording), null);
	assert.ok((await rows(take.recording)).every((c) => c.due_at === null));
	await setClock("2026-06-01 00:00:00+00");
	await work();
	assert.equal(await stateOf(take.recording), "closed");
	assert.equal(await refusal("recording_delete", take.recording, "replaced", "test", "x"), "RU003");
	assert.equal(await refusal("recording_delete", take.recording, "deleted-by-user", "test", ""), "RU003");
	await call("hold_set", "test", take.recording, false, "closed");
	await work();
	assert.equal(await stateOf(take.recording), "deleted");
	const kinds = (await stack.postgres.query(`select kind from rushes.ledger where recording = '${take.recording}' order by id`)).map((l) => l.kind);
	assert.ok(kinds.indexOf("hold-set") < kinds.indexOf("hold-lifted"));
});

test("our backup goes when every target of the client has the file", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({ backup: "until-delivered", push_raw: false, push_snapshot: false, push_filmstrip: false }, account);
	const theirs = uuid();
	await call("target_create", "test", theirs, "client", account, "eu1", `bucket-${next()}`, "file", { path: "/c" }, null, false);
	await call("environment_target_set", "test", account, env.id, theirs, true);
	const take = await processed(await copied(await saved(env)));
	assert.equal(take.pushes.length, 2);
	await push(take);
	assert.ok((await rows(take.recording)).filter((c) => c.target === world.target).every((c) => c.rule === null), "not while one is missing");
	await push(take);
	const backup = (await rows(take.recording)).find((c) => c.target === world.target);
	assert.equal(backup.rule, "backup-after-delivery");
	await work();
	assert.deepEqual((await rows(take.recording)).filter((c) => c.target).map((c) => c.target), [theirs]);
});

test("the brake stops a rule that was edited to take everything, until a person confirms", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({}, account);
	await stack.postgres.psql(`
		insert into rushes.recording (id, account, region, environment, state, saved_at, sent_at, bytes)
		select gen_random_uuid(), '${account}', 'eu1', '${env.id}', 'closed', '2026-01-01', '2026-01-01', 1
		from generate_series(1, 1500)`);
	await call("lifecycle_set", "test", account, env.id, "mistake", 1, null, null, true);
	await work();
	const [pause] = await call("retention_paused");
	assert.equal(pause.rule, "lifecycle");
	assert.equal(pause.by, "brake");
	const left = () => value(`select count(*) from rushes.recording where account = '${account}' and state = 'closed'`);
	assert.equal(await left(), "1500");
	await call("lifecycle_remove", "test", account, env.id, "mistake");
	await work();
	await call("lifecycle_set", "test", account, env.id, "meant", 1, null, null, true);
	await work();
	assert.equal(await left(), "1500", "paused until somebody confirms");
	await call("retention_pause_confirm", "test", "lifecycle", "recordings", "yes, all of them");
	await work();
	assert.equal(await left(), "0");
	assert.deepEqual(await call("retention_paused"), []);
});

test("a changed rule takes nothing of its account before all dates are derived, so that the brakes see all of it", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({}, account);
	const take = await delivered(env);
	await work();
	await call("lifecycle_set", "test", account, env.id, "soon", 1, null, null, true);
	await setClock("2026-03-05 00:00:00+00");
	await stack.postgres.psql(`select rushes.retention_recompute('${take.recording}'::uuid)`);
	assert.deepEqual(await call("sweep_decide", "janitor", 100), [], "the queue of changed facts is not worked off");
	await work();
	assert.equal(await stateOf(take.recording), "deleted");
});

test("what a brake let go is counted again when it is used up, and when facts of an account change", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({}, account);
	await stack.postgres.psql(`
		insert into rushes.recording (id, account, region, environment, state, saved_at, sent_at, bytes)
		select gen_random_uuid(), '${account}', 'eu1', '${env.id}', 'closed', '2026-01-01', '2026-01-01', 1
		from generate_series(1, 40)`);
	const decide = (wanted) => value(`select rushes.brake_decide('replaced', 'recordings', null, ${wanted}, l.last_value, q.last_value)
		from rushes.ledger_id_seq l, rushes.rules_change_id_seq q`);
	const hasLooked = () => value("select rushes.brake_has_looked('replaced', 'recordings')");
	const entry = () => stack.postgres.psql(`select rushes.add_ledger('decided', '${account}', null, null, 'replaced', null, '{}')`);
	assert.equal(await hasLooked(), "f");
	assert.equal(await decide(2), "f", "2 of 40 are let go");
	assert.equal(await hasLooked(), "t");
	await entry();
	assert.equal(await hasLooked(), "t");
	await entry();
	assert.equal(await hasLooked(), "f", "2 were decided since");
	await decide(2);
	await call("lifecycle_set", "test", account, env.id, "edited", 3000, null, null, true);
	assert.equal(await hasLooked(), "f", "a rule was edited since");
	await decide(2);
	await work();
	assert.equal(await hasLooked(), "f", "its dates were derived since");
	const all = Number(await value("select count(*) from rushes.recording where state <> 'deleted'"));
	assert.equal(await decide(Math.floor(all / 20) + 1), "t", "more than 5 % is not");
	await call("retention_pause_confirm", "test", "replaced", "recordings", "a test");
});

test("dates that were known for long need no brake", async () => {
	const account = await newAccount("trial", "2026-03-02 00:00+02");
	const env = await environment({}, account);
	await stack.postgres.psql(`
		insert into rushes.recording (id, account, region, environment, state, saved_at, sent_at, bytes)
		select gen_random_uuid(), '${account}', 'eu1', '${env.id}', 'closed', '2026-02-01', '2026-02-01', 1
		from generate_series(1, 1200)`);
	await stack.postgres.psql(`select rushes.retention_recompute(id) from rushes.recording where account = '${account}'`);
	await setClock("2026-03-30 00:00:00+00");
	await work();
	assert.equal(await value(`select count(*) from rushes.recording where account = '${account}' and state <> 'deleted'`), "0");
	assert.deepEqual(await call("retention_paused"), []);
});

test("a paused rule decides nothing, and explain says so", async () => {
	const take = await delivered(await environment({}, await newAccount("paid", null)));
	await call("retention_pause_set", "test", "work-delivered", "*", "looking into it");
	assert.equal((await call("sweep_decide", "storage-pusher", 100)).length, 0);
	const told = (await one("recording_explain", null, take.recording)).recording_explain;
	const working = told.copies.filter((c) => c.rule === "work-delivered");
	assert.equal(working.length, 4);
	assert.ok(working.every((c) => c.paused));
	assert.match(told.copies.find((c) => c.name === "storage").because, /kept until/);
	await call("retention_pause_confirm", "test", "work-delivered", "*", "all is well");
	assert.equal((await call("sweep_decide", "storage-pusher", 100)).length, 4);
	assert.equal(await refusal("retention_pause_confirm", "test", "work-delivered", "*", "again"), "RU002");
});

test("a held take does not hold up the one that replaces it, and goes when its hold is lifted", async () => {
	const env = await environment({}, await newAccount("paid", null));
	const broken = await saved(env, { sent: false });
	await call("hold_set", "test", broken.recording, true, "case 18");
	const whole = await saved(env);
	await stack.postgres.psql(`update rushes.recording set session = '${broken.session}', replaces = '${broken.recording}'
		where id = '${whole.recording}'`);
	await processed(await copied(whole));
	await work();
	assert.notEqual(await stateOf(broken.recording), "deleted");
	await call("hold_set", "test", broken.recording, false, "closed");
	await work();
	assert.equal(await stateOf(broken.recording), "deleted");
	assert.equal(await value(`select delete_rule from rushes.recording where id = '${broken.recording}'`), "replaced");
});

/** What the gate says to a machine that has counted so many seconds. */
const gate = async (machine, seconds, sure = true) => (await one("sweep_gate", machine, seconds * 1e6, sure)).clock;
const DAY = 86_400;

async function beginGates() {
	await stack.postgres.psql("delete from rushes.clock_reference; delete from rushes.retention_pause");
	assert.equal(await gate("a", 100), "steady", "the first machine is believed");
}

test("a clock set forward by a year deletes nothing, in no slice, until it is set right", async () => {
	const account = await newAccount("paid", "2026-03-05 15:00+02");
	const take = await delivered(await environment({}, account));
	await beginGates();
	await advance("1 min");
	assert.equal(await gate("a", 160), "steady");
	await setClock("2027-03-01 10:01:02+00");
	assert.equal(await gate("a", 162, false), "jumped");
	assert.deepEqual(await call("retention_paused"), [], "an answer that may have come late is not believed");
	assert.equal(await gate("a", 162), "jumped");
	const [pause] = await call("retention_paused");
	assert.deepEqual([pause.rule, pause.place, pause.by], ["*", "clock", "clock"]);
	assert.match(pause.reason, /from 2026-03-01 .* to 2027-03-01 .* counted 00:00:02/);
	assert.equal(await gate("b", 7), "held", "a machine that was booted now knows no better");
	for (const slice of ["ingest", "transcoder", "storage-pusher", "janitor"]) assert.deepEqual(await call("sweep_decide", slice, 100), []);
	await work();
	assert.equal(await stateOf(take.recording), "closed");
	assert.equal(await value("select count(*) from rushes.link where expires_at < rushes.rushes_now() - interval '30 days'") !== "0", true);
	assert.equal((await one("link_sweep", 100)).link_sweep, 0);
	assert.equal((await one("partitions_maintain", 3, 35)).dropped, 0);
	await setClock("2026-03-01 10:03:00+00");
	assert.equal(await gate("b", 100), "held");
	assert.equal(await gate("a", 280), "steady", "it counted as much as the clock says now");
	assert.deepEqual(await call("retention_paused"), []);
	await call("retention_pause_set", "test", "*", "clock", "a person's own doubts");
	assert.equal(await gate("a", 280), "held", "only a person ends a person's pause");
	await stack.postgres.psql("delete from rushes.retention_pause; delete from rushes.audit where action = 'retention.pause' and actor = 'test'");
	assert.equal(await value("select string_agg(action, ' ' order by id) from rushes.audit where subject = '* clock'"), "retention.pause retention.confirm");
});

test("a person confirms a clock that is right, and the brakes of the rules stay", async () => {
	await beginGates();
	await setClock("2026-06-01 10:00:00+00");
	assert.equal(await gate("a", 200), "jumped");
	assert.equal(await refusal("retention_pause_confirm", "test", "*", "*", "no"), "RU002");
	await call("retention_pause_confirm", "test", "*", "clock", "the machine's counter stood still");
	assert.equal(await gate("a", 201), "steady");
	assert.equal(await value("select rushes.is_released('lifecycle', 'recordings')"), "f");
	await setClock("2026-05-01 10:00:00+00");
	assert.equal(await gate("a", 202), "jumped", "backwards, too, and again");
	assert.equal((await call("retention_paused")).length, 1);
});

test("a weekend with everything stopped is no jump; a week that nobody counted is asked about", async () => {
	await beginGates();
	await advance("64 h");
	assert.equal(await gate("a", 100 + 64 * 3600), "steady", "the same boot counted it");
	await advance("64 h");
	assert.equal(await gate("b", 5), "steady", "booted on Monday");
	assert.equal(await gate("a", 100 + 128 * 3600), "steady");
	await advance("7 days");
	assert.equal(await gate("a", 100 + 128 * 3600 + 7 * DAY), "steady", "one counted all the while");
	await advance("7 days");
	assert.equal(await gate("c", 5), "jumped");
	assert.match((await call("retention_paused"))[0].reason, /7 days after the last sweep/);
	await call("retention_pause_confirm", "test", "*", "clock", "we were on holiday");
	assert.equal(await gate("c", 6), "steady");
});

test("of two machines the one that stood still is not believed", async () => {
	await beginGates();
	assert.equal(await gate("b", 1000), "steady");
	for (let minute = 1; minute <= 10; minute++) {
		await advance("1 min");
		assert.equal(await gate("b", 1000 + 60 * minute), "steady");
	}
	assert.equal(await gate("a", 130), "steady", "its virtual machine was asleep for nine minutes, and b was not");
	assert.deepEqual(await call("retention_paused"), []);
	await advance("1 min");
	assert.equal(await gate("a", 190), "steady");
	await advance("1 h");
	assert.equal(await gate("a", 191), "jumped", "b has said nothing meanwhile");
	assert.equal(await gate("b", 1000 + 660 + 3600), "steady", "b counted the hour: the clock is right");
	assert.deepEqual(await call("retention_paused"), []);
	assert.equal(await gate("a", 192), "steady");
});

test("what was removed at a target is looked for again after an hour and after a day", async () => {
	const take = await delivered(await environment());
	await call("recording_delete", take.recording, "deleted-by-user", "test", "a reason");
	await work();
	assert.equal(await stateOf(take.recording), "deleted", "it does not wait for the looks");
	assert.equal(await value(`select count(*) from rushes.job where recording = '${take.recording}'`), "0");
	const open = () => value(`select count(*) from rushes.second_look where recording = '${take.recording}'`);
	const takeLook = async () => (await one("second_look_take", "eu1", PUSHER, "15 min")).second_look_take;
	const others = () => stack.postgres.psql(`delete from rushes.second_look where recording <> '${take.recording}'`);
	await others();
	assert.equal(await open(), "4");
	assert.equal(await takeLook(), null, "not at once");
	await advance("59 min");
	assert.equal(await takeLook(), null);
	await advance("1 min");
	const look = await takeLook();
	assert.equal(look.recording, take.recording);
	assert.ok(look.copy.location && look.target.endpoint && look.number === 1);
	assert.equal(await takeLook(), null, "one at a time at one target");
	await call("second_look_failed", look.copy.id, look.attempt, "the target is down");
	await call("second_look_done", look.copy.id, look.attempt - 1, false, {});
	const dues = (await stack.postgres.query(`select due_at from rushes.second_look where failures = 1`)).map(({ due_at }) => iso(due_at));
	assert.deepEqual(dues, ["2026-03-01T11:02:00.000Z"], "the schedule of attempts");
	await advance("2 min");
	const entries = () => stack.postgres.query(`select evidence from rushes.ledger where recording = '${take.recording}' and kind = 'found-late'`);
	for (let i = 0; i < 4; i++) {
		const next = await takeLook();
		await call("second_look_done", next.copy.id, next.attempt, i === 0, { absent: true, versions: 1 });
	}
	assert.equal(await takeLook(), null);
	assert.deepEqual((await entries()).map(({ evidence }) => evidence), [{ absent: true, look: 1, versions: 1 }]);
	await setClock("2026-03-02 10:00:00+00");
	for (let i = 0; i < 3; i++) {
		const next = await takeLook();
		assert.equal(next.number, 2);
		await call("second_look_done", next.copy.id, next.attempt, false, {});
	}
	assert.equal(await open(), "1", "where something came late a day counts from then");
	await setClock("2026-03-02 11:02:00+00");
	const last = await takeLook();
	await call("second_look_done", last.copy.id, last.attempt, false, {});
	assert.equal(await open(), "0");
});

test("a file that is sent to a target again is not taken for one that came late", async () => {
	const account = await newAccount("paid", null);
	const env = await environment({ push_raw: false, push_snapshot: false, push_filmstrip: false }, account);
	const take = await processed(await copied(await saved(env)));
	const job = await claim("push", null, PUSHER);
	await call("push_begin", job.id, job.attempt, uuid(), "main.object", null);
	await call("job_failed", job.id, job.attempt, "reject", "no", true);
	await removeGoing();
	const open = () => value(`select count(*) from rushes.second_look where recording = '${take.recording}'`);
	assert.equal(await open(), "1", "what the attempt may have left is looked for");
	await stack.postgres.psql(`delete from rushes.second_look where recording <> '${take.recording}'`);
	await call("job_retry", job.id, "test");
	await advance("1 h");
	const look = (await one("second_look_take", "eu1", PUSHER, "15 min")).second_look_take;
	assert.equal(look.recording, take.recording);
	const again = await claim("push", null, PUSHER);
	assert.equal(await refusal("push_begin", again.id, again.attempt, uuid(), "main.object", null), "RU001", "not while it is being looked for");
	await call("second_look_done", look.copy.id, look.attempt, false, {});
	await call("push_begin", again.id, again.attempt, uuid(), "main.object", null);
	assert.equal(await open(), "0");
});

test("changed zone data derive the dates of that zone's accounts again", async () => {
	const cairo = await newAccount("paid", null, "Africa/Cairo");
	const watch = async () => Number((await one("zones_watch")).zones_watch);
	const waiting = async () => Number(await value(`select count(*) from rushes.rules_change where account = '${cairo}'`));
	await watch();
	assert.deepEqual([await watch(), await waiting()], [0, 0]);
	// as if the zone data of before had known nothing of a new clock change
	await stack.postgres.psql("update rushes.zone_seen set fingerprint = 'other' where zone = 'Africa/Cairo'");
	assert.deepEqual([await watch(), await waiting()], [1, 1]);
	assert.equal(await watch(), 0);
	await stack.postgres.psql("update rushes.zone_seen set fingerprint = 'other' where zone = 'Europe/Bucharest'");
	assert.equal(await watch(), 1);
	assert.equal(await waiting(), 2, "by the installation's zone all");
	await setClock("2027-01-02 00:00:00+00");
	assert.equal(await watch(), 0, "a new year is no change");
	await stack.postgres.psql("delete from rushes.rules_change");
});
