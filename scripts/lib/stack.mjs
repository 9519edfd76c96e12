// One instance of the whole of Rushes on this machine: certificates, keys, PostgreSQL, NATS, Redis and every service, in
// one folder, on loopback. The demo and the tests both stand on it.
import { execFile } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { makeServerFolder, removeServerFolder, serverAccount } from "./account.mjs";
import { makeCertificates } from "./certificates.mjs";
import { SERVICES, serviceOf } from "./identities.mjs";
import { Nats } from "./nats.mjs";
import { freePorts, requireFree } from "./ports.mjs";
import { Postgres } from "./postgres.mjs";
import {
	isRunning,
	logTail,
	readRecords,
	signalFamily,
	signalProcess,
	startProcess,
	stopProcess,
	waitFor,
	waitGone,
} from "./process.mjs";
import { Redis } from "./redis.mjs";
import { KEY_PURPOSES, SERVICE_PORTS, binaryOf, ctlEnvironment, instancePorts, serviceEnvironment } from "./services.mjs";

const run = promisify(execFile);
const CTL_LIMIT_MS = 600_000;
const PORT_NAMES = ["postgres", "nats", "redis", ...SERVICE_PORTS];
const SERVERS = ["postgres", "nats", "redis"];

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

/** GET on a loopback port without TLS. Resolves to {status, body}; status 0 when nobody answers. */
export function httpGet(port, route, limitMs = 2000) {
	return new Promise((resolve) => {
		const request = http.get(
			{ host: "127.0.0.1", port, path: route, timeout: limitMs, agent: false },
			(response) => {
				let body = "";
				response.setEncoding("utf8");
				response.on("data", (text) => (body += text));
				response.on("end", () => resolve({ status: response.statusCode, body }));
				response.on("error", () => resolve({ status: 0, body: "" }));
			},
		);
		request.on("timeout", () => request.destroy());
		request.on("error", () => resolve({ status: 0, body: "" }));
	});
}

/**
 * Ends every process of the instance in `dir`, services before the servers they use, and removes all but its logs.
 * Works on what any earlier command started and left there. Returns the names of what did not stop in good order.
 */
export async function removeInstance(dir) {
	const records = readRecords(dir);
	const disorderly = [];
	const stop = async (record) => {
		const signal = record.name === "postgres" ? "SIGINT" : "SIGTERM";
		if (!(await stopProcess(dir, record, { signal }))) disorderly.push(record.name);
	};
	await Promise.all(records.filter(({ name }) => !SERVERS.includes(name)).map(stop));
	await Promise.all(records.filter(({ name }) => SERVERS.includes(name)).map(stop));
	removeServerFolder(dir);
	for (const name of fs.existsSync(dir) ? fs.readdirSync(dir) : []) {
		if (name !== "log") fs.rmSync(path.join(dir, name), { recursive: true, force: true });
	}
	return disorderly;
}

/** Names of the processes of the instance in `dir` that run now. */
export function runningIn(dir) {
	return readRecords(dir)
		.filter(isRunning)
		.map(({ name }) => name);
}

export class Stack {
	/**
	 * `dir`: the instance's folder, which must hold nothing but logs. `ports`: by name, or none for free ones.
	 * `storage`: folder of the `file` target. `build`: folder with bin/. `overrides`: {service: {RUSHES_*: value}}.
	 * `archive`: PostgreSQL keeps its write-ahead log, for a recovery to a point in time.
	 * `instances`: further nodes, such as `ingest-2`, which are started by name.
	 */
	constructor({
		dir,
		ports,
		storage,
		build = path.join(ROOT, "build/gcc"),
		durable = true,
		archive = false,
		logLevel = "info",
		overrides = {},
		instances = [],
	}) {
		Object.assign(this, { dir, fixedPorts: ports, build, durable, archive, logLevel, overrides, instances, root: ROOT });
		this.storage = storage ?? path.join(dir, "storage");
		this.services = {};
	}

	keyFile(purpose) {
		return path.join(this.dir, "keys", `${purpose}.key`);
	}

	ctlFile() {
		return path.join(this.dir, "rushesctl.conf");
	}

	spoolPath(service) {
		return path.join(this.dir, "spool", service);
	}

	/** Where pages reach an ingest node. */
	ingestUrlOf(name) {
		return `wss://localhost:${this.ports[name]}`;
	}

	/** The folder of the ledger target: sealed batches outside PostgreSQL. */
	ledgerPath() {
		return path.join(this.dir, "ledger");
	}

