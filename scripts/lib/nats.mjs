// A NATS server with JetStream of an instance's own. A client is who its certificate says (verify_and_map), and each
// service may use the subjects that its work needs and no others.
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { ownedFile, ownedFolder } from "./account.mjs";
import { IDENTITIES } from "./identities.mjs";
import { isRunning, logTail, startProcess, waitFor } from "./process.mjs";

/** Durable consumers of JOBS that a service works off (subject pattern of the consumer's name), and what it may publish. */
const WORK = {
	ingest: { consumers: [], kinds: ["copy", "push", "delete"], events: true },
	linkgen: { consumers: [], kinds: ["copy", "convert", "push", "delete"], events: true },
	transcoder: { consumers: ["copy-*", "convert-*"], kinds: ["copy", "convert", "push", "delete"], events: true },
	"storage-pusher": { consumers: ["push-*", "delete-*"], kinds: ["push", "delete"], events: true },
	janitor: { consumers: [], kinds: ["copy", "convert", "push", "delete"], events: true },
	ctl: { consumers: [], kinds: ["copy", "convert", "push", "delete"], events: true },
};

/** Subjects that make, look at and heal the two streams. */
const STREAMS = ["JOBS", "EVENTS"].flatMap((stream) => [
	`$JS.API.STREAM.CREATE.${stream}`,
	`$JS.API.STREAM.UPDATE.${stream}`,
	`$JS.API.STREAM.INFO.${stream}`,
]);

// A subject's wildcard stands for a whole token only, so consumers are told apart by the filter on JOBS, not by name.
const CONSUMERS = [
	"$JS.API.CONSUMER.DURABLE.CREATE.JOBS.*",
	"$JS.API.CONSUMER.CREATE.JOBS.>",
	"$JS.API.CONSUMER.INFO.JOBS.*",
	"$JS.API.CONSUMER.DELETE.JOBS.*",
	"$JS.API.CONSUMER.MSG.NEXT.JOBS.*",
	"$JS.ACK.JOBS.>",
];

function user(service) {
	const { cn } = IDENTITIES[service];
	const work = WORK[service];
	const publish = [
		"$JS.API.INFO",
		...STREAMS,
		...(work.consumers.length > 0 ? CONSUMERS : []),
		...work.kinds.map((kind) => `jobs.${kind}.>`),
		...(work.events ? ["events.>"] : []),
	];
	return {
		user: `CN=${cn},O=rushes`,
		permissions: { publish: { allow: publish }, subscribe: { allow: [`_INBOX.${cn}.>`] } },
	};
}

function configuration({ dir, port }) {
	return JSON.stringify(
		{
			server_name: "rushes-nats",
			listen: `127.0.0.1:${port}`,
			max_payload: 65536,
			jetstream: { store_dir: path.join(dir, "store"), max_memory_store: 67108864, max_file_store: 1073741824 },
			tls: {
				cert_file: path.join(dir, "server.crt"),
				key_file: path.join(dir, "server.key"),
				ca_file: path.join(dir, "ca.crt"),
				verify_and_map: true,
				timeout: 5,
			},
			authorization: { users: Object.keys(WORK).map(user) },
		},
		null,
		"\t",
	);
}

/** Resolves true when a server greets on the port. */
function greets(port) {
	return new Promise((resolve) => {
		const socket = net.connect(port, "127.0.0.1");
		socket.setTimeout(1000, () => socket.destroy());
		socket.once("data", (data) => {
			resolve(data.toString("latin1").startsWith("INFO "));
			socket.destroy();
		});
		socket.once("error", () => resolve(false));
		socket.once("close", () => resolve(false));
	});
}

export class Nats {
	constructor({ instance, servers, account, certificates, port }) {
		Object.assign(this, { instance, account, certificates, port, dir: path.join(servers, "nats") });
		this.url = `tls://localhost:${port}`;
	}

	create() {
		const { dir, account, certificates } = this;
		ownedFolder(dir, account);
		ownedFolder(path.join(dir, "store"), account);
		ownedFile(path.join(dir, "server.crt"), fs.readFileSync(certificates.server.certificate), account);
		ownedFile(path.join(dir, "server.key"), fs.readFileSync(certificates.server.key), account);
		ownedFile(path.join(dir, "ca.crt"), fs.readFileSync(certificates.ca), account);
		ownedFile(path.join(dir, "nats.conf"), configuration(this), account);
	}

	async start() {
		this.record = await startProcess({
			dir: this.instance,
			name: "nats",
			command: "nats-server",
			args: ["-c", path.join(this.dir, "nats.conf")],
			cwd: "/",
			account: this.account,
			env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
		});
		await waitFor("NATS answers", () => {
			if (!isRunning(this.record)) throw new Error(`nats-server ended at once:\n${logTail(this.record.log)}`);
			return greets(this.port);
		});
	}
}
