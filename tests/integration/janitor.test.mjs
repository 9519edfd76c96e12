// rushes-janitor on the real servers: deletions, personal metadata, overdue ones, partitions, several replicas, stop.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { after, before, describe, it } from "node:test";
import { waitFor } from "../../scripts/lib/process.mjs";
import { testStack } from "../lib/harness.mjs";

const NODE = "11111111-0000-4000-8000-000000000001";
const PLACE = `node/${NODE}`;

const stack = testStack("janitor", {
	overrides: { janitor: { RUSHES_JANITOR_SWEEP_EVERY: "200ms", RUSHES_JANITOR_WATCH_EVERY: "1s", RUSHES_JANITOR_OVERDUE_AFTER: "4d" } },
});
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
const rows = (text) => stack.postgres.query(text);
const until = (what, check, limitMs = 60_000) => waitFor(what, async () => (await check()) || null, { limitMs, pollMs: 100 });

let account;
let environment;

/** A saved recording with one segment on NODE, and personal metadata. */
async function makeRecording() {
	const [recording, session, copy] = [crypto.randomUUID(), crypto.randomUUID(), crypto.randomUUID()];
	await sql(`
		insert into rushes.session (account, id, environment, resume_hash, consent_text, consent_at, expires_at)
		values ('${account}', '${session}', '${environment}', '\\x01', 'yes', now(), now() + interval '1 hour');
		select rushes.recording_open('${recording}', '${account}', '${session}', 'video/webm', '192.0.2.7', 'a browser', null, null, null, null, null);
		select rushes.segment_prepare('${recording}', '${session}');
		select rushes.segment_open('${recording}', 1, 0, '${NODE}', 0, '${copy}', 'a.sealed',
			(select id from rushes.account_key_add('${account}', gen_random_uuid(), 'root', '\\x00')), '\\x01');
		select rushes.segment_present('${copy}', '${NODE}');
		select rushes.segment_close('${recording}', 0, '${NODE}', 100, sha256('x'), 5);
		select rushes.recording_saved('${recording}', 'user', true, false, false, 100, null);`);
	return { recording, copy };
}

const metric = async (name) => {
	const { body } = await stack.admin("janitor", "/metrics");
	const line = String(body).split("\n").find((text) => text.startsWith(`${name} `) || text.startsWith(`${name}{`));
	return line ? Number(line.slice(line.lastIndexOf(" ") + 1)) : null;
};

/** What it says of itself, or null while the machine is too busy for an answer. */
async function state() {
	const { status, body } = await stack.admin("janitor", "/debug/state");
	return status === 200 ? JSON.parse(body).janitor : null;
}

