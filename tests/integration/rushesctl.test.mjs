// Every command of rushesctl against the real database: what it prints, what it refuses, what the audit says of it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { ctlEnvironment } from "../../scripts/lib/services.mjs";
import { testStack } from "../lib/harness.mjs";

const INGEST = "11111111-0000-4000-8000-000000000001";
const TRANSCODER = "22222222-0000-4000-8000-000000000002";
const WORKER = `transcoder/${TRANSCODER}#1`;
const PUSHER = "storage-pusher/a#1";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const stack = testStack("rushesctl");
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
const rows = (text) => stack.postgres.query(text);
const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");

/** Runs rushesctl; resolves to {status, stdout, stderr}. */
function ctl(args, { input = "", env = {} } = {}) {
	return new Promise((resolve, reject) => {
		const child = spawn(path.join(stack.build, "bin", "rushesctl"), args, {
			env: { PATH: process.env.PATH, LANG: "C.UTF-8", ...ctlEnvironment(stack), ...env },
			cwd: stack.root,
		});
		let stdout = "";
		let stderr = "";
		child.stdout.on("data", (data) => (stdout += data));
		child.stderr.on("data", (data) => (stderr += data));
		child.on("error", reject);
		child.on("close", (status) => resolve({ status, stdout, stderr }));
		// a command that reads nothing may be gone before
		child.stdin.on("error", () => {});
		child.stdin.end(input);
	});
}

/** Runs it with --json and demands success. */
async function json(args, options) {
	const result = await ctl([...args, "--json"], options);
	assert.equal(result.status, 0, `rushesctl ${args.join(" ")}: ${result.stderr}`);
	return JSON.parse(result.stdout);
}

/** Runs it and demands this status and this message. */
async function refused(args, status, message, options) {
	const result = await ctl(args, options);
	assert.equal(result.status, status, `rushesctl ${args.join(" ")}: ${result.stdout}${result.stderr}`);
	assert.match(result.stderr, message);
	assert.equal(result.stdout, "");
}

/** What the audit says was done to `subject`, oldest first. */
const audit = (subject) => rows(`select actor, action, account, detail from rushes.audit where subject = '${subject}' order by id`);

const call = async (name, ...args) => {
	const literal = (v) => {
		if (v === null) return "null";
		if (typeof v === "object") return `'${JSON.stringify(v)}'::jsonb`;
		return typeof v === "string" ? `'${v}'` : String(v);
	};
	return rows(`select * from rushes.${name}(${args.map(literal).join(", ")})`);
};

const uuid = () => crypto.randomUUID();

