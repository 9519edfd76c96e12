// The ledger's proof on real servers: sealing, the target outside PostgreSQL, what `ledger verify` finds, certificates.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { startProcess, stopProcess, waitFor } from "../../scripts/lib/process.mjs";
import { freePorts } from "../../scripts/lib/ports.mjs";
import { serviceEnvironment } from "../../scripts/lib/services.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { testStack } from "../lib/harness.mjs";
import { messageSchemas } from "../lib/schemas.mjs";
import { tapBus } from "../lib/bus-tap.mjs";
import { startS3Double } from "../lib/s3-double.mjs";

const run = promisify(execFile);
const stack = testStack("ledger", { overrides: { janitor: { RUSHES_LEDGER_SEAL_EVERY: "200ms" } } });
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
const rows = (text) => stack.postgres.query(text);
const until = (what, check) => waitFor(what, async () => (await check()) || null, { limitMs: 20_000, pollMs: 100 });

const ACCOUNT = "22222222-0000-4000-8000-000000000001";
const addEntries = (n, place = "database") =>
	sql(`select count(rushes.add_ledger('gone', '${ACCOUNT}', gen_random_uuid(), gen_random_uuid(), 'raw-copied', '${place}',
		jsonb_build_object('unlinked', true, 'n', i))) from generate_series(1, ${n}) i`);
const allPublished = () =>
	until("everything is sealed and published", async () =>
		(await value(`select (select count(*) from rushes.ledger where batch is null)
			+ (select count(*) from rushes.ledger_batch where published_at is null)`)) === "0");

const sha256 = (...parts) => crypto.createHash("sha256").update(Buffer.concat(parts)).digest();

/** The tree's root as RFC 6962 defines it. */
function rootOf(leaves) {
	if (leaves.length === 1) return leaves[0];
	let k = 1;
	while (2 * k < leaves.length) k *= 2;
	return sha256(Buffer.from([1]), rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k)));
}

