// The public listener of ingest before any request: who may begin a connection how fast, and who need not shake hands in
// full. Clients are Node and openssl.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import tls from "node:tls";
import { testStack } from "../lib/harness.mjs";

const BURST = 30;
const REQUEST = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

describe("the front of ingest", () => {
	let stack;

	before(async () => {
		stack = testStack("ingest-front", {
			overrides: { ingest: { RUSHES_INGEST_ADDRESS_RATE: "1", RUSHES_INGEST_ADDRESS_BURST: String(BURST) } },
		});
		await stack.prepare();
		await stack.startServices(["ingest"]);
	});
	after(() => stack.remove());

	/** What openssl s_client says of one connection on which it asks for something. */
	function openssl(args) {
		return new Promise((resolve, reject) => {
			const child = spawn(
				"openssl",
				["s_client", "-connect", `127.0.0.1:${stack.ports.ingest}`, "-servername", "localhost", "-ign_eof"].concat(
					["-CAfile", stack.certificates.ca, "-verify_return_error"],
					args,
				),
				{ stdio: ["pipe", "pipe", "pipe"] },
			);
			let said = "";
			child.stdout.on("data", (text) => (said += text));
			child.stderr.on("data", (text) => (said += text));
			child.on("error", reject);
			child.on("close", () => resolve(said));
			child.stdin.on("error", () => {});
			child.stdin.end(REQUEST);
		});
	}

	/** Whether a connection was taken, by an address of this machine. */
	function comes(localAddress) {
		return new Promise((resolve) => {
			const socket = tls.connect({
				host: "127.0.0.1",
				port: stack.ports.ingest,
				servername: "localhost",
				ca: stack.ca,
				localAddress,
			});
			socket.on("secureConnect", () => {
				socket.destroy();
				resolve(true);
			});
			socket.on("error", () => resolve(false));
			socket.on("close", () => resolve(false));
		});
	}

	for (const version of ["tls1_3", "tls1_2"]) {
		it(`resumes a session of openssl's by ${version}`, { timeout: 60_000 }, async () => {
			const file = path.join(stack.dir, `session-${version}`);
			const full = await openssl([`-${version}`, "-sess_out", file]);
			assert.match(full, /^New, TLSv1/m);
			assert.match(full, /HTTP\/1\.1 404/);
			const again = await openssl([`-${version}`, "-sess_in", file]);
			assert.match(again, /^Reused, TLSv1/m);
			assert.match(again, /HTTP\/1\.1 404/);
		});
	}

	it("takes a burst from one address, then its rate, and others all the time", { timeout: 60_000 }, async () => {
		const tries = 2 * BURST;
		const came = await Promise.all(Array.from({ length: tries }, () => comes("127.0.0.2")));
		const taken = came.filter(Boolean).length;
		// what flowed in meanwhile comes on top
		assert.ok(taken >= BURST && taken < tries, `${taken} of ${tries} were taken`);
		assert.equal(await comes("127.0.0.3"), true);
		const metrics = (await stack.admin("ingest", "/metrics")).body;
		const refused = /rushes_http_refused_connections_total\{server="public",reason="rate"\} (\d+)/.exec(metrics);
		assert.ok(Number(refused?.[1]) >= tries - taken, "the metric counts who was refused");
	});
});
