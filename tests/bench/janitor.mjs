// What deletion costs in PostgreSQL: idle looks, decisions and their ledger entries a second, and how that grows with the tables.
//
//	node tests/bench/janitor.mjs        SMALL=1000000 ROWS=10000000 CONNECTIONS=2
//
// A PostgreSQL of its own, with fsync, is filled twice. Prints lines `bench NAME VALUE UNIT`; ends with 1 when a statement of a
// sweep reads a whole large table.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { stopProcess } from "../../scripts/lib/process.mjs";
import { ROOT, Stack } from "../../scripts/lib/stack.mjs";
import { SWEEPS } from "./janitor/sweeps.mjs";
import { FIRST, LANES } from "./janitor/tables.mjs";

const HERE = path.join(path.dirname(fileURLToPath(import.meta.url)), "janitor");
const number = (name, fallback) => Number(process.env[name] || fallback);
const small = number("SMALL", 1_000_000);
const large = number("ROWS", 10_000_000);
const connections = number("CONNECTIONS", 2);
/** What one call of a sweep decides, as the services ask for it. */
const BATCH = 500;

const BIG = ["recording", "segment", "file", "copy", "push", "recording_personal", "ledger", "link", "session"];
const LOADING = `fsync = off\nwal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n`;
const SETTINGS = `
shared_buffers = 2GB
max_wal_size = 8GB
checkpoint_timeout = 15min
wal_compression = lz4
jit = off
`;

const stack = new Stack({ dir: path.join(ROOT, "var/bench/janitor"), durable: true });
const { dir } = stack;
const bench = (name, value, unit) => console.log(`bench ${name} ${value >= 100 ? Math.round(value) : value.toFixed(2)} ${unit}`);
const label = (rows) => (rows >= 1e6 ? `${rows / 1e6}m` : `${rows / 1e3}k`);
const sql = (text) => stack.postgres.psql(text);

async function restart(settings) {
	const { postgres } = stack;
	const file = path.join(postgres.dir, "data/postgresql.conf");
	stack.plainSettings ??= fs.readFileSync(file, "utf8");
	if (!(await stopProcess(dir, postgres.record, { signal: "SIGINT", limitMs: 300_000 }))) throw new Error("PostgreSQL did not stop");
	fs.writeFileSync(file, stack.plainSettings + SETTINGS + settings);
	await postgres.start();
	await sql("select rushes.gate_remember(true)");
}

async function load(rows) {
	const begin = Date.now();
	const name = (table) => `rushes.${table}`;
	await restart(LOADING);
	const tables = (await sql("select string_agg(c.oid::regclass::text, ', ') from pg_class c where relnamespace = 'rushes'::regnamespace and relkind in ('r', 'p') and relname <> all (array['installation', 'transition', 'retention_rule', 'schema_migration', 'restore'])")).trim();
	await sql(`drop schema if exists bench cascade; truncate ${tables}`);
	const text = fs.readFileSync(path.join(HERE, "load.sql"), "utf8");
	await sql(text.replaceAll(":rows", String(rows)));
	await sql(`do $$ declare t text; d date; begin
		foreach t in array array['job_done', 'attempt', 'event'] loop
			for d in select current_date - n from generate_series(1, 40) n loop
				execute format('create table if not exists rushes.%I partition of rushes.%I for values from (%L) to (%L)',
					t || to_char(d, '_YYYYMMDD'), t, d, d + 1);
			end loop;
		end loop;
	end $$`);
	const fill = async (lane) => {
		for (const [table, insert] of lane) {
			await sql(`set session_replication_role = replica; set maintenance_work_mem = '1GB'; set jit = off;
				call bench.load('${name(table)}', $load$${insert}$load$)`);
		}
	};
	await fill(FIRST);
	await Promise.all(LANES.map(fill));
	await sql("select setval('rushes.ledger_id_seq', (select max(id) + 1 from rushes.ledger)); vacuum analyze");
	await restart("autovacuum_vacuum_cost_limit = 2000\n");
	await sql("checkpoint");
	const sizes = await stack.postgres.query(`
		select c.relname as table, c.reltuples::bigint as rows, pg_table_size(c.oid) / 1048576 as mib, pg_indexes_size(c.oid) / 1048576 as index_mib
		from pg_class c where c.relnamespace = 'rushes'::regnamespace and c.relname = any ('{${BIG}}') order by c.relname`);
	const count = await sql("select pg_database_size('rushes') / 1048576");
	for (const { table, rows: n, mib, index_mib } of sizes) console.log(`table ${table}: ${n} rows, ${mib} MiB, indexes ${index_mib} MiB`);
	console.log(`database of ${rows} recordings: ${count.trim()} MiB, loaded in ${Math.round((Date.now() - begin) / 1000)} s`);
}

