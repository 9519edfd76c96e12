// Clocks that are wrong, before all five services: nothing is deleted until they are right or a person says that they are.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { after, before, describe, it } from "node:test";
import { SERVICES } from "../../scripts/lib/identities.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { testStack } from "../lib/harness.mjs";

const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const NODE = "11111111-0000-4000-8000-000000000001";

const stack = testStack("clock", {
	overrides: {
		"storage-pusher": { RUSHES_PUSHER_SWEEP_EVERY: "300ms" },
		janitor: { RUSHES_JANITOR_SWEEP_EVERY: "300ms", RUSHES_JANITOR_WATCH_EVERY: "1s" },
		linkgen: { RUSHES_LINKGEN_SWEEP_EVERY: "1s" },
	},
});
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
const until = (what, check) => waitFor(what, async () => (await check()) || null, { limitMs: 60_000, pollMs: 100 });

/** PostgreSQL's clock, as every service asks it, set by so much. */
const setAhead = (interval) => sql(`create or replace function rushes.rushes_now() returns timestamptz language sql stable parallel safe
	as $$ select now() + interval '${interval}' $$`);
const refuses = async (service, reason) => (await stack.admin(service, "/metrics")).body.includes(`rushes_retention_refused{reason="${reason}"} 1`);
const allRefuse = async (reason, is = true) => {
	for (const service of SERVICES) if ((await refuses(service, reason)) !== is) return false;
	return true;
};
const sweeps = async () => JSON.parse((await stack.admin("janitor", "/debug/state")).body).janitor.sweep.runs;

describe("clocks", () => {
	let recording, link;
	const facts = () => value(`select (select state from rushes.recording where id = '${recording}') || ' ' ||
		(select count(*) from rushes.link where id = '${link}') || ' ' || (select count(*) from rushes.ledger)`);
	const nothingGoes = async () => {
		const before = await sweeps();
		await until("the janitor looked again", async () => (await sweeps()) > before + 2);
		assert.equal(await facts(), "saved 1 0");
	};

	before(async () => {
		await stack.start();
		const { id: account } = await stack.ctl(["account", "create", "Test"]);
		const { id: environment } = await stack.ctl(["env", "create", "Test", "support"]);
		await stack.ctl(["env", "lifecycle", "set", "Test", "support", "year", "--age-days", "180", "--enabled", "on", "--yes"]);
		const made = await stack.ctl(["link", "create", account, "support", "--expires", "1h"]);
		link = made.id;
		const [session, copy] = [crypto.randomUUID(), crypto.randomUUID()];
		recording = crypto.randomUUID();
		await sql(`select rushes.node_beat('${NODE}', 'eu1', 'ingest', 'https://localhost:1', 1, 1, false);
			insert into rushes.session (account, id, environment, resume_hash, consent_text, consent_at, expires_at)
			values ('${account}', '${session}', '${environment}', '\\x01', 'yes', now(), now() + interval '1 hour');
			select rushes.recording_open('${recording}', '${account}', '${session}', 'video/webm', '192.0.2.7', 'a browser', null, null, null, null, null);
			select rushes.segment_prepare('${recording}', '${session}');
			select rushes.segment_open('${recording}', 1, 0, '${NODE}', 0, '${copy}', 'a.sealed',
				(select id from rushes.account_key_add('${account}', gen_random_uuid(), 'root', '\\x00')), '\\x01');
			select rushes.segment_present('${copy}', '${NODE}');
			select rushes.segment_close('${recording}', 0, '${NODE}', 100, sha256('x'), 5);
			select rushes.recording_saved('${recording}', 'user', true, false, false, 100, null);`);
		await until("all sweep", async () => (await value("select count(*) from rushes.clock_reference")) === "1");
		await until("the date stands", async () => (await value(`select due_rule from rushes.recording where id = '${recording}'`)) === "lifecycle");
	});
	after(() => stack.remove());

	it("a clock of PostgreSQL's set forward by a year stops every service, and the alarm is raised", async () => {
		await setAhead("1 year");
		await until("all refuse", () => allRefuse("clock-jumped"));
		await nothingGoes();
		const [pause] = await until("it is told", async () => {
			const paused = await stack.ctl(["retention", "paused"]);
			return paused.length > 0 && paused;
		});
		assert.deepEqual([pause.rule, pause.place, pause.by], ["*", "clock", "clock"]);
		await until("the alarm shows", async () => (await stack.admin("janitor", "/metrics")).body.includes('rushes_retention_paused{rule="*",place="clock"} 1'));
		assert.ok(stack.log("janitor").some(({ level, message }) => level === "error" && /ALARM: rule \* is paused on clock/.test(message)));
	});

	it("nobody forgets it by a restart", async () => {
		for (const service of ["janitor", "linkgen"]) {
			await stack.kill(service);
			await stack.restart(service);
		}
		await until("all refuse", () => allRefuse("clock-jumped"));
		await nothingGoes();
	});

	it("it ends by itself when the clock is right again", async () => {
		await setAhead("0 s");
		await until("all sweep", () => allRefuse("clock-jumped", false));
		assert.deepEqual(await stack.ctl(["retention", "paused"]), []);
		await nothingGoes();
	});

	it("a service's own clock that is wrong stops that service alone", async () => {
		await stack.kill("janitor");
		stack.overrides.janitor = { ...stack.overrides.janitor, LD_PRELOAD: FAKETIME, FAKETIME: "+1h", FAKETIME_DONT_FAKE_MONOTONIC: "1" };
		await stack.restart("janitor");
		await until("it refuses", () => refuses("janitor", "clocks-differ"));
		await nothingGoes();
		assert.ok(!(await refuses("storage-pusher", "clocks-differ")));
		assert.deepEqual(await stack.ctl(["retention", "paused"]), [], "PostgreSQL's clock is right");
		for (const name of ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"]) delete stack.overrides.janitor[name];
		await stack.kill("janitor");
		await stack.restart("janitor");
		await until("it sweeps", async () => !(await refuses("janitor", "clocks-differ")));
	});

	it("a person who confirms it is believed", async () => {
		await setAhead("1 year");
		await until("all refuse", () => allRefuse("clock-jumped"));
		await stack.ctl(["retention", "confirm", "*", "--place", "clock", "--reason", "a test of a year"]);
		await until("it is due now", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleting");
		await until("the link goes", async () => (await value(`select count(*) from rushes.link where id = '${link}'`)) === "0");
		await until("all sweep", () => allRefuse("clock-jumped", false));
	});
});