/** The spools beat: nobody claims a job whose spool is silent. */
async function beat() {
	await call("node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1000, 900, false);
	await call("node_beat", TRANSCODER, "eu1", "transcoder", "https://localhost:2", 1000, 900, false);
}

/**
 * A recording as the services would make it: received on INGEST, copied and converted on TRANSCODER. With `deliver` its
 * files lie in the stack's storage and the target confirmed them; `break` names a file that is stored with other bytes.
 */
async function makeRecording(account, environment, { deliver = true, broken = null } = {}) {
	await beat();
	const raw = crypto.randomBytes(3000);
	const recording = uuid();
	const session = uuid();
	await sql(`insert into rushes.session (account, id, environment, resume_hash, consent_text, consent_at, expires_at)
		values ('${account}', '${session}', '${environment}', '\\x01', 'yes', now(), now() + interval '1 hour')`);
	await call("recording_open", recording, account, session, "video/webm", "192.0.2.7", "a browser", null, null, null, null, null);
	const [{ epoch }] = await call("segment_prepare", recording, session);
	const [key] = await call("account_key_add", account, uuid(), "root", "\\x00");
	const segment = uuid();
	await call("segment_open", recording, epoch, 0, INGEST, 0, segment, "a.sealed", key.id, "\\x01");
	await call("segment_present", segment, INGEST);
	await call("segment_close", recording, 0, INGEST, raw.length, `\\x${sha256(raw)}`, 5);
	const [saved] = await call("recording_saved", recording, "user", true, false, false, raw.length, null);

	const [copy] = await call("job_claim", saved.job, "copy", "eu1", WORKER, null, "30 s");
	const rawCopy = uuid();
	await call("file_copy_begin", copy.id, copy.attempt, TRANSCODER, "raw", rawCopy, "raw.sealed");
	const [convert] = await call("copy_job_done", copy.id, copy.attempt, rawCopy, raw.length, `\\x${sha256(raw)}`, {});
	const [job] = await call("job_claim", convert.job, "convert", "eu1", WORKER, TRANSCODER, "30 s");
	const main = crypto.randomBytes(2000);
	const mainCopy = uuid();
	await call("file_copy_begin", job.id, job.attempt, TRANSCODER, "main", mainCopy, "main.sealed");
	await sql(`select rushes.convert_job_done('${job.id}', ${job.attempt}, '${JSON.stringify([
		{ kind: "main", copy: mainCopy, bytes: main.length, sha256: sha256(main), facts: { codec: "h264", audio_codec: "aac", duration_s: 12.5 } },
	])}')`);
	for (const [kind, bytes] of deliver ? [["main", main], ["raw", raw]] : []) {
		const [push] = await call("job_claim", null, "push", "eu1", PUSHER, null, "30 s");
		assert.equal(push.file_kind, kind);
		const location = `${recording}/${kind}`;
		fs.mkdirSync(path.join(stack.storage, recording), { recursive: true });
		fs.writeFileSync(path.join(stack.storage, location), kind === broken ? Buffer.alloc(bytes.length) : bytes);
		const [begun] = await call("push_begin", push.id, push.attempt, uuid(), location, null);
		await call("push_job_done", push.id, push.attempt, begun.copy, { verified: "read-back", size: bytes.length, sha256: sha256(bytes) }, false);
	}
	return { recording, raw, main };
}

/** What the owners of the places do: remove what is going. */
async function removeGoing() {
	await beat();
	await call("sweep_decide", "janitor", 100);
	for (const c of await rows("select c.id, rushes.copy_place(c) as place from rushes.copy c where c.state = 'going' and c.node is not null"))
		await call("copy_gone", c.id, c.place, { unlinked: true });
	for (;;) {
		const [job] = await call("job_claim", null, "delete", "eu1", PUSHER, null, "30 s");
		if (!job) break;
		await call("delete_job_done", job.id, job.attempt, { removed: 1 });
	}
	await call("personal_sweep", 100);
}

describe("rushesctl", () => {
	const made = {};

	before(async () => {
		await stack.prepare();
	});
	after(() => stack.remove());

	it("explains every command", async () => {
		const all = await ctl(["--help"]);
		assert.equal(all.status, 0);
		const commands = [...all.stdout.matchAll(/^ {2}([a-z]+(?: [a-z]+){0,2}) {2,}[A-Z]/gm)].map(([, words]) => words.split(" "));
		assert.ok(commands.some((words) => words.join(" ") === "env lifecycle set"));
		assert.ok(commands.length >= 40, `only ${commands.length} commands`);
		for (const words of commands) {
			const one = await ctl([...words, "--help"]);
			assert.equal(one.status, 0, words.join(" "));
			assert.match(one.stdout, new RegExp(`usage: rushesctl ${words.join(" ")}`));
			assert.match(one.stdout, /Exit status: 0 done/);
		}
	});

	it("says what is wrong and what to do about it", async () => {
		await refused([], 2, /say what to do\n`rushesctl --help` tells more/);
		await refused(["recordng"], 2, /no such command recordng; did you mean recording\?/);
		await refused(["recording", "shw"], 2, /did you mean show\?\n`rushesctl recording --help`/);
		await refused(["recording", "show"], 2, /RECORDING is required/);
		await refused(["env", "lifecycle"], 2, /no such command env lifecycle; did you mean lifecycle list\?/);
		await refused(["env", "lifecycle", "set", "A"], 2, /ENV is required[\s\S]*`rushesctl env lifecycle set --help`/);
		await refused(["recording", "show", "7"], 2, /RECORDING 7: want an id such as/);
		await refused(["account", "create", "A", "--plan", "gold"], 2, /--plan gold: want one of paid, trial/);
		await refused(["account", "create", "A", "--zone", "Mars/Olympus"], 1, /Mars\/Olympus is no time zone/);
		await refused(["account", "show", "nobody"], 1, /there is no account nobody/);
		await refused(["account", "list"], 2, /RUSHES_DATABASE is not set/, { env: { RUSHES_DATABASE: "" } });
		await refused(["account", "list"], 2, /RUSHES_NONSENSE \(environment\) is no option/, { env: { RUSHES_NONSENSE: "1" } });
		await refused(["account", "list", "--database", `host=${stack.dir} dbname=rushes`], 1, /cannot use the database/);
	});

	it("migrates once, and says when nothing is missing", async () => {
		const steps = await json(["migrate"]);
		assert.ok(steps.length > 0 && steps.every(({ state }) => state === "applied before"));
		assert.deepEqual(await json(["migrate", "--check"]), steps);
		const folder = path.join(stack.dir, "schema");
		fs.cpSync(path.join(stack.root, "deploy/schema"), folder, { recursive: true });
		fs.writeFileSync(path.join(folder, "9999_more.sql"), "create table rushes.more ();\n");
		const check = await ctl(["migrate", "--check", "--dir", folder]);
		assert.equal(check.status, 1);
		assert.match(check.stdout, /9999_more\.sql +missing/);
		assert.match(check.stderr, /1 migrations are missing: run rushesctl migrate/);
		fs.appendFileSync(path.join(folder, "0001_foundation.sql"), "-- changed\n");
		const wrongRole = await ctl(["migrate", "--dir", folder, "--database", stack.postgres.conninfo("ctl")]);
		assert.equal(wrongRole.status, 1, "only the schema's owner migrates");
		const changed = await ctl(["migrate", "--dir", folder]);
		assert.equal(changed.status, 1);
		assert.match(changed.stderr, /0001_foundation\.sql changed after it was applied/);
	});

	it("makes key files that only their owner reads, once", async () => {
		const file = path.join(stack.dir, "a-key");
		const result = await json(["key", "generate", "token-sign", "--out", file]);
		assert.equal(result.public_file, `${file}.pub`);
		assert.equal(fs.statSync(file).mode & 0o777, 0o600);
		const [id, secret] = fs.readFileSync(file, "utf8").trim().split(" ");
		assert.equal(id, result.key);
		assert.match(secret, /^[0-9a-f]{64}$/);
		assert.ok(!JSON.stringify(result).includes(secret));
		const jwk = { kty: "OKP", crv: "Ed25519", d: Buffer.from(secret, "hex").toString("base64url") };
		const half = fs.readFileSync(`${file}.pub`, "utf8").trim().split(" ")[1];
		const key = crypto.createPrivateKey({ key: { ...jwk, x: Buffer.from(half, "hex").toString("base64url") }, format: "jwk" });
		assert.equal(crypto.createPublicKey(key).export({ format: "jwk" }).x, Buffer.from(half, "hex").toString("base64url"));
		await refused(["key", "generate", "token-sign", "--out", file], 1, /is there already/);
		assert.equal(fs.readFileSync(file, "utf8").trim().split(" ")[1], secret);
	});

	it("makes accounts and environments", async () => {
		made.account = await json(["account", "create", "Northwind", "--plan", "trial", "--expires", "28d"]);
		assert.match(made.account.id, UUID);
		assert.match(made.account.hash, /^[a-z2-7]{24}$/);
		const days = (new Date(made.account.trial_ends_at) - Date.now()) / 86_400_000;
		assert.ok(Math.abs(days - 28) < 0.01, `the trial ends in ${days} days`);
		assert.deepEqual((await audit(made.account.id)).map(({ action }) => action), ["account.create"]);
		assert.match((await audit(made.account.id))[0].actor, /^rushesctl:/);

		made.env = await json(["env", "create", "Northwind", "support", "--push-snapshot", "off", "--playback-window", "10m"]);
		assert.equal(made.env.push_snapshot, false);
		assert.equal(made.env.playback_window_s, 600);
		await refused(["env", "create", "Northwind", "support"], 1, /`rushesctl env set` changes it/);
		await refused(["env", "set", "Northwind", "support"], 2, /say what to set/);
		await refused(["env", "set", "Northwind", "other", "--push-raw", "off"], 1, /there is no environment other/);
		const changed = await json(["env", "set", "Northwind", made.env.id, "--max-bytes", "2GiB"]);
		assert.equal(changed.max_bytes, 2 * 1024 ** 3);
		assert.deepEqual((await audit(made.env.id)).map(({ action }) => action), ["environment.set", "environment.set"]);
		assert.deepEqual((await json(["env", "list", "Northwind"])).map(({ name }) => name), ["support"]);
		assert.deepEqual((await json(["account", "show", "Northwind"])).environments, ["support"]);
		const both = await ctl(["env", "set", "Northwind", "support", "--do-not-store", "on"]);
		assert.equal(both.status, 1, "an environment cannot both store and not store");
	});

	it("shows an API key once and keeps only its hash", async () => {
		const key = await json(["apikey", "create", "Northwind", "helpdesk"]);
		assert.match(key.key, /^rk_[0-9a-f]{32}_[a-z2-7]{52}$/);
		assert.equal(key.key.slice(3, 35), key.id.replaceAll("-", ""));
		const [pepper] = fs.readFileSync(stack.keyFile("link-pepper"), "utf8").trim().split("\n").map((line) => line.split(" ")[1]);
		const secret = key.key.slice(36);
		const hash = crypto.createHmac("sha256", Buffer.from(pepper, "hex")).update(`api-key ${key.id} ${secret}`).digest("hex");
		assert.equal(await value(`select encode(secret_hash, 'hex') from rushes.api_key where id = '${key.id}'`), hash);
		const listed = await ctl(["apikey", "list", "--json"]);
		assert.ok(!listed.stdout.includes(secret) && !listed.stdout.includes(hash));
		const plain = await ctl(["apikey", "create", "Northwind", "second"]);
		assert.match(plain.stdout, /^rk_[0-9a-f]{32}_[a-z2-7]{52}\n$/, "standard output is the key alone");
		await refused(["apikey", "create", "Northwind", "x", "--scopes", "everything"], 2, /everything: no scope/);
		await refused(["apikey", "revoke", key.id], 2, /say --yes/);
		await json(["apikey", "revoke", key.id, "--yes"]);
		assert.equal((await call("api_key_check", key.id, `\\x${hash}`)).length, 0);
		assert.deepEqual((await audit(key.id)).map(({ action }) => action), ["apikey.create", "apikey.revoke"]);
	});

	it("makes targets and seals credentials to the vault", async () => {
		made.target = await json(["target", "create", "house", "--kind", "file", "--path", stack.storage]);
		assert.equal(made.target.owner, "ours");
		await refused(["target", "create", "house", "--kind", "file", "--path", "/x"], 1, /there is a target house already/);
		await refused(["target", "create", "b", "--kind", "file", "--path", "/a/../b"], 2, /holds \. or \.\./);
		await refused(["target", "create", "b", "--kind", "s3"], 2, /bucket: required/);

		const credential = JSON.stringify({ access_key: "AKIDEXAMPLE", secret_key: "wJalrXUtnFEMI-secret" });
		const s3 = ["target", "create", "archive", "--kind", "s3", "--account", "Northwind", "--bucket", "footage"];
		await refused(s3, 1, /the credential is empty/);
		await refused(s3, 1, /secret_key: required/, { input: '{"access_key":"x"}' });
		await refused(s3, 1, /longer than/, { input: `{"access_key":"${"x".repeat(30000)}"}` });
		const archive = await json(s3, { input: credential });
		assert.equal(archive.endpoint.main_class, "INTELLIGENT_TIERING");
		const sealed = await value(`select encode(credential, 'hex') from rushes.target where id = '${archive.id}'`);
		assert.ok(sealed.startsWith(Buffer.from("RVC1").toString("hex")));
		assert.ok(!Buffer.from(sealed, "hex").includes("wJalrXUtnFEMI"));
		for (const command of [["target", "show", "archive"], ["target", "list"]])
			assert.ok(!JSON.stringify(await json(command)).includes(sealed.slice(0, 40)), "never printed, sealed or not");

		const file = path.join(stack.dir, "credential.json");
		fs.writeFileSync(file, credential, { mode: 0o600 });
		await json(["target", "credential", "archive", "--credential-file", file]);
		assert.notEqual(await value(`select encode(credential, 'hex') from rushes.target where id = '${archive.id}'`), sealed);
		assert.deepEqual((await json(["env", "set", "Northwind", "support", "--add-target", "archive"])).targets, ["archive"]);
		assert.deepEqual((await json(["env", "set", "Northwind", "support", "--remove-target", "archive"])).targets, []);
		await json(["target", "disable", "archive", "--yes"]);
		assert.ok((await json(["target", "show", "archive"])).disabled_at);
		assert.deepEqual((await audit(archive.id)).map(({ action }) => action), ["target.create", "target.credential", "target.disable"]);
	});

	it("cannot read what it must not know", async () => {
		for (const [what, from] of [["credential", "target"], ["secret_hash", "api_key"], ["wrapped", "recording_key"], ["*", "recording_personal"]])
			await assert.rejects(sql(`set role rushes_ctl; select ${what} from rushes.${from}`), /permission denied/, from);
		await assert.rejects(sql("set role rushes_ctl; update rushes.account set name = 'x'"), /permission denied/);
		await assert.rejects(sql("set role rushes_ctl; delete from rushes.audit"), /permission denied/);
	});

	it("makes links whose code is nowhere", async () => {
		const link = await json(["link", "create", "Northwind", "support", "--agent", "Ann", "--ticket", "4711", "--uses", "3", "--expires", "2d"]);
		const code = link.url.slice(link.url.lastIndexOf("/") + 1);
		assert.equal(link.url, `${stack.linkgenUrl}/r/${code}`);
		assert.match(code, /^[a-z2-7]{26}$/);
		const pepper = fs.readFileSync(stack.keyFile("link-pepper"), "utf8").trim().split(" ")[1];
		const hash = crypto.createHmac("sha256", Buffer.from(pepper, "hex")).update(`link ${code}`).digest("hex");
		assert.equal((await call("link_resolve", `\\x${hash}`))[0].id, link.id);
		const shown = await json(["link", "show", link.id]);
		assert.deepEqual(shown.requester, { agent: "Ann", ticket: "4711" });
		assert.equal(shown.uses_max, 3);
		assert.ok(!JSON.stringify(await json(["link", "list"])).includes(code));
		await refused(["link", "create", "Northwind", "nowhere"], 1, /there is no environment nowhere/);
		await refused(["link", "show", uuid()], 1, /there is no link/);
		await refused(["link", "revoke", link.id], 2, /say --yes/);
		await json(["link", "revoke", link.id, "--yes"]);
		assert.equal((await json(["link", "show", link.id])).state, "revoked");
		assert.deepEqual((await audit(link.id)).map(({ action }) => action), ["link.create", "link.revoke"]);
	});

	it("shows, explains and verifies a recording", async () => {
		const { recording, raw, main } = await makeRecording(made.account.id, made.env.id);
		const shown = await json(["recording", "show", recording]);
		assert.equal(shown.state, "closed");
		assert.equal(shown.sha256, sha256(raw));
		assert.deepEqual(shown.files.map(({ kind, sha256: hash }) => [kind, hash]), [["main", sha256(main)], ["raw", sha256(raw)]]);
		const text = (await ctl(["recording", "show", recording])).stdout;
		for (const part of ["Times (UTC)", "Files", "Copies", "Jobs", sha256(main), "h264", "12.50 s", "work-delivered", "target house (ours)"])
			assert.ok(text.includes(part), part);
		assert.ok(!text.includes("192.0.2.7") && !text.includes("a browser"), "personal metadata is not shown");

		const listed = await json(["recording", "list", "--account", "Northwind", "--state", "closed"]);
		assert.deepEqual(listed.map(({ id, duration_s: duration }) => [id, duration]), [[recording, 12.5]]);

		const explained = await json(["recording", "explain", recording]);
		const copy = (of, place) => explained.copies.find((c) => c.of === of && c.place.startsWith(place));
		assert.equal(copy("segment 0", "node/").by, "raw-copied");
		assert.match(copy("segment 0", "node/").because, /^raw on ingest: saved, copied/);
		assert.equal(copy("main", "node/").by, "work-delivered");
		assert.equal(copy("main", "target/").by, "trial-expired", "what is delivered to us stays until the trial's 28 days are over");
		assert.equal(explained.whole.rule, "trial-expired");
		const words = (await ctl(["recording", "explain", recording])).stdout;
		assert.match(words, /^The recording is closed\.\nIt goes whole at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC by trial-expired\./);
		assert.match(words, /segment 0 +ingest +present +\S+ \S+ +raw-copied +no +raw on ingest/);
		await refused(["recording", "explain", uuid()], 1, /there is no recording/);

		const checks = await json(["recording", "verify", recording]);
		const result = Object.fromEntries(checks.map((c) => [c.check, c.result]));
		assert.deepEqual(result, {
			segments: "ok", raw: "ok", "main at house": "ok", "raw at house": "ok",
			"sealed copies": "not checked", "main file at house": "ok", "raw file at house": "ok",
		});
		made.recording = recording;
	});

	it("finds a delivered file with other bytes", async () => {
		const { recording } = await makeRecording(made.account.id, made.env.id, { broken: "main" });
		const result = await ctl(["recording", "verify", recording]);
		assert.equal(result.status, 1);
		assert.match(result.stdout, /main file at house +failed +.*another SHA-256/);
		assert.match(result.stderr, /1 checks failed/);
		fs.rmSync(path.join(stack.storage, recording), { recursive: true });
		assert.equal((await ctl(["recording", "verify", recording])).status, 0, "what cannot be opened here is not checked");
	});

	it("renews an account, and asks before it ends one", async () => {
		const plan = (...args) => ["account", "plan", "Northwind", "--plan", "paid", ...args];
		await refused(plan(), 2, /--expires is required/);
		for (const wrong of ["soon", "2030-5-10", "2030-02-31", "2030-05-10T00:00:00"])
			await refused(plan("--expires", wrong), 2, /want a day as 2027-03-31, a time as/);
		await refused(plan("--expires", "2020-01-31"), 2, /this plan has ended already.*say --yes/);
		// the day begins at midnight in the installation's zone, and is the first of 28
		const paid = await json(plan("--expires", "2030-05-10"));
		assert.equal(new Date(paid.paid_until).toISOString(), "2030-05-09T21:00:00.000Z");
		assert.equal(new Date(paid.recordings_due_at).toISOString(), "2030-06-06T21:00:00.000Z");
		const timed = await json(plan("--expires", "2030-05-10T23:30:00+02:00"));
		assert.equal(new Date(timed.paid_until).toISOString(), "2030-05-10T21:30:00.000Z");
		const never = await json(plan("--expires", "never"));
		assert.deepEqual([never.plan, never.paid_until, never.trial_ends_at, never.recordings_due_at], ["paid", null, null, null]);
		assert.deepEqual((await audit(made.account.id)).map(({ action }) => action), ["account.create", ...Array(3).fill("account.plan")]);
		while ((await call("rules_change_work", 500))[0].rules_change_work > 0);
		const explained = await json(["recording", "explain", made.recording]);
		assert.equal(explained.whole, null);
		assert.match(explained.copies.find((c) => c.of === "main" && c.place.startsWith("target/")).because, /^no rule takes it/);
	});

	it("holds a recording and releases it", async () => {
		await refused(["recording", "hold", made.recording], 2, /--reason is required/);
		await refused(["recording", "hold", uuid(), "--reason", "case 4711"], 1, /does not exist/);
		assert.equal((await json(["recording", "hold", made.recording, "--reason", "case 4711"])).done, "held");
		const explained = await json(["recording", "explain", made.recording]);
		assert.equal(explained.held, true);
		assert.ok(explained.copies.every((c) => c.due_at === null && c.because === "a hold keeps it until it is lifted"));
		assert.match((await ctl(["recording", "explain", made.recording])).stdout, /^The recording is closed, held\./);
		await json(["recording", "release", made.recording, "--reason", "settled"]);
		assert.equal((await json(["recording", "show", made.recording])).held, false);
		const acts = await audit(made.recording);
		assert.deepEqual(acts.map(({ action, detail }) => [action, detail.reason]), [["hold.set", "case 4711"], ["hold.lift", "settled"]]);
	});

	it("makes lifecycle rules, and lists what one would take before it is switched on", async () => {
		const set = (...args) => ["env", "lifecycle", "set", "Northwind", "support", ...args];
		const preview = (...args) => ["retention", "preview", "Northwind", "support", ...args];
		await refused(set("month"), 2, /--age-days is required/);
		await refused(set("month", "--age-days", "0"), 2, /must be within 1 and 36500/);
		await refused(preview(), 2, /say what to try: --rule, or --age-days/);
		await refused(preview("--rule", "month"), 1, /has no lifecycle rule month/);
		await refused(preview("--age-days", "1", "--until", "then"), 2, /--until then: want a day/);

		const made30 = await json(set("month", "--age-days", "30", "--recording-kind", "received", "--file-kind", "raw"));
		assert.deepEqual([made30.age_days, made30.recording_kind, made30.file_kind, made30.enabled], [30, "received", "raw", false]);
		await json(["recording", "hold", made.recording, "--reason", "case 4711"]);
		const seen = await json(preview("--rule", "month"));
		const [first] = seen.recordings.filter(({ recording }) => recording === made.recording);
		assert.deepEqual([first.file_kind, first.bytes, first.held], ["raw", 3000, true]);
		const days = (new Date(first.due_at) - Date.now()) / 86_400_000;
		assert.ok(days > 29.9 && days <= 31.1, `due in ${days} days`);
		assert.deepEqual(seen.total, { recordings: 2, bytes: 6000, held: 1, due_now: 0, due_now_bytes: 0 });
		assert.equal((await json(preview("--rule", "month", "--file-kind", "whole"))).total.bytes, 10000);
		assert.equal((await json(preview("--age-days", "30", "--recording-kind", "call"))).total.recordings, 0);
		assert.equal((await json(preview("--age-days", "30", "--until", "2026-01-01"))).total.recordings, 0);
		const text = (await ctl(preview("--age-days", "30", "--limit", "1"))).stdout;
		assert.match(text, /\.\.\. and 1 more; --limit lists them\.\n\nTotals; nothing was changed\n/);
		await json(["recording", "release", made.recording, "--reason", "settled"]);

		await sql(`update rushes.recording set saved_at = saved_at - interval '40 days' where id = '${made.recording}'`);
		await refused(set("month", "--enabled", "on"), 2, /this rule takes 1 of 2 recordings now, .*say --yes/);
		assert.equal(await value("select count(*) from rushes.lifecycle_rule where enabled"), "0");
		const on = await json(set("month", "--enabled", "on", "--yes"));
		assert.deepEqual([on.enabled, on.age_days, on.file_kind], [true, 30, "raw"], "what is not given stays");
		assert.deepEqual((await json(["env", "lifecycle", "list", "Northwind", "support"])).map(({ name }) => name), ["month"]);
		const off = await json(set("month", "--enabled", "off", "--recording-kind", "any"));
		assert.deepEqual([off.enabled, off.recording_kind], [false, null]);
		await json(["env", "lifecycle", "remove", "Northwind", "support", "month"]);
		await refused(["env", "lifecycle", "remove", "Northwind", "support", "month"], 1, /has no lifecycle rule month/);
		const acts = (await audit(made.env.id)).map(({ action }) => action).filter((action) => action.startsWith("lifecycle"));
		assert.deepEqual(acts, ["lifecycle.set", "lifecycle.set", "lifecycle.set", "lifecycle.remove"]);
		await sql(`update rushes.recording set saved_at = saved_at + interval '40 days' where id = '${made.recording}'`);
	});

	it("pauses a rule until it is confirmed", async () => {
		const place = `node/${INGEST}`;
		const pause = (...args) => ["retention", "pause", ...args, "--reason", "a look at it"];
		await refused(["retention", "pause", "raw-copied"], 2, /--reason is required/);
		await refused(pause("nonsense"), 1, /nonsense is no rule/);
		for (const wrong of ["node/7", "nowhere", "clock", place.toUpperCase()]) await refused(pause("raw-copied", "--place", wrong), 2, /want node\/ID, target\/ID, recordings, or clock/);
		await json(pause("raw-copied", "--place", place));
		const rules = await json(["retention", "rules"]);
		assert.deepEqual(rules.filter((rule) => rule.paused_on.length > 0).map((rule) => [rule.name, rule.paused_on]), [["raw-copied", [place]]]);
		const [paused] = await json(["retention", "paused"]);
		assert.deepEqual([paused.rule, paused.place, paused.reason], ["raw-copied", place, "a look at it"]);
		const explained = await json(["recording", "explain", made.recording]);
		assert.deepEqual(explained.copies.filter((c) => c.paused).map((c) => c.of), ["segment 0"]);
		await refused(["retention", "confirm", "raw-copied", "--reason", "seen"], 1, /raw-copied is not paused on \*/);
		await json(["retention", "confirm", "raw-copied", "--place", place, "--reason", "seen"]);
		assert.deepEqual(await json(["retention", "paused"]), []);
		assert.ok((await json(["retention", "rules"])).every((rule) => rule.paused_on.length === 0), "a confirmed pause is none");
		assert.deepEqual((await audit(`raw-copied ${place}`)).map(({ action }) => action), ["retention.pause", "retention.confirm"]);
	});

	it("deletes a recording only with a reason and a yes, and follows it to the certificate", async () => {
		await refused(["recording", "delete", made.recording, "--yes"], 2, /--reason is required/);
		await refused(["recording", "delete", made.recording, "--reason", "asked"], 2, /say --yes/);
		assert.equal((await json(["recording", "show", made.recording])).state, "closed");
		await refused(["recording", "delete", uuid(), "--reason", "asked", "--yes"], 1, /does not exist/);

		const unfinished = await ctl(["recording", "delete", made.recording, "--reason", "asked", "--yes", "--wait", "--timeout", "1s"]);
		assert.equal(unfinished.status, 1);
		assert.match(unfinished.stderr, /decided, but not complete yet: 5 copies are left/);
		assert.equal(await value(`select count(*) from rushes.recording_key where recording = '${made.recording}'`), "0", "the key went first");

		const waiting = json(["recording", "delete", made.recording, "--reason", "asked", "--yes", "--wait"]);
		await removeGoing();
		const deleted = await waiting;
		assert.equal(deleted.state, "deleted");
		assert.deepEqual(deleted.left, []);
		const ledger = await json(["ledger", "list", made.recording]);
		assert.ok(ledger.every(({ intact }) => intact));
		assert.equal(ledger.at(-1).kind, "complete");
		assert.equal(ledger.at(-1).hash, deleted.certificate);
		const acts = (await audit(made.recording)).filter(({ action }) => action === "recording.delete");
		assert.equal(acts.length, 1);
		assert.deepEqual(acts[0].detail, { rule: "deleted-by-user", reason: "asked" });
		const again = await json(["recording", "delete", made.recording, "--reason", "asked", "--yes"]);
		assert.equal(again.certificate, deleted.certificate);
		assert.equal((await json(["recording", "show", made.recording])).state, "deleted");
	});

	it("says when a ledger entry was changed", async () => {
		await sql(`update rushes.ledger set place = 'elsewhere' where recording = '${made.recording}' and kind = 'gone' and place like 'target/%'`);
		const ledger = await json(["ledger", "list", made.recording]);
		assert.ok(ledger.some(({ intact }) => !intact));
	});

	it("lists jobs and gives one a fresh schedule", async () => {
		const { recording } = await makeRecording(made.account.id, made.env.id, { deliver: false });
		const pushes = await json(["job", "list", "--recording", recording, "--kind", "push"]);
		const first = pushes.find((job) => job.file_kind === "main");
		assert.equal(first.state, "queued");
		for (let n = 1; n <= 13; n++) {
			await beat();
			await sql(`update rushes.job set next_attempt_at = now() where id = '${first.id}'`);
			const [job] = await call("job_claim", first.id, "push", "eu1", PUSHER, null, "30 s");
			await call("job_failed", job.id, job.attempt, "retry", "the disk is full", false);
		}
		const failed = await json(["job", "show", first.id]);
		assert.equal(failed.state, "failed");
		assert.equal(failed.attempts.length, 13);
		assert.match((await ctl(["job", "show", first.id])).stdout, /failed of 13 +13[\s\S]*13 +failed/);
		assert.ok((await json(["job", "list", "--state", "failed"])).some(({ id }) => id === first.id));
		const { id } = await json(["job", "retry", first.id]);
		assert.notEqual(id, first.id);
		assert.equal((await json(["job", "show", id])).state, "queued");
		assert.deepEqual((await audit(first.id)).map(({ action }) => action), ["job.retry"]);
		await refused(["job", "retry", first.id], 1, /already being tried again/);
		await refused(["job", "show", uuid()], 1, /there is no job/);
	});

	it("lists nodes, rules and the audit", async () => {
		await beat();
		const nodes = await json(["node", "list"]);
		assert.deepEqual(nodes.map(({ id, service }) => [id, service]), [[INGEST, "ingest"], [TRANSCODER, "transcoder"]]);
		await sql(`update rushes.node set beat_at = now() - interval '1 minute' where id = '${INGEST}'`);
		assert.equal((await json(["node", "list"]))[0].is_silent, true);
		const rules = await json(["retention", "rules"]);
		const rule = (name) => rules.find((r) => r.name === name);
		assert.deepEqual([rule("work-delivered").slice, rule("work-delivered").precedence], ["storage-pusher", 4]);
		assert.deepEqual([rule("failed-copy").delay, rule("failed-copy").calendar, rule("lifecycle").calendar], ["28 days", "installation", "account"]);
		assert.deepEqual([rules[0].precedence, rules.at(-1).precedence], [1, 0], "in the order in which they win");
		assert.match((await ctl(["retention", "rules"])).stdout, /^RULE +DECIDED BY +PRECEDENCE +WHAT GOES +WHEN +DELAY +CALENDAR +DUE NOW +PAUSED ON\n/);
		const entries = await json(["audit", "list", "--limit", "5"]);
		assert.equal(entries.length, 5);
		assert.equal((await json(["audit", "list", made.account.id])).at(-1).action, "account.create");
	});

	it("closes an account only with a reason and a yes", async () => {
		const { id } = await json(["account", "create", "Leaving"]);
		const env = await json(["env", "create", "Leaving", "support"]);
		const { recording } = await makeRecording(id, env.id);
		const link = await json(["link", "create", "Leaving", "support"]);
		await refused(["account", "close", "Leaving"], 2, /--reason is required/);
		await refused(["account", "close", "Leaving", "--reason", "it ended"], 2, /closes the account Leaving and deletes its 1 recordings everywhere, for good; say --yes/);
		assert.equal((await json(["account", "show", "Leaving"])).closed_at, null);
		const closed = await json(["account", "close", "Leaving", "--reason", "it ended", "--yes"]);
		assert.ok(closed.closed_at && closed.closed_at === closed.recordings_due_at);
		assert.equal((await json(["link", "show", link.id])).state, "revoked");
		await refused(["account", "plan", "Leaving", "--plan", "paid", "--expires", "never"], 1, /does not exist, or is closed/);
		while ((await call("rules_change_work", 500))[0].rules_change_work > 0);
		assert.equal((await json(["recording", "explain", recording])).whole.rule, "account-closed");
		assert.ok((await json(["retention", "rules"])).find(({ name }) => name === "account-closed").due_now >= 1);
		await call("sweep_decide", "janitor", 100);
		await removeGoing();
		assert.equal((await json(["recording", "show", recording])).state, "deleted");
		assert.deepEqual((await audit(id)).map(({ action, detail }) => [action, detail.reason ?? null]), [["account.create", null], ["account.close", "it ended"]]);
	});

	it("prints what was typed into rows without its control characters", async () => {
		await refused(["account", "create", "a\u001b[2J"], 2, /holds a control character/);
		await sql("update rushes.account set name = E'North\\x1b[2Jwind' where name = 'Northwind'");
		const text = (await ctl(["account", "list"])).stdout;
		assert.ok(!text.includes("\u001b"));
		assert.match(text, /North\?\[2Jwind/);
	});
});
