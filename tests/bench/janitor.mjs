// What deletion costs in PostgreSQL: idle looks, decisions and their ledger entries a second, and how that grows with the tables.
//
//	node tests/bench/janitor.mjs [load | measure | remove]        SMALL=1000000 ROWS=10000000 CONNECTIONS=2
//
// `load` fills two PostgreSQLs of its own and stops them; `measure` starts one after the other, with fsync, and uses them up;
// `remove` ends and removes what is there. Without a word it does all three. Prints lines `bench NAME VALUE UNIT`; ends with 1
// when a statement of a sweep reads a whole large table.
import fs from "node:fs";
import { BIG, Database, label } from "./janitor/database.mjs";
import { SWEEPS } from "./janitor/sweeps.mjs";

const number = (name, fallback) => Number(process.env[name] || fallback);
const connections = number("CONNECTIONS", 2);
/** What one call of a sweep decides, as the services ask for it. */
const BATCH = 500;

/** The one that is measured now. */
let database;
const bench = (name, value, unit) => console.log(`bench ${name} ${value >= 100 ? Math.round(value) : value.toFixed(2)} ${unit}`);
const sql = (text) => database.sql(text);

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
	const { log } = database;
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

/** What slice_sweep() of libcommon/node does: the gate once, then brakes and a batch, each a transaction, until less is due. */
const SWEEP = `do $$ declare n bigint; begin
	perform rushes.sweep_gate('bench', (extract(epoch from clock_timestamp()) * 1000000)::bigint, false);
	commit;
	loop
		perform rushes.sweep_brakes('janitor');
		commit;
		select count(*) into n from rushes.sweep_decide('janitor', ${BATCH});
		commit;
		exit when n < ${BATCH};
	end loop;
end $$`;

const decided = async () => (await database.query(`select count(*) as entries, count(*) filter (where copy is null) as recordings
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

async function measureOne(rows) {
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

async function measure(databases) {
	const results = [];
	for (database of databases) {
		await database.start();
		try {
			results.push(await measureOne(database.rows));
		} finally {
			await database.stop();
		}
	}
	const [one, ten] = results;
	const grown = (pick) => pick(ten) / pick(one);
	bench("janitor.decisions_per_s", ten.follow.recordings / ten.follow.seconds, "1/s");
	bench("janitor.cost_10m_vs_1m", grown(({ follow }) => follow.seconds / follow.recordings), "ratio");
	bench("janitor.cost_10m_vs_1m.due_1000", grown(({ few }) => few.seconds / few.recordings), "ratio");
	bench("janitor.cost_10m_vs_1m.spread", grown(({ spread }) => spread.seconds / spread.recordings), "ratio");
	bench("janitor.cost_10m_vs_1m.idle", grown(({ idleMs }) => idleMs), "ratio");
	process.exitCode = one.whole + ten.whole > 0 ? 1 : 0;
}

const STEPS = {
	load: async (databases) => {
		for (const one of databases) await one.load();
	},
	measure,
	remove: async (databases) => {
		for (const one of databases) await one.remove();
	},
};

const [step, ...more] = process.argv.slice(2);
if (more.length > 0 || (step && !STEPS[step])) throw new Error(`usage: janitor.mjs [${Object.keys(STEPS).join(" | ")}]`);
const both = [number("SMALL", 1_000_000), number("ROWS", 10_000_000)].map((rows) => new Database(rows));
if (step) await STEPS[step](both);
else {
	try {
		await STEPS.load(both);
		await STEPS.measure(both);
	} finally {
		await STEPS.remove(both);
	}
}
