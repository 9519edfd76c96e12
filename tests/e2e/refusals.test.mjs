// What is refused is refused by its documented error, and nothing of anybody's recording is lost by it: a take that is open
// all the while arrives whole in the end.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import {
	makeAccount,
	makeLink,
	openSession,
	request,
	showRecording,
	waitDelivered,
} from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { StreamConnection, StreamError, sendRecording } from "../../scripts/lib/stream-client.mjs";
import { verifyRecording } from "../../scripts/lib/verify.mjs";
import { fixture, sendFixture, testStack } from "../lib/harness.mjs";
import { closeCodeOf, exchange, frame, statusOf, upgradeHead } from "../lib/raw.mjs";
import { claimsOf, makeToken, readKey } from "../lib/tokens.mjs";

const SLOT_BYTES = 65536;

describe("refusals", () => {
	let stack;
	let account;
	// the take that nothing of this may harm
	let bystander;
	let finishBystander;

	before(async () => {
		stack = testStack("refusals");
		await stack.start();
		account = await makeAccount(stack);
		const held = new Promise((resolve) => (finishBystander = resolve));
		const begun = new Promise((resolve, reject) => {
			bystander = sendFixture(stack, account, "cam-vp8-opus.webm", {
				stream: {
					progress: async ({ offset, total }) => {
						if (offset < total / 2) return;
						resolve();
						await held;
					},
				},
			});
			bystander.catch(reject);
		});
		await begun;
	});
	after(() => stack.remove());

	const connect = async (token) => {
		const connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca, authorization: token });
		await connection.opened;
		return connection;
	};
	const session = async () => openSession(stack, await makeLink(stack, account));
	const start = (connection, take = randomUUID()) =>
		connection.send({ type: "start", take, mime: "video/webm", source: "camera" });
	const recordings = async () => (await stack.postgres.query("SELECT count(*) AS n FROM rushes.recording"))[0].n;

	/** The stream ends with this error. */
	async function refused(connection, code, { retry = false } = {}) {
		await assert.rejects(
			async () => {
				for (;;) await connection.next();
			},
			(error) => {
				assert.ok(error instanceof StreamError, `ended without an error message: ${error.message}`);
				assert.equal(error.code, code, error.message);
				assert.equal(error.retry, retry, `${code}: retry`);
				return true;
			},
		);
	}

	describe("tokens", () => {
		it("refuses what is no token, and makes no recording of it", async () => {
			const before = await recordings();
			const { token } = await session();
			const [version, purpose, body, footer] = token.split(".");
			const flipped = Buffer.from(body, "base64url");
			flipped[5] ^= 1;
			for (const wrong of [
				"nonsense",
				"v4.public.AAAA",
				[version, purpose, flipped.toString("base64url"), footer].join("."),
			]) {
				const connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca });
				await connection.opened;
				connection.send({ type: "token", token: wrong });
				start(connection);
				await refused(connection, "token-invalid");
			}
			assert.equal(await recordings(), before);
		});

		it("accepts a token that was made by the rules, so that the next tests mean something", async () => {
			const claims = claimsOf((await session()).token);
			const connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca });
			await connection.opened;
			connection.send({ type: "token", token: makeToken(claims, readKey(stack.keyFile("token-sign"))) });
			start(connection);
			assert.equal((await connection.nextOf("ready")).offset, 0);
			connection.send({ type: "abort" });
			await connection.nextOf("discarded");
			connection.close();
		});

		for (const [what, change, code] of [
			["signed by another key", (token, key) => [token, { ...key, seed: randomBytes(32) }], "token-invalid"],
			["of an unknown key", (token, key) => [token, { id: "nobody", seed: key.seed }], "token-invalid"],
			["for another region", (token, key) => [{ ...token, aud: "ingest.us9" }, key], "token-invalid"],
			[
				"that has expired",
				(token, key) => [{ ...token, iat: "2024-01-01T00:00:00Z", exp: "2024-01-01T01:00:00Z" }, key],
				"token-expired",
			],
			["that lives too long", (token, key) => [{ ...token, exp: "2099-01-01T00:00:00Z" }, key], "token-invalid"],
		]) {
			it(`refuses a token ${what}`, async () => {
				const claims = claimsOf((await session()).token);
				const connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca });
				await connection.opened;
				connection.send({
					type: "token",
					token: makeToken(...change(claims, readKey(stack.keyFile("token-sign")))),
				});
				start(connection);
				await refused(connection, code);
			});
		}

		it("refuses who says nothing", { timeout: 20_000 }, async () => {
			const connection = new StreamConnection({ url: stack.ingestUrl, ca: stack.ca });
			await connection.opened;
			await refused(connection, "token-timeout");
		});

		it("refuses a POST without a token, and with a wrong one", async () => {
			for (const headers of [{}, { authorization: "Bearer nonsense" }]) {
				const answer = await request(stack, {
					url: `https://localhost:${stack.ports.ingest}/v1/recordings`,
					method: "POST",
					headers: { ...headers, "content-type": "video/webm" },
					body: Buffer.from("no recording"),
				});
				assert.equal(answer.status, 401);
			}
		});
	});

	describe("links", () => {
		const exchangeLink = (link) =>
			request(stack, { url: `${link.url}/session`, method: "POST", body: { consent: { text: "agreed" } } });

		it("refuses a link that was revoked, and the streams of its sessions", async () => {
			const link = await makeLink(stack, account);
			const { token } = await openSession(stack, link);
			const connection = await connect(token);
			start(connection);
			await connection.nextOf("ready");
			await stack.ctl(["link", "revoke", link.id, "--yes"]);
			const answer = await exchangeLink(link);
			assert.equal(answer.status, 410);
			assert.equal(answer.json.code, "link-revoked");
			await refused(connection, "link-revoked");
			const again = await connect(token);
			start(again);
			await refused(again, "link-revoked");
		});

		it("refuses a link that has expired", async () => {
			const link = await makeLink(stack, account);
			await stack.postgres.psql(`UPDATE rushes.link SET created_at = now() - interval '2 hours',
				expires_at = now() - interval '1 second' WHERE id = '${link.id}'`);
			const answer = await exchangeLink(link);
			assert.equal(answer.status, 410);
			assert.equal(answer.json.code, "link-expired");
		});

		it("does not tell an unknown link from a malformed one", async () => {
			const link = await makeLink(stack, account);
			for (const url of [link.url.replace(/.{4}$/, "aaaa"), `${stack.linkgenUrl}/r/x`]) {
				assert.equal((await exchangeLink({ url })).status, 404);
			}
		});

		it("refuses a link to whoever has no API key", async () => {
			for (const headers of [{}, { authorization: "Bearer rk_nonsense" }]) {
				const answer = await request(stack, {
					url: `${stack.linkgenUrl}/v1/links`,
					method: "POST",
					headers,
					body: {},
				});
				assert.equal(answer.status, 401);
			}
		});
	});

	describe("bytes", () => {
		it(
			"refuses a piece whose CRC-32 is wrong; sent again, the take arrives whole",
			{ timeout: 120_000 },
			async () => {
				const { bytes, file, name } = fixture("cam-vp9-opus.webm");
				const { token } = await session();
				const take = randomUUID();
				const connection = await connect(token);
				start(connection, take);
				await connection.nextOf("ready");
				connection.sendBytes(0, bytes.subarray(0, SLOT_BYTES));
				const { offset: acknowledged } = await connection.nextOf("ack");
				assert.ok(acknowledged > 0);
				connection.sendBytes(SLOT_BYTES, bytes.subarray(SLOT_BYTES, 2 * SLOT_BYTES), 0xdeadbeef);
				await refused(connection, "crc-mismatch", { retry: true });

				const sent = await sendRecording({
					url: stack.ingestUrl,
					ca: stack.ca,
					token,
					bytes,
					id: take,
					mime: "video/webm",
				});
				assert.ok(
					sent.resumed[0] >= acknowledged && sent.resumed[0] <= SLOT_BYTES,
					`resumed at ${sent.resumed}`,
				);
				const shown = await waitDelivered(stack, sent.recording);
				assert.deepEqual((await verifyRecording(stack, shown, { bytes, file, name })).problems, []);
			},
		);

		it("refuses a gap", async () => {
			const connection = await connect((await session()).token);
			start(connection);
			await connection.nextOf("ready");
			connection.sendBytes(SLOT_BYTES, randomBytes(1024));
			await refused(connection, "gap", { retry: true });
		});

		it("refuses more than the token allows, and saves what came before", async () => {
			const { token } = await session();
			const claims = claimsOf(token);
			const key = readKey(stack.keyFile("token-sign"));
			const connection = await connect(makeToken({ ...claims, max_bytes: SLOT_BYTES }, key));
			start(connection);
			const { recording } = await connection.nextOf("ready");
			for (let at = 0; at < 3; at++) connection.sendBytes(at * SLOT_BYTES, randomBytes(SLOT_BYTES));
			await refused(connection, "too-large");
			const shown = await showRecording(stack, recording);
			assert.deepEqual([shown.bytes, shown.stop, shown.truncated], [SLOT_BYTES, "limit", true]);
		});

		it("refuses a take whose end does not match what came", async () => {
			const connection = await connect((await session()).token);
			start(connection);
			await connection.nextOf("ready");
			connection.sendBytes(0, randomBytes(1000));
			connection.send({ type: "stop", bytes: 5000, crc32: "00000000", duration_ms: 1 });
			connection.send({ type: "send" });
			await refused(connection, "bytes-mismatch", { retry: true });
		});
	});

	describe("messages", () => {
		for (const [what, send, code] of [
			["text that is no JSON", (connection) => connection.socket.send("{nonsense"), "bad-request"],
			["JSON that is no object", (connection) => connection.socket.send("[1,2]"), "bad-request"],
			["a type that does not exist", (connection) => connection.send({ type: "dance" }), "unknown-message"],
			["bytes before the start", (connection) => connection.sendBytes(0, randomBytes(10)), "bad-request"],
			[
				"a start without a take",
				(connection) => connection.send({ type: "start", mime: "video/webm" }),
				"bad-request",
			],
			["a piece too short for its head", (connection) => connection.socket.send(randomBytes(5)), "bad-request"],
		]) {
			it(`refuses ${what}`, async () => {
				const connection = await connect((await session()).token);
				await connection.opened;
				send(connection);
				await refused(connection, code);
			});
		}

		for (const [what, bytes, code] of [
			["a frame that is not masked", () => frame({ opcode: 1, payload: Buffer.from("{}"), masked: false }), 1002],
			["reserved bits", () => frame({ opcode: 1, payload: Buffer.from("{}"), reserved: 4 }), 1002],
			["an unknown opcode", () => frame({ opcode: 3, payload: Buffer.from("x") }), 1002],
			[
				"text that is not UTF-8",
				() => frame({ opcode: 1, payload: Buffer.from([0x22, 0xff, 0xfe, 0x22]) }),
				1007,
			],
			["a control frame in pieces", () => frame({ opcode: 9, payload: Buffer.from("x"), final: false }), 1002],
			["a control frame over 125 bytes", () => frame({ opcode: 9, payload: randomBytes(200) }), 1002],
			["a message of 2^60 bytes", () => frame({ opcode: 2, claim: 2 ** 60 }), 1009],
			["a continuation of nothing", () => frame({ opcode: 0, payload: Buffer.from("x") }), 1002],
		]) {
			it(`closes with ${code} on ${what}`, async () => {
				const answer = await exchange(
					stack,
					stack.ports.ingest,
					Buffer.concat([Buffer.from(upgradeHead()), bytes()]),
					{
						until: (sofar) => closeCodeOf(sofar) !== 0,
					},
				);
				assert.equal(statusOf(answer), 101);
				assert.equal(closeCodeOf(answer), code);
			});
		}
	});

	describe("HTTP", () => {
		const head = (lines) => Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
		for (const front of ["ingest", "linkgen"]) {
			for (const [what, bytes, statuses] of [
				["what is no HTTP", () => randomBytes(512), [400]],
				["a request without Host", () => head(["GET / HTTP/1.1"]), [400]],
				[
					"two lengths",
					() => head(["POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 2"]),
					[400],
				],
				[
					"length and chunks at once",
					() => head(["POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"]),
					[400],
				],
				["a space before the colon", () => head(["GET / HTTP/1.1", "Host : a"]), [400]],
				["a folded header", () => head(["GET / HTTP/1.1", "Host: a", "X-A: b", " c"]), [400]],
				["a header of 100 kB", () => head(["GET / HTTP/1.1", "Host: a", `X-A: ${"a".repeat(100_000)}`]), [431]],
				[
					"a thousand headers",
					() => head(["GET / HTTP/1.1", "Host: a", ...Array.from({ length: 1000 }, (_, i) => `X-${i}: a`)]),
					[431],
				],
				["a target of 100 kB", () => head([`GET /${"a".repeat(100_000)} HTTP/1.1`, "Host: a"]), [414, 431]],
				[
					"a way out of the root",
					() => head(["GET /../../etc/passwd HTTP/1.1", "Host: a", "Connection: close"]),
					[400, 404],
				],
				[
					"a path that does not exist",
					() => head(["GET /nothing HTTP/1.1", "Host: a", "Connection: close"]),
					[404],
				],
			]) {
				it(`${front} answers ${statuses.join(" or ")} to ${what}`, async () => {
					const answer = await exchange(stack, stack.ports[front], bytes(), {
						until: (sofar) => sofar.includes("\r\n\r\n"),
					});
					assert.ok(statuses.includes(statusOf(answer)), answer.toString("latin1").slice(0, 120));
				});
			}
		}

		it("speaks no TLS below 1.2", async () => {
			const { default: tls } = await import("node:tls");
			const port = stack.ports.ingest;
			const failed = await new Promise((resolve) => {
				const socket = tls.connect(
					{
						host: "127.0.0.1",
						port,
						servername: "localhost",
						ca: stack.ca,
						minVersion: "TLSv1",
						maxVersion: "TLSv1.1",
						ciphers: "DEFAULT@SECLEVEL=0",
					},
					() => resolve(false),
				);
				socket.on("error", () => resolve(true));
			});
			assert.ok(failed);
		});
	});

	it("meanwhile lost nothing of a take that was open all the time", { timeout: 120_000 }, async () => {
		finishBystander();
		const sent = await bystander;
		assert.equal(sent.connections, 1);
		const shown = await waitDelivered(stack, sent.recording);
		assert.deepEqual((await verifyRecording(stack, shown, sent)).problems, []);
	});

	it("and every service is still ready", async () => {
		for (const service of Object.keys(stack.services))
			await waitFor(`${service} is ready`, async () => (await stack.admin(service, "/readyz")).status === 200);
	});
});