describe("rushes-janitor", () => {
	before(async () => {
		await stack.prepare();
		account = (await stack.ctl(["account", "create", "Test"])).id;
		environment = (await stack.ctl(["env", "create", "Test", "support"])).id;
		await sql(`select rushes.node_beat('${NODE}', 'eu1', 'ingest', 'https://localhost:1', 1, 1, false)`);
		await stack.startService("janitor");
	});
	after(() => stack.remove());

	it("turns the copies of a deleted recording going and ends with the proof", async () => {
		const { recording, copy } = await makeRecording();
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("the copy is going", async () => (await value(`select state from rushes.copy where id = '${copy}'`)) === "going");
		await until("personal metadata is gone", async () => (await value(`select count(*) from rushes.recording_personal where recording = '${recording}'`)) === "0");
		assert.equal(await value(`select state from rushes.recording where id = '${recording}'`), "deleting", "the owner has not confirmed");
		await sql(`select rushes.copy_gone('${copy}', '${PLACE}', '{"unlinked": true}')`);
		await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
		const ledger = await stack.ctl(["ledger", "list", recording]);
		assert.deepEqual(ledger.map(({ kind }) => kind).sort(), ["complete", "decided", "decided", "gone", "gone"]);
	});

	it("leaves what no rule of its own takes", async () => {
		const { recording, copy } = await makeRecording();
		await sql(`update rushes.copy set due_at = now() - interval '1 day', rule = 'raw-copied' where id = '${copy}'`);
		const before = await until("it says what it did", state);
		await until("it swept again", async () => ((await state())?.sweep.runs ?? 0) > before.sweep.runs + 2);
		assert.equal(await value(`select state from rushes.copy where id = '${copy}'`), "present");
		assert.equal(await value(`select count(*) from rushes.recording_personal where recording = '${recording}'`), "1");
	});

	it("raises the alarm for a deletion that is not complete in time", async () => {
		const { recording } = await makeRecording();
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("nothing is overdue", async () => (await metric("rushes_deletion_overdue")) === 0);
		await sql(`update rushes.recording set deleting_at = now() - interval '4 days 1 hour' where id = '${recording}'`);
		await until("the metric rises", async () => (await metric("rushes_deletion_overdue")) === 1);
		const [listed] = (await stack.ctl(["recording", "overdue"])).filter((one) => one.recording === recording);
		assert.deepEqual([listed.place, listed.reason], [PLACE, "the owner has not confirmed"]);
		const line = stack.log("janitor").find((entry) => entry.level === "error" && entry.recording === recording);
		assert.match(line.message, /overdue: node\/1{8}-.*the owner has not confirmed/);
		for (const { id } of await rows(`select id from rushes.copy where recording = '${recording}'`))
			await sql(`select rushes.copy_gone('${id}', '${PLACE}', '{}')`);
		await until("the alarm ends", async () => (await metric("rushes_deletion_overdue")) === 0);
	});

	it("computes the dates of an account's recordings again when its plan changes", async () => {
		const { recording } = await makeRecording();
		const due = () => value(`select due_rule || ' ' || (due_at > now() + interval '28 days') from rushes.recording where id = '${recording}'`);
		const plan = (expires) => stack.ctl(["account", "plan", "Test", "--plan", "paid", "--expires", expires]);
		await plan(new Date(Date.now() + 2 * 86_400_000).toISOString());
		await until("it goes with the subscription", async () => (await due()) === "subscription-expired true");
		await plan("never");
		await until("it stays", async () => (await due()) === "");
		await until("nothing waits", async () => (await value("select count(*) from rushes.rules_change")) === "0");
		assert.ok((await state()).changes.done >= 2);
	});

	it("takes by a lifecycle rule what is old enough, and not what is held", async () => {
		const taken = await makeRecording();
		const held = await makeRecording();
		const young = await makeRecording();
		for (const { recording } of [taken, held]) await sql(`update rushes.recording set saved_at = now() - interval '32 days' where id = '${recording}'`);
		await stack.ctl(["recording", "hold", held.recording, "--reason", "case 4711"]);
		const month = ["env", "lifecycle", "set", "Test", "support", "month"];
		await stack.ctl([...month, "--age-days", "30"]);
		const { recordings, total } = await stack.ctl(["retention", "preview", "Test", "support", "--rule", "month"]);
		const due = recordings.filter((r) => new Date(r.due_at) <= Date.now() && !r.held).map(({ recording }) => recording);
		assert.deepEqual([due, total.due_now], [[taken.recording], 1]);
		await until("the rule that is off was followed", async () => (await value("select count(*) from rushes.rules_change")) === "0");
		assert.equal(await value(`select state from rushes.recording where id = '${taken.recording}'`), "saved");

		await stack.ctl([...month, "--enabled", "on", "--yes"]);
		await until("the old one is going", async () => (await value(`select state from rushes.copy where id = '${taken.copy}'`)) === "going");
		await until("nothing waits", async () => (await value("select count(*) from rushes.rules_change")) === "0");
		const stateOf = ({ recording }) => value(`select state from rushes.recording where id = '${recording}'`);
		assert.deepEqual([await stateOf(taken), await stateOf(held), await stateOf(young)], ["deleting", "saved", "saved"]);
		await stack.ctl(["recording", "release", held.recording, "--reason", "settled"]);
		await until("what was held goes too", async () => (await stateOf(held)) === "deleting");
		await stack.ctl(["env", "lifecycle", "remove", "Test", "support", "month"]);
	});

	it("destroys the key of a closed account, and not before its last recording is gone", async () => {
		const [first, firstEnvironment] = [account, environment];
		account = (await stack.ctl(["account", "create", "Leaving"])).id;
		environment = (await stack.ctl(["env", "create", "Leaving", "support"])).id;
		const { recording, copy } = await makeRecording();
		const keys = () => value(`select count(*) from rushes.account_key where account = '${account}'`);
		await stack.ctl(["account", "close", "Leaving", "--reason", "the customer left", "--yes"]);
		await until("the copy is going", async () => (await value(`select state from rushes.copy where id = '${copy}'`)) === "going");
		const before = (await state())["account-keys"].runs;
		await until("it looked for keys again", async () => ((await state())?.["account-keys"].runs ?? 0) > before + 1);
		assert.equal(await keys(), "1", "a recording is left");
		await sql(`select rushes.copy_gone('${copy}', '${PLACE}', '{"unlinked": true}')`);
		await until("the recording is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
		await until("the key is gone", async () => (await keys()) === "0");
		const entry = `account = '${account}' and recording is null and rule = 'account-closed'`;
		assert.equal(await value(`select evidence->>'account_key' from rushes.ledger where ${entry}`), "destroyed");
		[account, environment] = [first, firstEnvironment];
	});

	it("raises an alarm while a rule is paused, once", async () => {
		const gauge = 'rushes_retention_paused{rule="replaced",place="*"}';
		const lines = (level) => stack.log("janitor").filter((entry) => entry.level === level && entry.message.includes("rule replaced "));
		await stack.ctl(["retention", "pause", "replaced", "--reason", "a look at it"]);
		const [paused] = await until("it tells", async () => ((await state())?.paused ?? []).length === 1 && (await state())?.paused);
		assert.equal(await metric(gauge), 1);
		assert.deepEqual([paused.rule, paused.place, paused.reason], ["replaced", "*", "a look at it"]);
		assert.match(paused.by, /^rushesctl:/);
		const runs = (await state()).pauses.runs;
		await until("it looked again", async () => ((await state())?.pauses.runs ?? 0) > runs + 1);
		assert.equal(lines("error").length, 1);
		assert.match(lines("error")[0].message, /paused on \* since .* by rushesctl:.*: a look at it; `rushesctl retention confirm`/);
		await stack.ctl(["retention", "confirm", "replaced", "--reason", "seen"]);
		await until("it tells no more", async () => (await state())?.paused.length === 0);
		assert.equal(await metric(gauge), 0);
		assert.match(lines("info")[0].message, /works again on \*/);
	});

	it("brakes a rule that was edited to take everything, until a person confirms", async () => {
		await sql(`insert into rushes.recording (id, account, region, environment, state, saved_at, sent_at, bytes)
			select gen_random_uuid(), '${account}', 'eu1', '${environment}', 'closed', now() - interval '10 days', now(), 1 from generate_series(1, 1200)`);
		const closed = () => value(`select count(*) from rushes.recording where account = '${account}' and state = 'closed' and bytes = 1`);
		await stack.ctl(["env", "lifecycle", "set", "Test", "support", "mistake", "--age-days", "3", "--enabled", "on", "--yes"]);
		await until("it is braked", async () => (await metric('rushes_retention_paused{rule="lifecycle",place="recordings"}')) === 1);
		assert.equal(await metric('rushes_retention_braked_total{rule="lifecycle"}'), 1);
		const before = (await until("it says what it did", state)).sweep.runs;
		await until("it swept again", async () => ((await state())?.sweep.runs ?? 0) > before + 2);
		assert.equal(await closed(), "1200");
		await stack.ctl(["retention", "confirm", "lifecycle", "--place", "recordings", "--reason", "all of them"]);
		await until("they go", async () => (await closed()) === "0");
	});

	it("makes the partitions of the next days and drops old ones", async () => {
		const day = (offset) => value(`select to_char((now() at time zone 'UTC')::date + ${offset}, 'YYYYMMDD')`);
		for (const table of ["job_done", "attempt", "event"])
			await until(`${table} of the day after tomorrow`, async () => (await value(`select to_regclass('rushes.${table}_${await day(2)}') is not null`)) === "t");
		const old = await day(-50);
		await sql(`create table rushes.event_${old} partition of rushes.event for values from ('${old}') to ('${await day(-49)}')`);
		await sql(`alter table rushes.event_${old} owner to rushes_migrate`);
		await stack.kill("janitor");
		await stack.restart("janitor");
		await until("the old partition is gone", async () => (await value(`select to_regclass('rushes.event_${old}') is null`)) === "t");
	});

	it("goes on when the database was away", async () => {
		await stack.kill("postgres");
		await until("it is not ready", async () => (await stack.admin("janitor", "/readyz")).status !== 200);
		assert.equal((await stack.admin("janitor", "/healthz")).status, 200);
		await stack.restart("postgres");
		await until("it is ready", async () => (await stack.admin("janitor", "/readyz")).status === 200);
		const { recording, copy } = await makeRecording();
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("the copy is going", async () => (await value(`select state from rushes.copy where id = '${copy}'`)) === "going");
	});

	const stopped = () => stack.log("janitor").filter((entry) => entry.message === "rushes-janitor stopped").length;

	it("stops on SIGTERM", async () => {
		process.kill(stack.services.janitor.pid, "SIGTERM");
		await until("it says that it stopped", () => stopped() === 1);
	});

	it("stops while database and broker are away", async () => {
		await stack.restart("janitor");
		await stack.kill("postgres");
		await stack.kill("nats");
		const before = stopped();
		process.kill(stack.services.janitor.pid, "SIGTERM");
		await until("it says that it stopped", () => stopped() === before + 1);
	});
});
