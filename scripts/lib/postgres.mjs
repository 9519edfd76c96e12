// A PostgreSQL cluster of an instance's own: TLS with client certificates on a loopback port; the superuser comes in
// by a Unix socket in a private folder only.
import { execFile, execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { ownedFile, ownedFolder } from "./account.mjs";
import { IDENTITIES, serviceOf } from "./identities.mjs";
import { isRunning, logTail, startProcess, stopProcess, waitFor } from "./process.mjs";

const run = promisify(execFile);
const BIN = "/usr/lib/postgresql/15/bin";
// a server that is stopped answers nobody: who asks it learns so; what the simulation's steps and migrations take lies far below
const CONNECT_LIMIT_S = 20;
const PSQL_LIMIT_MS = 900_000;

function configuration(dir, port, durable, archive) {
	return `
listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '${dir}/socket'
max_connections = 80
shared_buffers = 64MB
ssl = on
ssl_min_protocol_version = 'TLSv1.2'
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.crt'
hba_file = '${dir}/data/hba.conf'
ident_file = '${dir}/data/ident.conf'
password_encryption = 'scram-sha-256'
idle_in_transaction_session_timeout = 30s
autovacuum_naptime = 15s
log_line_prefix = '%m [%p] %u '
log_statement = 'none'
log_parameter_max_length_on_error = 0
logging_collector = off
fsync = ${durable ? "on" : "off"}
${archive ? `archive_mode = on\narchive_command = 'cp %p ${dir}/archive/%f'\nrestore_command = 'cp ${dir}/archive/%f %p'\n` : ""}`;
}

/** Roles without any right of their own; the migrations grant what each needs. `migrate` owns the database. */
function bootstrapSql() {
	const roles = Object.values(IDENTITIES).map(({ role }) => role);
	const rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS";
	return [
		...roles.map((role) => `CREATE ROLE ${role} ${rights};`),
		// services work by short statements; migrations may take their time
		...roles
			.filter((role) => role !== IDENTITIES.migrate.role)
			.map(
				(role) =>
					`ALTER ROLE ${role} SET statement_timeout = '12s'; ALTER ROLE ${role} SET lock_timeout = '5s';`,
			),
		"CREATE DATABASE rushes OWNER rushes_migrate;",
		"REVOKE ALL ON DATABASE rushes FROM PUBLIC;",
		"REVOKE ALL ON DATABASE postgres FROM PUBLIC;",
		`GRANT CONNECT ON DATABASE rushes TO ${roles.join(", ")};`,
		"\\connect rushes",
		"REVOKE ALL ON SCHEMA public FROM PUBLIC;",
	].join("\n");
}

export class Postgres {
	/**
	 * `servers`: folder that the account owns; `instance`: where logs and pids go; `durable`: false in tests only;
	 * `archive`: keep the write-ahead log, for baseBackup() and recoverTo().
	 */
	constructor({ instance, servers, account, certificates, port, durable, archive }) {
		Object.assign(this, { instance, account, certificates, port, durable, archive, dir: path.join(servers, "postgres") });
	}

	/** Makes the cluster's files. */
	create() {
		const { dir, account, certificates } = this;
		ownedFolder(dir, account);
		ownedFolder(path.join(dir, "socket"), account);
		if (this.archive) ownedFolder(path.join(dir, "archive"), account);
		const as = account ? { uid: account.uid, gid: account.gid } : {};
		execFileSync(
			`${BIN}/initdb`,
			[
				"-D",
				path.join(dir, "data"),
				"-U",
				"postgres",
				"-E",
				"UTF8",
				"--locale=C.UTF-8",
				"--auth=reject",
				"--no-sync",
				"--no-instructions",
			],
			{ ...as, cwd: "/", stdio: ["ignore", "ignore", "pipe"], env: { PATH: process.env.PATH, LANG: "C.UTF-8" } },
		);
		const put = (name, content) => ownedFile(path.join(dir, "data", name), content, account);
		put("server.crt", fs.readFileSync(certificates.server.certificate));
		put("server.key", fs.readFileSync(certificates.server.key));
		put("ca.crt", fs.readFileSync(certificates.ca));
		put("hba.conf", "local all,replication postgres peer map=bootstrap\nhostssl rushes all 127.0.0.1/32 cert map=services\n");
		const bootstrap = account
			? ["root", account.name]
			: [process.env.USER ?? execFileSync("id", ["-un"], { encoding: "utf8" }).trim()];
		put(
			"ident.conf",
			[
				...bootstrap.map((user) => `bootstrap ${user} postgres`),
				...Object.values(IDENTITIES).map(({ cn, role }) => `services ${cn} ${role}`),
			].join("\n") + "\n",
		);
		fs.appendFileSync(path.join(dir, "data", "postgresql.conf"), configuration(dir, this.port, this.durable, this.archive));
	}

	async start() {
		this.record = await startProcess({
			dir: this.instance,
			name: "postgres",
			command: `${BIN}/postgres`,
			args: ["-D", path.join(this.dir, "data")],
			cwd: "/",
			account: this.account,
		});
		await waitFor("PostgreSQL answers", async () => {
			if (!isRunning(this.record)) throw new Error(`PostgreSQL ended at once:\n${logTail(this.record.log)}`);
			return this.query("SELECT 1", { database: "postgres" }).catch(() => null);
		});
	}

	/** Roles and the empty database, once. */
	async bootstrap() {
		await this.psql(bootstrapSql(), { database: "postgres" });
	}

	/** libpq's connection string of the superuser, for the tests of modules. */
	superuserConninfo() {
		return `host=${path.join(this.dir, "socket")} port=${this.port} dbname=rushes user=postgres`;
	}

	/** A base backup of the running server into a folder beside its data. */
	async baseBackup() {
		const to = path.join(this.dir, "backup");
		await run(`${BIN}/pg_basebackup`, ["-h", path.join(this.dir, "socket"), "-p", String(this.port), "-U", "postgres", "-D", to, "-c", "fast", "-X", "none", "--no-sync"]);
	}

	/** Ends the server, puts the base backup in the place of its data and recovers it up to a named restore point. */
	async recoverTo(point) {
		await this.psql("select pg_switch_wal()");
		const data = path.join(this.dir, "data");
		await stopProcess(this.instance, this.record, { signal: "SIGINT" });
		fs.renameSync(data, path.join(this.dir, `data-before-${point}`));
		fs.cpSync(path.join(this.dir, "backup"), data, { recursive: true });
		fs.appendFileSync(path.join(data, "postgresql.conf"), `recovery_target_name = '${point}'\nrecovery_target_action = promote\n`);
		fs.writeFileSync(path.join(data, "recovery.signal"), "");
		fs.chmodSync(data, 0o700);
		if (this.account) execFileSync("chown", ["-R", `${this.account.uid}:${this.account.gid}`, data]);
		await this.start();
		await waitFor("PostgreSQL has recovered", async () => (await this.psql("select pg_is_in_recovery()")).trim() === "f" || null);
	}

	/** Runs SQL as the superuser through the private socket. Returns psql's unaligned output. */
	async psql(sql, { database = "rushes", args = [] } = {}) {
		// not the wrapper that Debian has in the path: it starts Perl
		const child = run(
			`${BIN}/psql`,
			[
				"-X",
				"-q",
				"-v",
				"ON_ERROR_STOP=1",
				"-h",
				path.join(this.dir, "socket"),
				"-p",
				String(this.port),
				"-U",
				"postgres",
				"-d",
				database,
				"-At",
				...args,
				"-f",
				"-",
			],
			{
				maxBuffer: 64 * 1024 * 1024,
				timeout: PSQL_LIMIT_MS,
				env: { PATH: process.env.PATH, LANG: "C.UTF-8", PGTZ: "UTC", PGCONNECT_TIMEOUT: String(CONNECT_LIMIT_S) },
			},
		);
		// psql ends before it has read everything when nobody answers; its status says so
		child.child.stdin.on("error", () => {});
		child.child.stdin.end(sql);
		return (await child).stdout;
	}

	/** The rows of one query, as objects. */
	async query(sql, options) {
		const text = await this.psql(`SELECT coalesce(json_agg(q), '[]') FROM (${sql}) q`, options);
		return JSON.parse(text);
	}

	/** libpq's connection string of a service. */
	conninfo(service) {
		const { certificate, key } = this.certificates.services[service];
		return (
			`host=localhost hostaddr=127.0.0.1 port=${this.port} dbname=rushes user=${IDENTITIES[serviceOf(service)].role} ` +
			`sslmode=verify-full sslrootcert=${this.certificates.ca} sslcert=${certificate} sslkey=${key}`
		);
	}
}
