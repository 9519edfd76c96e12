// linkgen alone, on real servers: the REST API as proto/openapi.yaml documents it, and short links from their making to
// their end.
import assert from "node:assert/strict";
import { createHash, createPublicKey, randomUUID, verify } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { makeAccount, makeLink, openSession, request } from "../../scripts/lib/journey.mjs";
import { testStack } from "../lib/harness.mjs";
import { openApi } from "../lib/schemas.mjs";

const CODE = "a".repeat(26);
const UUID = "01234567-89ab-7cde-8f01-23456789abcd";

describe("linkgen", () => {
	const api = openApi();
	let stack;
	let account;
	let stranger;

	before(async () => {
		// the limits would slow this down: they have a test of their own
		stack = testStack("linkgen");
		await stack.prepare();
		await stack.startServices(["linkgen"]);
		account = await makeAccount(stack);
		const other = await stack.ctl(["account", "create", "Other"]);
		await stack.ctl(["env", "create", other.id, "support"]);
		const key = await stack.ctl(["apikey", "create", other.id, "helpdesk"]);
		stranger = { account: other.id, key: key.key };
	});
	after(() => stack?.remove());

	/** A REST call, checked against the document. */
	async function call(operation, route, { method = "GET", key = account.key, headers = {}, body } = {}) {
		const answer = await request(stack, {
			url: `${stack.linkgenUrl}${route}`,
			method,
			headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...headers },
			body,
		});
		api.check(operation, answer);
		return answer;
	}
	const create = (body, options = {}) => call("createLink", "/v1/links", { method: "POST", body, ...options });
	const refused = (answer, status, code) => {
		assert.equal(answer.status, status, answer.body.toString());
		assert.equal(answer.json.code, code);
	};

	it("makes a link, tells its address once and its state later", async () => {
		const requester = { agent: "Anna", subject: "Where it fails", ticket: "#7", customer: "Jonas" };
		const made = await create({ environment: "support", expires_in: 3600, uses_max: 2, requester });
		assert.equal(made.status, 201);
		assert.equal(made.headers.location, `/v1/links/${made.json.id}`);
		assert.ok(made.json.url.startsWith(`${stack.linkgenUrl}/r/`));
		assert.equal(made.json.environment, account.environment);
		const life = Date.parse(made.json.expires_at) - Date.parse(made.json.created_at);
		assert.ok(Math.abs(life - 3600e3) < 1000, `lives ${life} ms`);
		const got = await call("getLink", `/v1/links/${made.json.id}`);
		assert.equal(got.status, 200);
		assert.equal(got.json.url, undefined);
		assert.deepEqual(got.json.requester, requester);
		assert.equal(got.json.state, "open");
		assert.equal(got.json.uses, 0);
	});

	it("keeps the code nowhere", async () => {
		const { url } = await makeLink(stack, account);
		const code = url.split("/").pop();
		assert.match(code, /^[a-z2-7]{26}$/);
		const dump = JSON.stringify(await stack.postgres.query("SELECT * FROM rushes.link"));
		assert.ok(!dump.includes(code));
		assert.ok(!JSON.stringify(stack.log("linkgen")).includes(code));
	});

	it("takes an absolute expiry", async () => {
		const expires_at = new Date(Date.now() + 7200e3).toISOString();
		const made = await create({ environment: account.environment, expires_at });
		assert.ok(Math.abs(Date.parse(made.json.expires_at) - Date.parse(expires_at)) < 1000);
	});

	it("answers a repeated request with the same link", async () => {
		const options = { headers: { "idempotency-key": "ticket-4711/1" } };
		const body = { environment: "support", requester: { agent: "Anna" } };
		const first = await create(body, options);
		const second = await create(body, options);
		assert.deepEqual([first.status, second.status], [201, 200]);
		assert.equal(second.json.id, first.json.id);
		assert.equal(second.json.url, first.json.url);
		refused(await create({ ...body, uses_max: 5 }, options), 409, "idempotency-mismatch");
		const elsewhere = await create({ environment: "support", requester: { agent: "Anna" } }, { ...options, key: stranger.key });
		assert.equal(elsewhere.status, 201);
		assert.notEqual(elsewhere.json.url, first.json.url);
		refused(await create(body, { headers: { "idempotency-key": "x".repeat(129) } }), 400, "bad-request");
	});

	it("refuses what it cannot do, and says why", async () => {
		const wrong = [
			[{}, "bad-request"],
			[{ environment: "support", surprise: 1 }, "bad-request"],
			[{ environment: "support", expires_in: 59 }, "bad-request"],
			[{ environment: "support", expires_in: -1 }, "bad-request"],
			[{ environment: "support", expires_at: "tomorrow" }, "bad-request"],
			[{ environment: "support", expires_at: "2020-01-01T00:00:00Z" }, "bad-request"],
			[{ environment: "support", expires_in: 3600, expires_at: "2030-01-01T00:00:00Z" }, "bad-request"],
			[{ environment: "support", uses_max: 0 }, "bad-request"],
			[{ environment: "support", requester: "Anna" }, "bad-request"],
			[{ environment: "support", requester: { agent: "x".repeat(201) } }, "bad-request"],
			[{ environment: "support", requester: { email: "a@b" } }, "bad-request"],
			[{ environment: "other" }, "unknown-environment"],
			[Buffer.from("not json"), "bad-request"],
			[Buffer.from('{"environment":"support"}'), "bad-request"],
		];
		for (const [body, code] of wrong) refused(await create(body), 400, code);
		const types = { "content-type": "application/json" };
		refused(await create(Buffer.from('["support"]'), { headers: types }), 400, "bad-request");
		refused(await create(Buffer.from('{"environment":"support"'), { headers: types }), 400, "bad-request");
		refused(await create({ environment: "x".repeat(20_000) }), 413, "too-large");
	});

	it("lets nobody in without a key, and each key only as far as its scopes", async () => {
		const id = account.key.slice(3, 35);
		const keys = [null, "nonsense", account.key.slice(0, -1), `rk_${id}_${"a".repeat(52)}`, `rk_${"0".repeat(32)}_${"a".repeat(52)}`];
		for (const key of keys) {
			const answer = await create({ environment: "support" }, { key });
			refused(answer, 401, "unauthorized");
			assert.equal(answer.headers["www-authenticate"], "Bearer");
		}
		const reader = await stack.ctl(["apikey", "create", account.account, "reports", "--scopes", "recordings:read"]);
		refused(await create({ environment: "support" }, { key: reader.key }), 403, "scope");
		assert.equal((await call("listRecordings", "/v1/recordings", { key: reader.key })).status, 200);
		await stack.ctl(["apikey", "revoke", reader.id, "--yes"]);
		refused(await call("listRecordings", "/v1/recordings", { key: reader.key }), 401, "unauthorized");
	});

	it("shows no account what is another's", async () => {
		const { id } = await makeLink(stack, account);
		refused(await call("getLink", `/v1/links/${id}`, { key: stranger.key }), 404, "not-found");
		refused(await call("revokeLink", `/v1/links/${id}`, { method: "DELETE", key: stranger.key }), 404, "not-found");
		assert.equal((await call("getLink", `/v1/links/${id}`)).json.state, "open");
		for (const route of [UUID, "nonsense", "%00", "..%2f"])
			assert.equal((await request(stack, { url: `${stack.linkgenUrl}/v1/links/${route}`, headers: { authorization: `Bearer ${account.key}` } })).status, route === "%00" ? 400 : 404);
	});

	it("revokes a link, as often as asked", async () => {
		const link = await makeLink(stack, account);
		for (let time = 0; time < 2; time++)
			assert.equal((await call("revokeLink", `/v1/links/${link.id}`, { method: "DELETE" })).status, 204);
		assert.equal((await call("getLink", `/v1/links/${link.id}`)).json.state, "revoked");
		const page = await request(stack, { url: link.url });
		assert.equal(page.status, 410);
		assert.match(page.body.toString(), /recorder\.js/);
		await assert.rejects(openSession(stack, link), /link-revoked/);
		const audit = await stack.postgres.query(`SELECT actor FROM rushes.audit WHERE action = 'link.revoke' AND subject = '${link.id}'`);
		assert.match(audit[0].actor, /^api-key\//);
	});

	it("lists recordings in pages", async () => {
		const answer = await call("listRecordings", "/v1/recordings?limit=1&state=open&before=2026-01-01T00:00:00%2B02:00");
		assert.deepEqual(answer.json, { recordings: [], next: null });
		for (const query of ["limit=0", "limit=201", "limit=x", "state=lost", "before=now"])
			refused(await call("listRecordings", `/v1/recordings?${query}`), 400, "bad-request");
		refused(await call("getRecording", `/v1/recordings/${UUID}`), 404, "not-found");
		const key = (await stack.ctl(["apikey", "create", account.account, "cleaner", "--scopes", "recordings:delete"])).key;
		refused(await call("deleteRecording", `/v1/recordings/${UUID}`, { method: "DELETE", key }), 404, "not-found");
	});

	/** A take that a spool saved, without the spool. */
	async function savedRecording() {
		const [recording, session, copy, node] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
		await stack.postgres.psql(`
			insert into rushes.session (account, id, environment, resume_hash, consent_text, consent_at, expires_at)
			values ('${account.account}', '${session}', '${account.environment}', '\\x01', 'yes', now(), now() + interval '1 hour');
			select rushes.node_beat('${node}', 'eu1', 'ingest', 'https://localhost:1', 1, 1, false);
			select rushes.recording_open('${recording}', '${account.account}', '${session}', 'video/webm', '192.0.2.7', null, null, null, null, null, null);
			select rushes.segment_prepare('${recording}', '${session}');
			select rushes.segment_open('${recording}', 1, 0, '${node}', 0, '${copy}', 'a.sealed',
				(select id from rushes.account_key_add('${account.account}', gen_random_uuid(), 'root', '\\x00')), '\\x01');
			select rushes.segment_present('${copy}', '${node}');
			select rushes.segment_close('${recording}', 0, '${node}', 100, sha256('x'), 5);
			select rushes.recording_saved('${recording}', 'user', true, false, false, 100, null);`);
		return { recording, node, session, copy };
	}

	it("tells an account when its recording goes, by which rule, and what keeps it", async () => {
		const { recording, node } = await savedRecording();
		const route = `/v1/recordings/${recording}`;
		const retention = async () => (await call("getRecording", route)).json.retention;
		const waiting = await retention();
		assert.deepEqual({ ...waiting, copies: waiting.copies.length }, { held: false, rule: null, due_at: null, copies: 1 });
		assert.match(waiting.copies[0].because, /^an unfinished job needs it: copy/);
		assert.deepEqual([waiting.copies[0].file, waiting.copies[0].place], ["raw", "ingest"]);
		refused(await call("getRecording", route, { key: stranger.key }), 404, "not-found");

		await stack.ctl(["account", "plan", account.account, "--plan", "paid", "--expires", "2030-05-10"]);
		await stack.postgres.psql("select rushes.rules_change_work(500)");
		const ending = await retention();
		assert.equal(ending.rule, "subscription-expired");
		assert.equal(Date.parse(ending.due_at), Date.parse("2030-06-06T21:00:00Z"));
		assert.equal(ending.copies[0].rule, "subscription-expired");
		assert.equal(ending.copies[0].due_at, ending.due_at);

		await stack.ctl(["recording", "hold", recording, "--reason", "case 4711"]);
		const held = await retention();
		assert.deepEqual([held.held, held.rule, held.copies[0].because], [true, null, "a hold keeps it until it is lifted"]);
		assert.ok(!JSON.stringify(held).includes(node) && !JSON.stringify(held).includes("4711"), "neither our nodes nor a hold's reason");

		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		assert.equal((await retention()).rule, "deleted-by-user");
		await stack.ctl(["account", "plan", account.account, "--plan", "paid", "--expires", "never"]);
	});

	it("decides a deletion once, and tells until its end what is left and what is proven", async () => {
		const { recording, node, session, copy } = await savedRecording();
		const route = `/v1/recordings/${recording}`;
		const keyOf = async (owner, scopes) => (await stack.ctl(["apikey", "create", owner.account, `key ${scopes}`, "--scopes", scopes])).key;
		const remover = await keyOf(account, "recordings:read,recordings:delete");
		const remove = (query = "", options = {}) => call("deleteRecording", `${route}${query}`, { method: "DELETE", key: remover, ...options });
		const status = async (options) => call("getDeletion", `${route}/deletion`, options);
		refused(await status(), 404, "not-found");
		const reader = await keyOf(account, "recordings:read");
		refused(await remove("", { key: reader }), 403, "scope");
		refused(await remove("", { key: await keyOf(stranger, "recordings:delete") }), 404, "not-found");
		refused(await remove(`?reason=${"x".repeat(501)}`), 400, "bad-request");

		await stack.ctl(["recording", "hold", recording, "--reason", "case 4711"]);
		refused(await remove(), 409, "conflict");
		const decided = await remove("?reason=the%20customer%20asked");
		assert.equal(decided.status, 202);
		assert.equal(decided.headers.location, `${route}/deletion`);
		assert.deepEqual([decided.json.state, decided.json.rule, decided.json.completed_at], ["deleting", "deleted-by-api", null]);
		assert.equal(Date.parse(decided.json.deadline) - Date.parse(decided.json.decided_at), 5 * 86_400_000);
		assert.deepEqual(decided.json.left.map((one) => [one.copy, one.of, one.where]), [[copy, "segment 0", "ingest"]]);

		// from the decision on, in the same transaction
		const facts = await stack.postgres.query(`select
			(select count(*) from rushes.recording_key where recording = '${recording}') as keys,
			(select count(*) from rushes.job where recording = '${recording}') as jobs,
			(select string_agg(state, ',') from rushes.job_done where recording = '${recording}') as ended`);
		assert.deepEqual(facts, [{ keys: 0, jobs: 0, ended: "cancelled" }]);
		const prepare = stack.postgres.psql(`select rushes.segment_prepare('${recording}', '${session}')`);
		await assert.rejects(prepare, (error) => /deleting/.test(error.stderr));
		assert.equal((await call("getRecording", route)).json.state, "deleting");

		const again = await remove();
		assert.deepEqual([again.status, again.json.decided_at], [202, decided.json.decided_at]);
		assert.deepEqual((await status({ key: reader })).json, again.json);
		refused(await status({ key: stranger.key }), 404, "not-found");
		assert.ok(!JSON.stringify(again.json.left).includes(node), "not our nodes");

		await stack.postgres.psql(`
			select rushes.sweep_decide('janitor', 100);
			select rushes.copy_gone('${copy}', 'node/${node}', '{"unlinked": true}');
			select rushes.personal_sweep(100)`);
		const done = (await status()).json;
		assert.deepEqual([done.state, done.left, done.overdue, done.personal_metadata], ["deleted", [], false, "gone"]);
		assert.deepEqual(done.evidence.map(({ kind }) => kind).sort(), ["complete", "gone", "gone"]);
		assert.deepEqual([(await remove()).status, (await call("getRecording", route)).json.state], [202, "deleted"]);
		const audit = await stack.postgres.query(`select actor, detail from rushes.audit where subject = '${recording}' and action = 'recording.delete'`);
		assert.equal(audit.length, 1);
		assert.deepEqual(audit[0].detail, { rule: "deleted-by-api", reason: "the customer asked" });
		const shown = await stack.ctl(["recording", "deletion", recording]);
		assert.deepEqual([shown.state, shown.evidence.length], ["deleted", 3]);
	});

	it("serves the page under a strict policy", async () => {
		const link = await makeLink(stack, account);
		const page = await request(stack, { url: link.url });
		api.check("getPage", page);
		assert.equal(page.status, 200);
		const policy = page.headers["content-security-policy"];
		assert.match(policy, /default-src 'none'/);
		assert.match(policy, /frame-ancestors 'none'/);
		assert.ok(policy.includes(`connect-src 'self' ${stack.ingestUrl} ${stack.ingestUrl.replace("wss:", "https:")};`));
		assert.ok(!/unsafe|\*/.test(policy));
		assert.equal(page.headers["referrer-policy"], "no-referrer");
		assert.equal(page.headers["cache-control"], "no-store");
		assert.match(page.headers["permissions-policy"], /display-capture=\(self\)/);
		assert.match(page.headers["strict-transport-security"], /max-age/);
		const html = page.body.toString();
		assert.ok(!/<script(?![^>]*src=)|<style| style=| on[a-z]+=/.test(html), "something is inline");
		const assets = html.match(/\/assets\/[^"]+/g);
		assert.ok(assets.length >= 4);
		let bytes = page.body.length;
		const modules = ["capture.js", "store.js", "stream.js", "crc32.js"].map((name) => assets[0].replace(/[^/]+$/, name));
		for (const asset of new Set([...assets, ...modules])) {
			const file = await request(stack, { url: `${stack.linkgenUrl}${asset}` });
			assert.equal(file.status, 200, asset);
			assert.match(file.headers["cache-control"], /immutable/);
			assert.equal(file.headers["x-content-type-options"], "nosniff");
			bytes += file.body.length;
		}
		assert.ok(bytes < 40_000, `the page has ${bytes} bytes`);
		for (const asset of ["/assets/x/index.html", "/assets/x/..%2f..%2fmain.c", "/assets/x/none.js"])
			assert.equal((await request(stack, { url: `${stack.linkgenUrl}${asset}` })).status, 404, asset);
	});

	it("answers an unknown code with the same page", async () => {
		const link = await makeLink(stack, account);
		const known = await request(stack, { url: link.url });
		for (const code of [CODE, "short", "A".repeat(26), "%20"]) {
			const page = await request(stack, { url: `${stack.linkgenUrl}/r/${code}` });
			assert.equal(page.status, 404, code);
			assert.deepEqual(page.body, known.body);
			const asked = await request(stack, { url: `${stack.linkgenUrl}/r/${code}/request` });
			api.check("getRequest", asked);
			refused(asked, 404, "link-unknown");
		}
	});

	it("tells the page who asks, and not more", async () => {
		const requester = { agent: "Anna", subject: "Where it fails", ticket: "#7", customer: "Jonas" };
		const link = await makeLink(stack, account, { requester });
		const asked = await request(stack, { url: `${link.url}/request` });
		api.check("getRequest", asked);
		assert.deepEqual(asked.json.requester, { agent: "Anna", subject: "Where it fails", ticket: "#7" });
		assert.equal(asked.json.account.name, "Demo Support");
		assert.ok(asked.json.consent.text.length > 20);
	});

	it("exchanges a link for a token that ingest can check", async () => {
		const link = await makeLink(stack, account);
		const session = await openSession(stack, link);
		const [, , body, footer] = session.token.split(".");
		const bytes = Buffer.from(body, "base64url");
		const payload = JSON.parse(bytes.subarray(0, -64));
		assert.equal(payload.aud, "ingest.eu1");
		assert.equal(payload.session, session.session);
		assert.equal(payload.account, account.account);
		assert.ok(Date.parse(payload.exp) - Date.parse(payload.iat) <= 12 * 3600e3);
		// the signature by Node's OpenSSL: PAE over header, payload, footer and the implicit assertion
		const parts = ["v4.public.", bytes.subarray(0, -64), Buffer.from(footer, "base64url"), "rushes.session.v1"].map((part) => Buffer.from(part));
		const size = (n) => {
			const text = Buffer.alloc(8);
			text.writeBigUInt64LE(BigInt(n));
			return text;
		};
		const message = Buffer.concat([size(parts.length), ...parts.flatMap((part) => [size(part.length), part])]);
		const { readFileSync } = await import("node:fs");
		const [, digits] = readFileSync(`${stack.keyFile("token-sign")}.pub`, "utf8").trim().split(" ");
		const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(digits, "hex").toString("base64url") }, format: "jwk" });
		assert.ok(verify(null, message, key, bytes.subarray(-64)));
		assert.equal(session.ingest_url, stack.ingestUrl);
		const [row] = await stack.postgres.query(`SELECT consent_text, encode(resume_hash, 'hex') AS hash FROM rushes.session WHERE id = '${session.session}'`);
		assert.equal(row.hash, createHash("sha256").update(session.resume).digest("hex"));
		assert.ok(row.consent_text.length > 20);
	});

	it("counts the uses of a link, but not the reloads of its page", async () => {
		const link = await makeLink(stack, account);
		const session = await openSession(stack, link);
		const post = async (body) => {
			const answer = await request(stack, { url: `${link.url}/session`, method: "POST", body });
			api.check("openSession", answer);
			return answer;
		};
		const resumed = await post({ resume: session.resume });
		assert.equal(resumed.status, 200);
		assert.equal(resumed.json.session, session.session);
		assert.equal(resumed.json.resume, session.resume);
		const asked = await request(stack, { url: `${link.url}/request` });
		refused(asked, 410, "link-used");
		refused(await post({ resume: "a".repeat(52) }), 410, "link-used");
		const other = await makeLink(stack, account);
		const consent = (await request(stack, { url: `${other.url}/request` })).json.consent;
		const elsewhere = await request(stack, { url: `${other.url}/session`, method: "POST", body: { consent, resume: session.resume } });
		assert.equal(elsewhere.status, 201, "a secret of another link is no secret here");
		assert.notEqual(elsewhere.json.session, session.session);
		refused(await post({}), 400, "bad-request");
		refused(await post({ consent: true }), 400, "bad-request");
		refused(await post({ resume: "short" }), 400, "bad-request");
		assert.equal((await call("getLink", `/v1/links/${link.id}`)).json.uses, 1);
	});

	it("wants consent to the words that stand now", async () => {
		const link = await makeLink(stack, account);
		const answer = await request(stack, { url: `${link.url}/session`, method: "POST", body: { consent: { text: "other words" } } });
		api.check("openSession", answer);
		refused(answer, 409, "consent-changed");
		assert.equal((await call("getLink", `/v1/links/${link.id}`)).json.uses, 0);
	});

	it("says when a link has expired, and lets go of it 30 days later", async () => {
		const link = await makeLink(stack, account);
		const session = await openSession(stack, link);
		await stack.postgres.psql(`UPDATE rushes.session SET created_at = now() - interval '1 hour' WHERE id = '${session.session}'`);
		await stack.postgres.psql(`UPDATE rushes.link SET expires_at = now() - interval '1 second' WHERE id = '${link.id}'`);
		refused(await request(stack, { url: `${link.url}/request` }), 410, "link-expired");
		assert.equal((await request(stack, { url: link.url })).status, 410);
		// what was begun may finish
		const resumed = await request(stack, { url: `${link.url}/session`, method: "POST", body: { resume: session.resume } });
		assert.equal(resumed.status, 200);
		await stack.postgres.psql(`UPDATE rushes.link SET expires_at = now() - interval '31 days' WHERE id = '${link.id}'`);
		await stack.kill("linkgen");
		await stack.restart("linkgen");
		const { waitFor } = await import("../../scripts/lib/process.mjs");
		await waitFor("the sweep took the link", async () => (await stack.postgres.query(`SELECT id FROM rushes.link WHERE id = '${link.id}'`)).length === 0, { limitMs: 15_000 });
		assert.equal((await stack.postgres.query(`SELECT id FROM rushes.session WHERE id = '${session.session}'`)).length, 0);
		assert.equal((await request(stack, { url: link.url })).status, 404);
	});

	it("goes on without Redis, and waits for PostgreSQL", async () => {
		const link = await makeLink(stack, account);
		await stack.kill("redis");
		assert.equal((await request(stack, { url: `${link.url}/request` })).status, 200);
		await stack.restart("redis");
		await stack.kill("postgres");
		const away = await request(stack, { url: `${link.url}/request` });
		api.check("getRequest", away);
		refused(away, 503, "try-again");
		const page = await request(stack, { url: link.url });
		assert.equal(page.status, 503);
		await stack.restart("postgres");
		const { waitFor } = await import("../../scripts/lib/process.mjs");
		await waitFor("linkgen answers again", async () => (await request(stack, { url: `${link.url}/request` })).status === 200);
	});

	it("slows down who asks too much", async () => {
		let answer;
		for (let i = 0; i < 80; i++) {
			answer = await request(stack, { url: `${stack.linkgenUrl}/r/${CODE}/request` });
			if (answer.status === 429) break;
		}
		api.check("getRequest", answer);
		refused(answer, 429, "too-many-requests");
		assert.ok(Number(answer.headers["retry-after"]) >= 1);
		const metrics = (await stack.admin("linkgen", "/metrics")).body;
		assert.match(metrics, /rushes_linkgen_answers_total\{operation="request",outcome="too-many-requests"\} [1-9]/);
		const state = JSON.parse((await stack.admin("linkgen", "/debug/state")).body);
		assert.equal(state.linkgen.calls, 0);
	});
});
