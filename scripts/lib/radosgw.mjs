// A throw-away S3 server for tests: Ceph's gateway with one monitor and one storage daemon that keeps everything in
// memory. Started from nothing in about three seconds, without systemd, as whoever runs the tests.
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { freePorts } from "./ports.mjs";
import { isRunning, logTail, startProcess, stopProcess, waitFor } from "./process.mjs";

const run = promisify(execFile);
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
// Nothing has to be saved when a daemon ends, so it gets no time for it.
const STOP_LIMIT_MS = 1000;
const MEMORY_BYTES = 2 ** 31;

/** Storage classes that the gateway knows besides STANDARD; it refuses all others. */
export const STORAGE_CLASSES = ["STANDARD_IA", "INTELLIGENT_TIERING"];

export class Radosgw {
	/** `instance`: folder of the processes' records and logs. `certificates`: {certificate, key} of localhost. */
	constructor({ instance, certificate }) {
		Object.assign(this, { instance, certificate, dir: path.join(instance, "radosgw") });
		this.accessKey = "RUSHESTESTACCESSKEY1";
		this.secretKey = "rushes/test+secret=with%every&kind0000001";
		this.records = [];
	}

	configuration() {
		const { dir, ports } = this;
		const { certificate, key } = this.certificate;
		return `[global]
fsid = ${this.fsid}
mon host = [v2:127.0.0.1:${ports.monitor}/0]
# loopback only and thrown away: no authentication inside the cluster
auth cluster required = none
auth service required = none
auth client required = none
# the gateway asks for encryption to the monitor, which there is not without authentication
ms mon client mode = crc
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = ${dir}/run
admin socket = ${dir}/run/$name.asok
log file = ${dir}/$name.log
debug ms = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pgp num = 2
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.02
paxos min wait = 0.01
[mon.a]
mon data = ${dir}/mon
[osd.0]
osd data = ${dir}/osd
osd objectstore = memstore
memstore device bytes = ${MEMORY_BYTES}
osd class load list = *
osd class default list = *
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:${ports.http} ssl_endpoint=127.0.0.1:${ports.https} ssl_certificate=${certificate} ssl_private_key=${key}
rgw thread pool size = 32
rgw dns name = localhost
rgw enable usage log = false
rgw crypt require ssl = false
`;
	}

	async command(name, args) {
		try {
			const { stdout } = await run(name, ["-c", this.conf, ...args], {
				env: { PATH, CEPH_CONF: this.conf },
				cwd: this.dir,
			});
			return stdout;
		} catch (error) {
			throw new Error(`${name} ${args.join(" ")}: ${error.stderr || error.message}`);
		}
	}

	async daemon(name, command, args) {
		const record = await startProcess({
			dir: this.instance,
			name: `radosgw-${name}`,
			command,
			args: ["-c", this.conf, ...args, "-f"],
			cwd: this.dir,
			env: { PATH, CEPH_CONF: this.conf },
		});
		this.records.push(record);
		return record;
	}

	/** As the gateway's administrator: an independent look at what it stores. */
	async admin(...args) {
		return this.command("radosgw-admin", ["-n", "client.rgw", ...args]);
	}

	async startCluster() {
		const map = path.join(this.dir, "monmap");
		await run("monmaptool", [
			"--create",
			"--fsid",
			this.fsid,
			"--addv",
			"a",
			`[v2:127.0.0.1:${this.ports.monitor}]`,
			map,
		]);
		await this.command("ceph-mon", ["-i", "a", "--mkfs", "--monmap", map]);
		await this.daemon("mon", "ceph-mon", ["-i", "a"]);
		const osd = randomUUID();
		await this.command("ceph", ["--connect-timeout", "30", "osd", "new", osd]);
		await this.command("ceph-osd", ["-i", "0", "--mkfs", "--osd-uuid", osd]);
		await this.daemon("osd", "ceph-osd", ["-i", "0"]);
		await waitFor(
			"the storage daemon is up",
			async () => (await this.command("ceph", ["osd", "stat"])).includes("1 up"),
			{
				pollMs: 100,
			},
		);
	}

	/** The first command of the administrator makes the realm; classes come after it and before the gateway starts. */
	async declare() {
		await this.admin(
			"user",
			"create",
			"--uid=tester",
			"--display-name=Tester",
			`--access-key=${this.accessKey}`,
			`--secret=${this.secretKey}`,
		);
		for (const storageClass of STORAGE_CLASSES) {
			const placement = ["--placement-id", "default-placement", "--storage-class", storageClass];
			await this.admin("zonegroup", "placement", "add", "--rgw-zonegroup", "default", ...placement);
			await this.admin(
				"zone",
				"placement",
				"add",
				"--rgw-zone",
				"default",
				...placement,
				"--data-pool",
				"default.rgw.buckets.data",
			);
		}
	}

	async start() {
		const [http, https, monitor] = await freePorts(3);
		this.ports = { http, https, monitor };
		this.fsid = randomUUID();
		this.conf = path.join(this.dir, "ceph.conf");
		for (const name of ["", "mon", "osd", "run"])
			fs.mkdirSync(path.join(this.dir, name), { recursive: true, mode: 0o700 });
		fs.writeFileSync(this.conf, this.configuration());
		this.endpoint = `https://localhost:${https}`;
		this.plainEndpoint = `http://localhost:${http}`;
		await this.startCluster();
		await this.declare();
		this.gateway = await this.daemon("gateway", "radosgw", ["-n", "client.rgw"]);
		await waitFor(
			"the gateway answers",
			async () => {
				if (!isRunning(this.gateway)) throw new Error(`radosgw ended at once:\n${logTail(this.gateway.log)}`);
				return fetch(this.plainEndpoint).then(
					(response) => response.ok,
					() => false,
				);
			},
			{ pollMs: 50 },
		);
	}

	/** The gateway first: it would wait for the others. */
	async stop() {
		for (const record of this.records.reverse())
			await stopProcess(this.instance, record, { limitMs: STOP_LIMIT_MS });
		this.records = [];
		fs.rmSync(this.dir, { recursive: true, force: true });
	}
}
