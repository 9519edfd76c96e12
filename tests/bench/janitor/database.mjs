// A database of so many recordings: filled once, stopped, and started again to be measured.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { serverAccount } from "../../../scripts/lib/account.mjs";
import { Postgres } from "../../../scripts/lib/postgres.mjs";
import { readRecords, stopProcess } from "../../../scripts/lib/process.mjs";
import { ROOT, Stack, removeInstance } from "../../../scripts/lib/stack.mjs";
import { FIRST, LANES } from "./tables.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const FOLDER = path.join(ROOT, "var/bench/janitor");
const LOADING = `
fsync = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
full_page_writes = off
checkpoint_timeout = 1h
max_wal_size = 2GB
`;
const SETTINGS = `
shared_buffers = 2GB
max_wal_size = 8GB
checkpoint_timeout = 15min
wal_compression = lz4
jit = off
`;
/** What measuring has besides: autovacuum keeps up with what a backlog leaves. */
const MEASURING = "autovacuum_vacuum_cost_limit = 2000\n";
/** Tables that grow with the recordings. */
export const BIG = ["recording", "segment", "file", "copy", "push", "recording_personal", "ledger", "link", "session"];

export const label = (rows) => (rows >= 1e6 ? `${rows / 1e6}m` : `${rows / 1e3}k`);

export class Database {
	constructor(rows) {
		this.rows = rows;
		this.dir = path.join(FOLDER, label(rows));
	}

	sql(text) {
		return this.postgres.psql(text);
	}

	query(text) {
		return this.postgres.query(text);
	}

	get log() {
		return this.postgres.record.log;
	}

	/** Makes and fills it, and ends its servers. */
	async load() {
		const begin = Date.now();
		await this.remove();
		const stack = new Stack({ dir: this.dir, durable: true });
		try {
			await stack.prepare();
			this.postgres = stack.postgres;
			fs.writeFileSync(path.join(this.dir, "port"), String(this.postgres.port));
			const file = this.#settingsFile();
			const plain = fs.readFileSync(file, "utf8");
			await this.stop();
			fs.writeFileSync(file, plain + SETTINGS + LOADING);
			await this.postgres.start();
			await this.#fill();
			await this.#tell();
			await this.stop();
			fs.writeFileSync(file, plain + SETTINGS + MEASURING);
		} catch (error) {
			await this.remove();
			throw error;
		}
		// what was written without fsync is on the disk before anything is measured
		execFileSync("sync");
		console.log(`database of ${this.rows} recordings: loaded in ${Math.round((Date.now() - begin) / 1000)} s`);
	}

	/** Starts what load() made. */
	async start() {
		if (!fs.existsSync(path.join(this.dir, "port"))) throw new Error(`no database of ${this.rows} recordings: load it first`);
		this.postgres = new Postgres({
			instance: this.dir,
			servers: fs.realpathSync(path.join(this.dir, "servers")),
			account: serverAccount(),
			port: Number(fs.readFileSync(path.join(this.dir, "port"), "utf8")),
			durable: true,
		});
		await this.postgres.start();
		await this.sql("select rushes.gate_remember(true); checkpoint");
	}

	/** Ends every server of its folder. */
	async stop() {
		for (const record of readRecords(this.dir))
			if (!(await stopProcess(this.dir, record, { signal: "SIGINT", limitMs: 300_000 }))) throw new Error(`${record.name} did not stop`);
	}

	async remove() {
		await removeInstance(this.dir);
	}

	#settingsFile() {
		return path.join(this.postgres.dir, "data/postgresql.conf");
	}

	async #fill() {
		await this.sql(fs.readFileSync(path.join(HERE, "load.sql"), "utf8").replaceAll(":rows", String(this.rows)));
		await this.sql(`do $$ declare t text; d date; begin
			foreach t in array array['job_done', 'attempt', 'event'] loop
				for d in select current_date - n from generate_series(1, 40) n loop
					execute format('create table if not exists rushes.%I partition of rushes.%I for values from (%L) to (%L)',
						t || to_char(d, '_YYYYMMDD'), t, d, d + 1);
				end loop;
			end loop;
		end $$`);
		await this.sql("set synchronous_commit = off; set jit = off; call bench.take_all()");
		const fill = async (lane) => {
			for (const [table, ...inserts] of lane) {
				const begin = Date.now();
				await this.sql(`set session_replication_role = replica; set maintenance_work_mem = '1GB'; set max_parallel_maintenance_workers = 1;
					call bench.load('rushes.${table}', array[${inserts.map((insert) => `$load$${insert}$load$`).join(", ")}])`);
				console.log(`load ${label(this.rows)} ${table}: ${Math.round((Date.now() - begin) / 1000)} s`);
			}
		};
		await fill(FIRST);
		await Promise.all(LANES.map(fill));
		const begin = Date.now();
		await this.sql("select setval('rushes.ledger_id_seq', (select max(id) + 1 from rushes.ledger))");
		// the visibility map and the statistics, as autovacuum leaves them
		const [one, two] = [["recording", "segment", "push", "ledger", "event"], ["copy", "file", "recording_personal", "job_done", "link", "session"]];
		await Promise.all([one, two].map((tables) => this.sql(tables.map((table) => `vacuum (analyze, freeze) rushes.${table};`).join(" "))));
		await this.sql("drop table bench.take; vacuum analyze; checkpoint");
		console.log(`load ${label(this.rows)} vacuum: ${Math.round((Date.now() - begin) / 1000)} s`);
	}

	async #tell() {
		const sizes = await this.query(`
			select c.relname as table, c.reltuples::bigint as rows, pg_table_size(c.oid) / 1048576 as mib, pg_indexes_size(c.oid) / 1048576 as index_mib
			from pg_class c where c.relnamespace = 'rushes'::regnamespace and c.relname = any ('{${BIG}}') order by c.relname`);
		for (const { table, rows, mib, index_mib } of sizes) console.log(`table ${table}: ${rows} rows, ${mib} MiB, indexes ${index_mib} MiB`);
		console.log(`database of ${this.rows} recordings: ${(await this.sql("select pg_database_size('rushes') / 1048576")).trim()} MiB`);
	}
}
