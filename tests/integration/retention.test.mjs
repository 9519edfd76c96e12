// The rules of retention by date: plans of accounts, lifecycle, holds, backups, brakes. In the real PostgreSQL with a clock that
// the test sets.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import {
	advance, beginTest, call, copied, environment, literal, next, one, processed, push, refusal, removeGoing, rows, saved, setClock, stack,
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
