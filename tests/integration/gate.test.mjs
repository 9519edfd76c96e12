// The gate of a restored database: no step works behind it, what closes it, and what opens it without a person.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { INGEST, TRANSCODER, beginTest, one, refusal, stack, startDatabase, uuid, value } from "../lib/steps.mjs";

const sql = (text) => stack.postgres.psql(text);
const state = async () => (await one("service_gate")).state;
// what refusal() answers for a call that is not refused
const ACCEPTED = "P0001";
const close = (why = "test") => sql(`select rushes.gate_close('person', '${why}')`);
const OPEN = "update rushes.installation set state = 'open', is_synchronous = false; select rushes.gate_remember(true); update rushes.node set beats = null, is_ahead = false; update rushes.restore set opened_at = now()";

before(startDatabase);
beforeEach(async () => {
	await sql(OPEN);
	await beginTest();
});
after(() => stack.remove());

test("no function that a service or the operator executes works while the gate is closed, but for those of the gate", async () => {
	const open = await value(`select string_agg(p.proname, ' ' order by p.proname) from pg_proc p
		where p.pronamespace = 'rushes'::regnamespace and p.prosecdef
		  and exists (select from aclexplode(p.proacl) a where a.grantee <> p.proowner)
		  and p.prosrc !~ 'rushes\\.require_(open|witnessed)\\(' and p.proname !~ '^restore_'`);
	assert.equal(open, "gate_compare gate_try_open gate_waits node_witness service_gate");
	await close();
	assert.equal(await state(), "restoring");
	// every one of them, with nulls for arguments: what it would have answered does not matter
	const functions = await stack.postgres.query(`select p.proname as name, p.pronargs as n from pg_proc p
		where p.pronamespace = 'rushes'::regnamespace and p.prosecdef and p.proname !~ '^restore_'
		  and exists (select from aclexplode(p.proacl) a where a.grantee <> p.proowner)
		  and p.proname <> all (array['gate_compare', 'gate_try_open', 'gate_waits', 'node_witness', 'service_gate'])`);
	assert.ok(functions.length > 80);
	const text = functions.map(({ name, n }) => `begin perform rushes.${name}(${Array(n).fill("null").join(",")}); raise exception '${name} works';
		exception when sqlstate 'RU006' then null; end;`).join("\n");
	await sql(`do $t$ begin ${text} end $t$`);
	// the operator may look, and a service may not
	const as = (role, query) => sql(`set session authorization ${role}; ${query}`).then(() => "works", (error) => /ERROR: +(.*)/.exec(error.stderr)[1]);
	assert.equal(await as("rushes_ctl", `select rushes.recording_get(null, '${uuid()}')`), "works");
	assert.match(await as("rushes_linkgen", `select rushes.recording_get(null, '${uuid()}')`), /rushesctl restore reconcile/);
	assert.match(await as("rushes_ctl", `select rushes.hold_set('t', '${uuid()}', true, 'r')`), /rushesctl restore reconcile/);
});

test("another cluster, database, table or timeline closes the gate by itself, once", async () => {
	for (const [what, change, cause] of [
		["cluster", "system_identifier = 1", "dump"],
		["database", "database_oid = 1", "dump"],
		["table", "relation_oid = 1", "dump"],
		["timeline", "timeline = '0000000A'", "timeline"],
	]) {
		await sql(`update rushes.installation set ${change}, server_start = now() - interval '1 day'`);
		assert.equal(await refusal("job_claim", null, "copy", "eu1", "w", null, "30 s"), "RU006", `${what}: before anybody asked`);
		assert.equal(await state(), "restoring", what);
		assert.equal(await value("select restoring_cause from rushes.installation"), cause);
		const restores = await value("select count(*) from rushes.restore");
		assert.equal(await state(), "restoring");
		assert.equal(await value("select count(*) from rushes.restore"), restores);
		await sql(OPEN);
	}
	// a server that only started again
	await sql("update rushes.installation set server_start = now() - interval '1 day'");
	assert.equal(await refusal("recordings_open", INGEST, 1), ACCEPTED);
	assert.equal(await state(), "open");
});

test("a spool that has seen more beats than the database knows closes the gate", async () => {
	const beat = async (node, seen) => (await one("node_witness", node, seen)).node_witness;
	assert.equal(await beat(INGEST, 0), 1);
	assert.equal(await beat(INGEST, 1), 2);
	assert.equal(await beat(INGEST, 1), 3, "an answer that did not arrive");
	await sql("update rushes.node set beats = 2");
	assert.equal(await beat(INGEST, 3), null);
	assert.equal(await state(), "restoring");
	assert.match(await value("select restoring_why from rushes.installation"), /has seen 3 beats written down, this database knows of 2/);
});

test("after a start of PostgreSQL nothing is deleted by date before somebody outside has confirmed the database", async () => {
	const started = "update rushes.installation set witnessed_start = now() - interval '1 day'";
	await sql(`${started}; update rushes.node set beat_at = beat_at - interval '1 hour'`);
	assert.equal(await refusal("sweep_decide", "ingest", 10), "RU006");
	assert.equal(await refusal("job_claim", null, "copy", "eu1", "w", TRANSCODER, "30 s"), ACCEPTED);
	// a spool that was away for long is no witness
	await sql(`update rushes.node set beats = 5, beat_at = beat_at - interval '1 day' where id = '${INGEST}'`);
	await one("node_witness", INGEST, 5);
	assert.equal(await refusal("sweep_decide", "ingest", 10), "RU006");
	await sql(`update rushes.node set beats = 5 where id = '${TRANSCODER}'`);
	await one("node_witness", TRANSCODER, 5);
	assert.equal(await refusal("sweep_decide", "ingest", 10), ACCEPTED);
	await sql(started);
	assert.equal((await one("gate_compare", null, null)).gate_compare, null);
	assert.equal(await refusal("sweep_decide", "ingest", 10), ACCEPTED);
	assert.match((await one("gate_compare", 7, "\\x00")).gate_compare, /ahead/);
	assert.equal(await state(), "restoring");
});

test("after a failover the gate opens by itself only when nothing can be lost", async () => {
	const tried = async (last = 0, root = null) => (await one("gate_try_open", last, root)).gate_try_open;
	const failover = (synchronous) => sql(`${OPEN}; update rushes.installation set timeline = '0000000A', is_synchronous = ${synchronous}`);
	await failover(false);
	assert.equal(await state(), "restoring");
	assert.match(await tried(), /did not wait for a standby/);
	await failover(true);
	assert.equal(await state(), "restoring");
	assert.match(await tried(), /waits for the spools/);
	await one("node_witness", INGEST, 4);
	assert.match(await tried(), /waits for the spools 2222/);
	await one("node_witness", TRANSCODER, 4);
	assert.match(await tried(3, "\\x00"), /target is ahead/);
	assert.equal(await tried(), null);
	assert.equal(await state(), "open");
	await failover(true);
	await sql("update rushes.node set beats = 3");
	assert.equal(await state(), "restoring");
	for (const node of [INGEST, TRANSCODER]) await one("node_witness", node, 4);
	assert.match(await tried(), /has seen beats/);
	await sql(OPEN);
	await close();
	assert.equal(await tried(), "test", "what a person closed, a person opens");
});
