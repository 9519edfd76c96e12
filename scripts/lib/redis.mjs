// A Redis server of an instance's own, for caches and rate limits: TLS only, nothing on disk, one ACL user per service
// with the few commands and the keys that it uses.
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import tls from "node:tls";
import { ownedFile, ownedFolder } from "./account.mjs";
import { IDENTITIES } from "./identities.mjs";
import { isRunning, logTail, startProcess, waitFor } from "./process.mjs";

/** Services that use the cache. */
const USERS = ["ingest", "linkgen", "transcoder", "storage-pusher", "janitor", "ctl"];
// What a script calls is checked against the same rules as what a client sends, so the rate limit's commands stand here.
const COMMANDS = "+auth +ping +get +set +del +eval +evalsha +script|load +hget +hmget +hset +pexpire +time";

export class Redis {
	constructor({ instance, servers, account, certificates, port }) {
		Object.assign(this, { instance, account, certificates, port, dir: path.join(servers, "redis") });
		this.address = `localhost:${port}`;
	}

	/** Makes configuration and users; the services' password files go to `secrets`. */
	create(secrets) {
		const { dir, account, certificates } = this;
		ownedFolder(dir, account);
		this.passwordFiles = {};
		const users = USERS.map((service) => {
			const password = randomBytes(24).toString("hex");
			this.passwordFiles[service] = path.join(secrets, `redis-${service}.password`);
			fs.writeFileSync(this.passwordFiles[service], `${password}\n`, { mode: 0o600 });
			const digest = createHash("sha256").update(password).digest("hex");
			return `user ${IDENTITIES[service].cn} on #${digest} resetchannels ~rushes:* -@all ${COMMANDS}`;
		});
		const put = (name, content) => ownedFile(path.join(dir, name), content, account);
		put("users.acl", ["user default off resetpass resetkeys resetchannels -@all", ...users].join("\n") + "\n");
		put("server.crt", fs.readFileSync(certificates.server.certificate));
		put("server.key", fs.readFileSync(certificates.server.key));
		put("ca.crt", fs.readFileSync(certificates.ca));
		put(
			"redis.conf",
			[
				"bind 127.0.0.1",
				"port 0",
				`tls-port ${this.port}`,
				`tls-cert-file "${dir}/server.crt"`,
				`tls-key-file "${dir}/server.key"`,
				`tls-ca-cert-file "${dir}/ca.crt"`,
				"tls-auth-clients yes",
				'tls-protocols "TLSv1.2 TLSv1.3"',
				`aclfile "${dir}/users.acl"`,
				`dir "${dir}"`,
				"daemonize no",
				'save ""',
				"appendonly no",
				"maxmemory 64mb",
				"maxmemory-policy allkeys-lru",
			].join("\n") + "\n",
		);
	}

	/** Resolves true when the server takes a TLS connection of a service and answers it (with a demand to log in). */
	greets() {
		const { certificate, key } = this.certificates.services.linkgen;
		return new Promise((resolve) => {
			const socket = tls.connect(
				{
					host: "127.0.0.1",
					port: this.port,
					servername: "localhost",
					timeout: 1000,
					ca: fs.readFileSync(this.certificates.ca),
					cert: fs.readFileSync(certificate),
					key: fs.readFileSync(key),
				},
				() => socket.write("PING\r\n"),
			);
			socket.once("data", (data) => {
				resolve(data.toString("latin1").startsWith("-NOAUTH"));
				socket.destroy();
			});
			socket.once("timeout", () => socket.destroy());
			socket.once("error", () => resolve(false));
			socket.once("close", () => resolve(false));
		});
	}

	async start() {
		this.record = await startProcess({
			dir: this.instance,
			name: "redis",
			command: "redis-server",
			args: [path.join(this.dir, "redis.conf")],
			cwd: "/",
			account: this.account,
		});
		await waitFor("Redis answers", () => {
			if (!isRunning(this.record)) throw new Error(`redis-server ended at once:\n${logTail(this.record.log)}`);
			return this.greets();
		});
	}
}