	/** Makes certificates, keys and the servers' files, starts the servers and migrates the schema. */
	async prepare() {
		this.ports = this.fixedPorts;
		if (this.ports) await requireFree(this.ports);
		else {
			const names = [...PORT_NAMES, ...this.instances.flatMap(instancePorts)];
			this.ports = Object.fromEntries((await freePorts(names.length)).map((port, i) => [names[i], port]));
		}
		this.ingestUrl = this.ingestUrlOf("ingest");
		this.linkgenUrl = `https://localhost:${this.ports.linkgen}`;

		fs.mkdirSync(this.dir, { recursive: true });
		for (const name of ["keys", "secrets", "spool", "ledger"]) fs.mkdirSync(path.join(this.dir, name), { mode: 0o700 });
		for (const service of ["ingest", "transcoder", ...this.instances]) fs.mkdirSync(this.spoolPath(service), { mode: 0o700 });
		fs.mkdirSync(this.storage, { recursive: true, mode: 0o700 });
		this.certificates = makeCertificates(path.join(this.dir, "certificates"), this.instances);
		this.ca = fs.readFileSync(this.certificates.ca);

		this.account = serverAccount();
		const servers = makeServerFolder(this.dir, this.account);
		const common = { instance: this.dir, servers, account: this.account, certificates: this.certificates };
		this.postgres = new Postgres({ ...common, port: this.ports.postgres, durable: this.durable, archive: this.archive });
		this.nats = new Nats({ ...common, port: this.ports.nats });
		this.redis = new Redis({ ...common, port: this.ports.redis });
		this.postgres.create();
		this.nats.create();
		this.redis.create(path.join(this.dir, "secrets"));
		await Promise.all([this.postgres.start(), this.nats.start(), this.redis.start()]);
		await this.postgres.bootstrap();
		// a person looks at a kept instance by `rushesctl --config FILE`
		const settings = Object.entries(ctlEnvironment(this)).map(([name, value]) => `${name}=${value}\n`);
		fs.writeFileSync(this.ctlFile(), settings.join(""), { mode: 0o600 });
		for (const purpose of KEY_PURPOSES)
			await this.ctl(["key", "generate", purpose, "--out", this.keyFile(purpose)], { json: false });
		await this.ctl(["migrate"], { json: false });
	}

	/** Starts one service and waits until it says that it is ready. */
	async startService(service) {
		await this.launchService(service);
		await this.serviceReady(service);
	}

	async launchService(service) {
		this.services[service] = await startProcess({
			dir: this.dir,
			name: service,
			command: path.join(this.build, "bin", binaryOf(serviceOf(service))),
			env: serviceEnvironment(this, service),
		});
	}

	async serviceReady(service, limitMs = 30_000) {
		const record = this.services[service];
		await waitFor(
			`rushes-${service} is ready`,
			async () => {
				if (!isRunning(record))
					throw new Error(
						`rushes-${service} ended at its start; ${record.log} ends with:\n${logTail(record.log)}`,
					);
				return (await httpGet(this.ports[`${service}-admin`], "/readyz")).status === 200;
			},
			{ limitMs },
		);
	}

	async startServices(services = SERVICES) {
		for (const service of services) await this.launchService(service);
		await Promise.all(services.map((service) => this.serviceReady(service)));
	}

	/** Everything, from nothing. Ends what it began when it fails. */
	async start() {
		try {
			await this.prepare();
			await this.startServices();
		} catch (error) {
			await this.remove();
			throw error;
		}
	}

	/** Ends everything and removes all but the logs. */
	async remove() {
		return removeInstance(this.dir);
	}

	/** Ends every process at once, without waiting: for the exit of a program that cannot wait. */
	killAll() {
		for (const record of readRecords(this.dir)) signalProcess(record, "SIGKILL");
	}

	// Mischief for tests.

	async kill(service) {
		const record = this.services[service] ?? this[service].record;
		signalProcess(record, "SIGKILL");
		await waitGone(record);
	}

	async restart(service) {
		if (SERVERS.includes(service)) await this[service].start();
		else await this.startService(service);
	}

	pause(service) {
		signalFamily(this.services[service] ?? this[service].record, "SIGSTOP");
	}

	resume(service) {
		signalFamily(this.services[service] ?? this[service].record, "SIGCONT");
	}

	/** A service's admin endpoint. */
	admin(service, route) {
		return httpGet(this.ports[`${service}-admin`], route);
	}

	/** The log of a service or server. */
	text(name) {
		return fs.readFileSync(path.join(this.dir, "log", `${name}.log`), "utf8");
	}

	/** The lines of a service's log as objects. */
	log(service) {
		return this.text(service)
			.split("\n")
			.filter((line) => line.startsWith("{"))
			.map((line) => JSON.parse(line));
	}

	/** Runs rushesctl as the operator; resolves to what it printed as JSON (or text with `json: false`). Killed after a time. */
	async ctl(args, { json = true, killAfterMs = CTL_LIMIT_MS } = {}) {
		const binary = path.join(this.build, "bin", "rushesctl");
		try {
			const { stdout } = await run(binary, json ? [...args, "--json"] : args, {
				env: { PATH: process.env.PATH, LANG: "C.UTF-8", ...ctlEnvironment(this) },
				cwd: this.root,
				maxBuffer: 16 * 1024 * 1024,
				timeout: killAfterMs,
				killSignal: "SIGKILL",
			});
			return json ? JSON.parse(stdout) : stdout;
		} catch (error) {
			if (error.code === undefined || error.stderr === undefined) throw error;
			const failure = new Error(
				`rushesctl ${args.join(" ")} (${error.killed ? `killed after ${killAfterMs} ms` : `status ${error.code}`}): ${error.stderr.trim() || error.stdout.trim()}`,
			);
			failure.status = error.code;
			throw failure;
		}
	}
}