/** Times of each look when nothing is due: the median of 21 calls, in one session, as a service has it. */
async function idle(rows) {
	const totals = {};
	for (const [service, looks] of Object.entries(SWEEPS)) {
		const calls = looks.map(([name, call]) => `('${name}', $q$${call}$q$)`);
		const lines = await sql(`
			create temporary table times (name text, ms double precision);
			do $$ declare q record; t timestamptz; begin
				for i in 0 .. 21 loop
					for q in select * from (values ${calls.join(", ")}) v(name, call) loop
						t := clock_timestamp();
						execute 'select count(*) from ' || q.call;
						if i > 0 then insert into times values (q.name, extract(epoch from clock_timestamp() - t) * 1000); end if;
					end loop;
				end loop;
			end $$;
			select name, percentile_cont(0.5) within group (order by ms) from times group by name`);
		const times = lines.trim().split("\n").map((line) => line.split("|"));
		for (const [name, ms] of times) console.log(`idle ${label(rows)} ${service}.${name.replace(" ", ".")} ${Number(ms).toFixed(3)} ms`);
		totals[service] = times.reduce((sum, [, ms]) => sum + Number(ms), 0);
	}
	for (const [service, ms] of Object.entries(totals)) bench(service === "janitor" ? `janitor.idle_sweep_ms.${label(rows)}` : `janitor.idle_sweep_ms.${label(rows)}.${service}`, ms, "ms");
	return totals.janitor;
}

/** The large tables that a statement of `text` reads from end to end. */
async function wholeReads(text) {
	const { log } = stack.postgres.record;
	const from = fs.statSync(log).size;
	await sql(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
		begin; ${text}; rollback;`);
	const plans = fs.readFileSync(log, "utf8").slice(from);
	return [...plans.matchAll(/Seq Scan on (\w+)/g)].map(([, table]) => table).filter((table) => BIG.includes(table));
}

async function checkPlans(rows) {
	const looks = new Map(Object.values(SWEEPS).flat());
	const found = [];
	for (const [name, call] of looks) for (const table of await wholeReads(`select count(*) from ${call}`)) found.push(`${name} reads all of ${table}`);
	for (const line of new Set(found)) console.log(`WHOLE ${label(rows)}: ${line}`);
	return found.length;
}

/** Runs the same script in so many sessions at once. */
const sessions = (count, text) =>
	Promise.all(
		Array.from({ length: count }, () => sql(text)),
	);

const SWEEP = `do $$ declare n bigint; begin
	loop
		select count(*) into n from rushes.sweep_decide('janitor', ${BATCH});
		commit;
		exit when n < ${BATCH};
	end loop;
end $$`;

const decided = async () => (await stack.postgres.query(`select count(*) as entries, count(*) filter (where copy is null) as recordings
	from rushes.ledger where batch is null and kind = 'decided'`))[0];

/** A change of facts makes `what` due; the dates are derived again, and the sweeps decide until nothing is left. Seconds. */
async function due(rows, what, change) {
	await sql("checkpoint");
	let begin = Date.now();
	await sql(`${change}; do $$ begin while rushes.rules_change_work(500) > 0 loop commit; end loop; end $$`);
	const derived = (Date.now() - begin) / 1000;
	const before = await decided();
	await sql("checkpoint");
	begin = Date.now();
	// a fifth of the small table is braked, rightly: the person confirms
	const braked = await sql("select count(*) from rushes.sweep_brakes('janitor')");
	if (Number(braked) > 0) await sql("update rushes.retention_pause set confirmed_at = rushes.rushes_now()");
	await sessions(connections, SWEEP);
	const seconds = (Date.now() - begin) / 1000;
	const after = await decided();
	const recordings = after.recordings - before.recordings;
	const entries = after.entries - before.entries;
	console.log(`due ${label(rows)} ${what}: ${recordings} recordings and ${entries - recordings} copies decided in ${seconds.toFixed(2)} s, dates derived in ${derived.toFixed(2)} s`);
	return { seconds, recordings, entries, derived };
}

const expire = (n) => `select rushes.account_plan_set('bench', bench.fixed(1, ${n}), 'paid', now() - interval '40 days')`;
const age = (n) => [0, 1].map((side) => `select rushes.lifecycle_set('bench', bench.fixed(1, ${n}), bench.fixed(2, ${2 * n + side}), 'age', 30, null, null, true)`).join("; ");

async function measure(rows) {
	const idleMs = await idle(rows);
	const whole = await checkPlans(rows);
	const few = await due(rows, "1,000 spread over all", expire(2003));
	const follow = await due(rows, "100,000 that follow one another", age(2001));
	const spread = await due(rows, "100,000 spread over all", expire(2002));
	bench(`janitor.sweep_ms.${label(rows)}.due_1000`, few.seconds * 1000, "ms");
	for (const [name, result] of [["", follow], [".spread", spread]]) {
		bench(`janitor.decisions_per_s${name}.${label(rows)}`, result.recordings / result.seconds, "1/s");
		bench(`janitor.ledger_entries_per_s${name}.${label(rows)}`, result.entries / result.seconds, "1/s");
		bench(`janitor.dates_per_s${name}.${label(rows)}`, result.recordings / result.derived, "1/s");
	}
	return { idleMs, few, follow, spread, whole };
}

try {
	await stack.prepare();
	await load(small);
	const one = await measure(small);
	await load(large);
	const ten = await measure(large);
	const grown = (pick) => pick(ten) / pick(one);
	bench("janitor.decisions_per_s", ten.follow.recordings / ten.follow.seconds, "1/s");
	bench("janitor.cost_10m_vs_1m", grown(({ follow }) => follow.seconds / follow.recordings), "ratio");
	bench("janitor.cost_10m_vs_1m.due_1000", grown(({ few }) => few.seconds / few.recordings), "ratio");
	bench("janitor.cost_10m_vs_1m.spread", grown(({ spread }) => spread.seconds / spread.recordings), "ratio");
	bench("janitor.cost_10m_vs_1m.idle", grown(({ idleMs }) => idleMs), "ratio");
	process.exitCode = one.whole + ten.whole > 0 ? 1 : 0;
} finally {
	await stack.remove();
}