describe("the ledger", () => {
	let tap;

	before(async () => {
		await stack.prepare();
		tap = await tapBus(stack);
		await stack.startService("janitor");
	});
	after(async () => {
		tap?.close();
		await stack.remove();
	});

	it("seals entries into linked and signed batches, and keeps them outside the database", async () => {
		await addEntries(5);
		await allPublished();
		await addEntries(3);
		await allPublished();
		const batches = await rows(`select id, leaves, encode(root, 'hex') as root, encode(previous, 'hex') as previous from rushes.ledger_batch order by id`);
		assert.ok(batches.length >= 2);
		const [id, key] = fs.readFileSync(`${stack.keyFile("ledger-sign")}.pub`, "utf8").trim().split(" ");
		const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(key, "hex")]);
		const publicKey = crypto.createPublicKey({ key: der, format: "der", type: "spki" });
		let previous = "0".repeat(64);
		for (const batch of batches) {
			const file = path.join(stack.ledgerPath(), `${String(batch.id).padStart(12, "0")}.ledger`);
			const lines = fs.readFileSync(file, "utf8").split("\n");
			assert.equal(lines.pop(), "");
			const [head, signature, ...entries] = lines;
			assert.ok(crypto.verify(null, Buffer.from(head), publicKey, Buffer.from(signature, "hex")));
			const said = JSON.parse(head);
			assert.equal(said.key, id);
			assert.equal(said.previous, previous);
			assert.equal(said.root, batch.root);
			assert.equal(entries.length, batch.leaves);
			const leaves = entries.map((text) => sha256(Buffer.from([0]), Buffer.from(text)));
			assert.equal(rootOf(leaves).toString("hex"), said.root);
			previous = sha256(Buffer.from(head)).toString("hex");
		}
	});

	const shows = async (line) => line.test((await stack.admin("janitor", "/metrics")).body);
	const publicKey = () => `${stack.keyFile("ledger-sign")}.pub`;
	const targetFile = (batch) => path.join(stack.ledgerPath(), `${String(batch).padStart(12, "0")}.ledger`);

	/** What `ledger verify` finds, as [what, batch, entry]; `target` false: the database alone. */
	async function findings({ target = true, args = [] } = {}) {
		const settings = stack.ctlFile();
		const text = fs.readFileSync(settings, "utf8");
		const file = path.join(stack.dir, "verify.conf");
		fs.writeFileSync(file, target ? text : text.replace(/^RUSHES_LEDGER_TARGET=.*\n/m, ""), { mode: 0o600 });
		const command = ["--config", file, "ledger", "verify", "--json", ...args];
		const { stdout, code } = await run(path.join(stack.build, "bin/rushesctl"), command, { env: { PATH: process.env.PATH }, maxBuffer: 1 << 26 }).then(
			(done) => ({ ...done, code: 0 }),
			(error) => error,
		);
		const answer = JSON.parse(stdout);
		assert.equal(answer.target, target);
		assert.equal(code, answer.findings.length > 0 ? 1 : 0, "the exit status says whether something was found");
		return Object.assign(
			answer.findings.map(({ what, batch, entry }) => [what, batch, entry]),
			{ answer },
		);
	}

	it("finds nothing where nothing was done", async () => {
		assert.deepEqual([...(await findings())], []);
		assert.deepEqual([...(await findings({ target: false }))], []);
	});

	it("seals each entry once, with two janitors at once", async () => {
		const [port] = await freePorts(1);
		const env = { ...serviceEnvironment(stack, "janitor"), RUSHES_ADMIN_LISTEN: `127.0.0.1:${port}` };
		const second = await startProcess({ dir: stack.dir, name: "janitor-2", command: path.join(stack.build, "bin/rushes-janitor"), env });
		const batchesBefore = Number(await value("select max(id) from rushes.ledger_batch"));
		for (let i = 0; i < 30; i++) {
			await addEntries(50);
			await sql("delete from rushes.lease where name like 'ledger-%'");
		}
		await allPublished();
		await stopProcess(stack.dir, second, { signal: "SIGTERM" });
		assert.ok(Number(await value("select max(id) from rushes.ledger_batch")) > batchesBefore + 2);
		assert.deepEqual([...(await findings())], []);
	});

	it("keeps the batches in a bucket, and compares them there", async () => {
		const credentials = { accessKey: "ledger-key", secretKey: "ledger-secret" };
		const double = await startS3Double(credentials);
		const file = path.join(stack.dir, "ledger-credential.json");
		fs.writeFileSync(file, JSON.stringify({ access_key: credentials.accessKey, secret_key: credentials.secretKey }), { mode: 0o600 });
		const settings = {
			RUSHES_LEDGER_TARGET: `s3:${double.endpoint}/proofs/rushes`, RUSHES_LEDGER_TARGET_CREDENTIAL_FILE: file, RUSHES_LEDGER_TARGET_PRIVATE: "yes",
		};
		const plain = fs.readFileSync(stack.ctlFile(), "utf8");
		try {
			await stack.kill("janitor");
			await sql("update rushes.ledger_batch set published_at = null; delete from rushes.lease where name like 'ledger-%'");
			Object.assign(stack.overrides.janitor, settings);
			await stack.restart("janitor");
			await allPublished();
			fs.writeFileSync(stack.ctlFile(), plain.replace(/^RUSHES_LEDGER_TARGET=.*\n/m, Object.entries(settings).map(([name, value]) => `${name}=${value}\n`).join("")));
			assert.deepEqual([...(await findings())], []);
			const last = Number(await value("select max(id) from rushes.ledger_batch"));
			const key = `rushes/${String(last).padStart(12, "0")}.ledger`;
			const text = double.object("proofs", key).toString();
			assert.equal(text, fs.readFileSync(targetFile(last), "utf8"), "the same object as in the folder");
			double.object("proofs", key, text.replace('"unlinked": true', '"unlinked": null'));
			assert.ok((await findings()).some(([, batch]) => batch === last));
			assert.deepEqual(double.refusals, []);
			assert.ok(!fs.readFileSync(path.join(stack.dir, "log/janitor.log"), "utf8").includes(credentials.secretKey));
		} finally {
			for (const name of Object.keys(settings)) delete stack.overrides.janitor[name];
			fs.writeFileSync(stack.ctlFile(), plain);
			await stack.kill("janitor");
			await sql("delete from rushes.lease where name like 'ledger-%'");
			await stack.restart("janitor");
			await double.close();
		}
	});

	it("refuses a batch that does not follow, and entries that are sealed", async () => {
		await stack.kill("janitor");
		const last = Number(await value("select max(id) from rushes.ledger_batch"));
		await addEntries(2);
		const [a, b] = (await rows("select id from rushes.ledger where batch is null order by id")).map(({ id }) => id);
		const sealed = await value("select min(id) from rushes.ledger where batch is not null");
		const seal = (batch, ids) =>
			sql(`select rushes.ledger_seal(${batch}, '{${ids}}', sha256('x'), sha256('y'), now(), 'k', decode(repeat('00', 64), 'hex'))`);
		await assert.rejects(seal(last, [a, b]), /duplicate key/);
		await assert.rejects(seal(last + 2, [a, b]), /does not follow/);
		await assert.rejects(seal(last + 1, [sealed, a]), /sealed or gone/);
		await assert.rejects(seal(last + 1, [a, a]), /sealed or gone/);
		assert.equal(await value("select max(id) from rushes.ledger_batch"), String(last));
		await sql("delete from rushes.lease where name like 'ledger-%'");
		await stack.restart("janitor");
		await allPublished();
	});

	it("leaves whole batches when it is killed at any moment", async () => {
		for (let i = 0; i < 8; i++) {
			await addEntries(600);
			await delay(Math.random() * 400);
			await stack.kill("janitor");
			// a lease of the dead holds nobody up here
			await sql("delete from rushes.lease where name like 'ledger-%'");
			await stack.launchService("janitor");
		}
		await stack.serviceReady("janitor");
		await allPublished();
		assert.deepEqual([...(await findings())], []);
		assert.deepEqual(fs.readdirSync(stack.ledgerPath()).filter((name) => !name.endsWith(".ledger") && !name.startsWith(".new-")), []);
	});

	it("signs with a rotated key without a restart, and old batches stay valid", async () => {
		const next = path.join(stack.dir, "keys/next.key");
		await stack.ctl(["key", "generate", "ledger-sign", "--out", next, "--id", "second"], { json: false });
		for (const [file, mode] of [[stack.keyFile("ledger-sign"), ""], [publicKey(), ".pub"]])
			fs.writeFileSync(file, fs.readFileSync(`${next}${mode}`, "utf8") + fs.readFileSync(file, "utf8"));
		await addEntries(1);
		await allPublished();
		assert.equal(await value("select key_id from rushes.ledger_batch order by id desc limit 1"), "second");
		assert.deepEqual([...(await findings())], []);
	});

	it("publishes again what it could not mark, and never over another content", async () => {
		const last = await value("select max(id) from rushes.ledger_batch");
		const file = targetFile(last);
		await sql(`update rushes.ledger_batch set published_at = null where id = ${last}`);
		await allPublished();
		const content = fs.readFileSync(file);
		fs.chmodSync(file, 0o600);
		fs.writeFileSync(file, content.toString().replace("database", "databose"));
		await sql(`update rushes.ledger_batch set published_at = null where id = ${last}`);
		await until("it complains", () => stack.log("janitor").some(({ message }) => /another content for batch/.test(message)));
		assert.notDeepEqual(fs.readFileSync(file), content, "it wrote over the file");
		await until("the gauge rises", () => shows(/^rushes_ledger_unpublished 1$/m));
		assert.ok(await shows(/^rushes_ledger_unsealed_seconds 0$/m));
		fs.writeFileSync(file, content);
		await allPublished();
	});

	it("goes on publishing when the target's folder was away", async () => {
		const away = `${stack.ledgerPath()}-away`;
		fs.renameSync(stack.ledgerPath(), away);
		await addEntries(2);
		await until("the batch waits", () => shows(/^rushes_ledger_unpublished 1$/m));
		fs.renameSync(away, stack.ledgerPath());
		await allPublished();
	});

	describe("verify", () => {
		let middle;
		let last;
		let ids;

		// with the janitor at rest: what is done here is a superuser's and is undone after each
		before(async () => {
			await addEntries(6);
			await allPublished();
			middle = Number(await value("select max(id) from rushes.ledger_batch"));
			ids = (await rows(`select id from rushes.ledger where batch = ${middle} order by position`)).map(({ id }) => Number(id));
			assert.equal(ids.length, 6);
			await addEntries(4);
			await allPublished();
			last = Number(await value("select max(id) from rushes.ledger_batch"));
			await stack.kill("janitor");
			await sql("delete from rushes.lease where name like 'ledger-%'");
			await sql("create table public.kept_ledger as table rushes.ledger; create table public.kept_batch as table rushes.ledger_batch");
			fs.cpSync(stack.ledgerPath(), `${stack.ledgerPath()}-kept`, { recursive: true });
		});

		async function undo() {
			await sql(`truncate rushes.ledger, rushes.ledger_batch;
				insert into rushes.ledger overriding system value select * from public.kept_ledger;
				insert into rushes.ledger_batch select * from public.kept_batch`);
			fs.rmSync(stack.ledgerPath(), { recursive: true });
			fs.cpSync(`${stack.ledgerPath()}-kept`, stack.ledgerPath(), { recursive: true });
			assert.deepEqual([...(await findings())], []);
		}

		const REHASH = "hash = sha256('\\x00'::bytea || convert_to(rushes.ledger_text(l), 'UTF8'))";
		/** Changes a row and makes its hash fit again. */
		const forge = (id, set) => sql(`update rushes.ledger set ${set} where id = ${id}; update rushes.ledger l set ${REHASH} where id = ${id}`);

		const CASES = [
			["a changed entry", () => sql(`update rushes.ledger set place = 'elsewhere' where id = ${ids[2]}`), () => [["changed", middle, ids[2]]], () => [["changed", middle, ids[2]]]],
			["an entry that was changed together with its hash", () => forge(ids[3], "evidence = '{}'"), () => [["changed", middle, ids[3]]], () => [["changed", middle, null]]],
			["a hash alone", () => sql(`update rushes.ledger set hash = sha256('z') where id = ${ids[5]}`), () => [["changed", middle, ids[5]]], () => [["changed", middle, ids[5]]]],
			["a removed entry", () => sql(`delete from rushes.ledger where id = ${ids[1]}`), () => [["removed", middle, null], ["removed", middle, ids[1]]], () => [["removed", middle, null]]],
			["the removed last entry of a batch", () => sql(`delete from rushes.ledger where id = ${ids[5]}`), () => [["removed", middle, null], ["removed", middle, ids[5]]], () => [["removed", middle, null]]],
			["an entry that was taken out of its batch", () => sql(`update rushes.ledger set batch = null, position = null where id = ${ids[1]}`), () => [["removed", middle, null], ["removed", middle, ids[1]]], () => [["removed", middle, null]]],
			["reordered entries", () => sql(`update rushes.ledger set batch = null where id in (${ids[1]}, ${ids[4]});
				update rushes.ledger set position = ${1 + 4} - position, batch = ${middle} where id in (${ids[1]}, ${ids[4]})`), () => [["reordered", middle, ids[1]], ["reordered", middle, ids[2]], ["reordered", middle, ids[4]]], () => [["reordered", middle, ids[1]], ["reordered", middle, ids[2]]]],
			["an entry that was added to a batch", () => sql(`select rushes.add_ledger('gone', '${ACCOUNT}', null, null, 'hold', null, null); update rushes.ledger set batch = ${middle}, position = 6 where batch is null`), (extra) => [["added", middle, null], ["added", middle, extra]], () => [["added", middle, null]]],
			["a time that was set back", () => forge(ids[3], "at = at - interval '1 day'"), () => [["back-dated", middle, ids[3]]], () => [["back-dated", middle, ids[3]]]],
			["entries cut off in the database", () => sql(`delete from rushes.ledger where batch = ${last}; delete from rushes.ledger_batch where id = ${last}`), () => [["cut-off", last, null]], () => []],
			["a batch without its head", () => sql(`delete from rushes.ledger_batch where id = ${middle}`), () => [["removed", middle, null]], () => [["removed", middle, null], ["link", last, null]]],
			["a changed root", () => sql(`update rushes.ledger_batch set root = sha256('z') where id = ${last}`), () => [["signature", last, null], ["changed", last, null]], () => [["signature", last, null], ["changed", last, null]]],
			["another time of a batch", () => sql(`update rushes.ledger_batch set at = at - interval '5 minutes' where id = ${last}`), () => [["back-dated", last, null], ["changed", last, null], ["signature", last, null]], () => [["back-dated", last, null], ["signature", last, null]]],
			["another signature", () => sql(`update rushes.ledger_batch set signature = decode(repeat('11', 64), 'hex') where id = ${last}`), () => [["changed", last, null], ["signature", last, null]], () => [["signature", last, null]]],
			["files cut off at the target", () => fs.rmSync(targetFile(last)), () => [["cut-off", last, null]], () => []],
			["a file missing at the target", () => fs.rmSync(targetFile(middle)), () => [["removed", middle, null]], () => []],
			["a changed file at the target", () => rewrite(targetFile(middle), (text) => text.replace("database", "databose")), () => [["target-changed", middle, null]], () => []],
			["reordered lines at the target", () => rewrite(targetFile(middle), (text) => text.split("\n").map((line, i, lines) => lines[i === 2 ? 3 : i === 3 ? 2 : i]).join("\n")), () => [["target-changed", middle, null]], () => []],
			["an emptied file at the target", () => rewrite(targetFile(middle), () => ""), () => [["target-changed", middle, null]], () => []],
		];

		function rewrite(file, change) {
			fs.chmodSync(file, 0o600);
			fs.writeFileSync(file, change(fs.readFileSync(file, "utf8")));
		}

		const sorted = (list) => [...list].map((one) => JSON.stringify(one)).sort();

		for (const [name, tamper, withTarget, without] of CASES)
			it(`finds ${name}`, async () => {
				await tamper();
				try {
					const newest = Number(await value("select max(id) from rushes.ledger"));
					assert.deepEqual(sorted(await findings()), sorted(withTarget(newest)));
					assert.deepEqual(sorted(await findings({ target: false })), sorted(without(newest)));
				} finally {
					await undo();
				}
			});

		it("finds what was cut off in both places, by a head that was kept elsewhere", async () => {
			const { head } = (await findings()).answer.last;
			assert.deepEqual([...(await findings({ args: ["--head", head] }))], []);
			await sql(`delete from rushes.ledger where batch = ${last}; delete from rushes.ledger_batch where id = ${last}`);
			fs.rmSync(targetFile(last));
			assert.deepEqual([...(await findings())], []);
			assert.deepEqual([...(await findings({ args: ["--head", head] }))], [["cut-off", null, null]]);
			await undo();
		});

		it("finds an entry that was written today with an earlier time, though it was sealed in good order", async () => {
			await sql(`select rushes.add_ledger('gone', '${ACCOUNT}', null, null, 'hold', null, null)`);
			const id = Number(await value("select max(id) from rushes.ledger"));
			await forge(id, "at = at - interval '3 days'");
			assert.deepEqual([...(await findings())], [["back-dated", null, id]]);
			await stack.restart("janitor");
			await allPublished();
			await stack.kill("janitor");
			await sql("delete from rushes.lease where name like 'ledger-%'");
			assert.deepEqual([...(await findings())], [["back-dated", last + 1, id]]);
			await undo();
		});

		it("finds batches that another key signed", async () => {
			const other = path.join(stack.dir, "keys/other.key");
			await stack.ctl(["key", "generate", "ledger-sign", "--out", other, "--id", "second"], { json: false });
			const found = await findings({ args: ["--public-key", `${other}.pub`] });
			assert.ok(found.length > 0 && found.every(([what]) => ["signature", "target-changed"].includes(what)));
		});

		after(async () => {
			await undo();
			await stack.restart("janitor");
		});
	});

	it("seals more than one batch holds as several", async () => {
		const before = Number(await value("select max(id) from rushes.ledger_batch"));
		await addEntries(10_500);
		await allPublished();
		const sizes = (await rows(`select leaves from rushes.ledger_batch where id > ${before} order by id`)).map(({ leaves }) => leaves);
		assert.deepEqual(sizes, [10_000, 500]);
		assert.deepEqual([...(await findings())], []);
	});

	describe("a certificate", () => {
		const NODE = "11111111-0000-4000-8000-000000000001";
		let recording;
		let file;

		const verifyOffline = (certificate, key = publicKey()) =>
			run(process.execPath, [path.join(ROOT, "tools/verify-certificate.mjs"), certificate, key]).then(
				({ stdout }) => ({ code: 0, text: stdout }),
				(error) => ({ code: error.code, text: error.stderr }),
			);

		/** The commands that docs/certificates.md gives, word for word. */
		async function byHand(certificate) {
			const [, script] = fs.readFileSync(path.join(ROOT, "docs/certificates.md"), "utf8").match(/```sh\n([\s\S]*?)```/);
			const cwd = fs.mkdtempSync(path.join(stack.dir, "by-hand-"));
			const key = path.join(cwd, "published.pub");
			fs.writeFileSync(key, fs.readFileSync(publicKey(), "utf8"));
			return run("bash", ["-c", script], { cwd, env: { PATH: process.env.PATH, LC_ALL: "C", CERTIFICATE: certificate, PUBLIC_KEY: key } }).then(
				({ stdout }) => ({ code: 0, text: stdout }),
				(error) => ({ code: error.code, text: error.stdout + error.stderr }),
			);
		}

		before(async () => {
			const account = (await stack.ctl(["account", "create", "Test"])).id;
			const environment = (await stack.ctl(["env", "create", "Test", "support"])).id;
			const [session, copy] = [crypto.randomUUID(), crypto.randomUUID()];
			recording = crypto.randomUUID();
			await sql(`select rushes.node_beat('${NODE}', 'eu1', 'ingest', 'https://localhost:1', 1, 1, false);
				insert into rushes.session (account, id, environment, resume_hash, consent_text, consent_at, expires_at)
				values ('${account}', '${session}', '${environment}', '\\x01', 'yes', now(), now() + interval '1 hour');
				select rushes.recording_open('${recording}', '${account}', '${session}', 'video/webm', '192.0.2.7', 'a browser', null, null, null, null, null);
				select rushes.segment_prepare('${recording}', '${session}');
				select rushes.segment_open('${recording}', 1, 0, '${NODE}', 0, '${copy}', 'a.sealed',
					(select id from rushes.account_key_add('${account}', gen_random_uuid(), 'root', '\\x00')), '\\x01');
				select rushes.segment_present('${copy}', '${NODE}');
				select rushes.segment_close('${recording}', 0, '${NODE}', 100, sha256('x'), 5);
				select rushes.recording_saved('${recording}', 'user', true, false, false, 100, null);`);
			await assert.rejects(stack.ctl(["recording", "certificate", recording]), /not completely removed/);
			await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
			await until("the copy is going", async () => (await value(`select state from rushes.copy where id = '${copy}'`)) === "going");
			await until("personal metadata is gone", async () => (await value(`select count(*) from rushes.recording_personal where recording = '${recording}'`)) === "0");
			// one transaction: sealed among others, so that its path is not empty
			await sql(`begin;
				select count(rushes.add_ledger('gone', '${ACCOUNT}', null, null, 'hold', null, null)) from generate_series(1, 9);
				select rushes.copy_gone('${copy}', 'node/${NODE}', '{"unlinked": true}');
				commit`);
			await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
			// a late write that a second look found
			await sql(`select rushes.add_ledger('found-late', account, recording, '${copy}', null, 'target/${ACCOUNT}', '{"versions": 1, "look": 1}')
				from rushes.ledger where recording = '${recording}' and kind = 'complete'`);
			await allPublished();
			file = path.join(stack.dir, "certificate.json");
			await stack.ctl(["recording", "certificate", recording, "--out", file]);
		});

		it("says which evidence stands for each copy, and until when backups hold what", async () => {
			const certificate = JSON.parse(fs.readFileSync(file, "utf8"));
			assert.equal(certificate.recording, recording);
			assert.equal(certificate.rule, "deleted-by-user");
			const evidence = Object.fromEntries(certificate.copies.map(({ place, evidence: words }) => [place, words]));
			assert.deepEqual(evidence, { [`node/${NODE}`]: ["key-destroyed", "unlinked"], database: ["rows-deleted"] });
			assert.deepEqual(certificate.found_late.map(({ place }) => place), [`target/${ACCOUNT}`]);
			const key = certificate.backups.find(({ what }) => /key/.test(what));
			assert.equal(Date.parse(key.until) - Date.parse(certificate.decided_at), 4 * 86_400_000);
			assert.match(await stack.ctl(["recording", "certificate", recording], { json: false }), /key-destroyed, unlinked/);
		});

		it("has the head that the news of the deletion carried", async () => {
			const news = await until("recording.deleted was told", () =>
				tap.messages.find(({ subject, body }) => subject === "events.recording.deleted" && body.recording === recording));
			const event = news.body;
			messageSchemas().check("event", event);
			const { ledger } = event;
			const [id, key] = fs.readFileSync(publicKey(), "utf8").trim().split("\n")[0].split(" ");
			const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(key, "hex")]);
			assert.ok(crypto.verify(null, Buffer.from(ledger.head), crypto.createPublicKey({ key: der, format: "der", type: "spki" }), Buffer.from(ledger.signature, "hex")));
			const head = JSON.parse(ledger.head);
			assert.deepEqual([ledger.batch, ledger.root, ledger.key], [head.batch, head.root, head.key]);
			assert.equal(ledger.key, id);
			const certificate = JSON.parse(fs.readFileSync(file, "utf8"));
			assert.ok(certificate.heads.some((one) => one.head === ledger.head && one.signature === ledger.signature));
			const entry = certificate.entries.find(({ batch, position }) => batch === ledger.batch && position === ledger.position);
			assert.equal(sha256(Buffer.from([0]), Buffer.from(entry.text)).toString("hex"), ledger.hash);
			assert.match(entry.text, /"kind": "complete"/);
		});

		it("is checked offline by the verifier, with the key alone", async () => {
			const { code, text } = await verifyOffline(file);
			assert.equal(code, 0, text);
			assert.match(text, new RegExp(`The certificate holds: recording ${recording} was completely removed`));
		});

		it("is checked by hand with openssl and sha256sum, as the documentation says", async () => {
			const { code, text } = await byHand(file);
			assert.equal(code, 0, text);
			assert.match(text, /"kind": "complete"/);
		});

		const change = (name, tamper) => {
			const certificate = JSON.parse(fs.readFileSync(file, "utf8"));
			tamper(certificate);
			const changed = path.join(stack.dir, `certificate-${name}.json`);
			fs.writeFileSync(changed, JSON.stringify(certificate));
			return changed;
		};
		const flip = (hex) => (hex[0] === "0" ? "1" : "0") + hex.slice(1);

		it("is refused by both when entries, paths or heads were changed", async () => {
			const changes = {
				entry: (c) => (c.entries[0].text = c.entries[0].text.replace("deleted-by-user", "account-closed")),
				position: (c) => (c.entries[0].position += 1),
				path: (c) => (c.entries.find(({ path: steps }) => steps.length > 0).path[0] = flip(c.entries.find(({ path: steps }) => steps.length > 0).path[0])),
				short: (c) => c.entries.find(({ path: steps }) => steps.length > 0).path.pop(),
				head: (c) => (c.heads[0].head = c.heads[0].head.replace(/"at":"20/, '"at":"19')),
				signature: (c) => (c.heads[0].signature = flip(c.heads[0].signature)),
			};
			for (const [name, tamper] of Object.entries(changes)) {
				const changed = change(name, tamper);
				assert.equal((await verifyOffline(changed)).code, 1, `the verifier took a changed ${name}`);
				assert.notEqual((await byHand(changed)).code, 0, `openssl and sha256sum took a changed ${name}`);
			}
		});

		it("is refused when its summary says something else than its entries", async () => {
			const changes = {
				recording: (c) => (c.recording = crypto.randomUUID()),
				time: (c) => (c.decided_at = c.decided_at.replace(/^20/, "19")),
				evidence: (c) => c.copies[0].evidence.push("all-versions-deleted"),
				copy: (c) => c.copies.pop(),
				late: (c) => c.found_late.pop(),
				complete: (c) => c.entries.splice(c.entries.findIndex(({ text }) => text.includes('"complete"')), 1),
				gone: (c) => (c.entries = c.entries.filter(({ text }) => !text.includes('"gone"'))),
				twice: (c) => c.entries.push(c.entries[0]),
				backups: (c) => (c.backups[0].until = "2199-01-01T00:00:00.000000Z"),
			};
			for (const [name, tamper] of Object.entries(changes)) {
				const { code, text } = await verifyOffline(change(name, tamper));
				assert.equal(code, 1, `the verifier took a changed ${name}`);
				assert.match(text, /does not hold/);
			}
		});

		it("is refused under another key", async () => {
			const other = path.join(stack.dir, "keys/stranger.key");
			await stack.ctl(["key", "generate", "ledger-sign", "--out", other, "--id", "second"], { json: false });
			assert.equal((await verifyOffline(file, `${other}.pub`)).code, 1);
		});

		it("is not given where the ledger was changed", async () => {
			await sql(`update rushes.ledger set place = 'moon' where recording = '${recording}' and place like 'node/%' and kind = 'gone'`);
			await assert.rejects(stack.ctl(["recording", "certificate", recording]), /do not give its signed root/);
		});

		it("cannot be taken away unseen: verify tells of a deleted recording without its closing entry", async () => {
			await sql(`update rushes.ledger set recording = null where recording = '${recording}' and kind = 'complete'`);
			const { answer } = await findings();
			assert.ok(answer.findings.some(({ detail }) => detail.includes(`recording ${recording} is deleted, but`)));
		});
	});
});
