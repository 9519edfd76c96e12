// rushes-storage-pusher with a transcoder's real spool, the real servers, a folder and Ceph's gateway: what arrives, what a
// dead child leaves, what is removed.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { waitFor } from "../../scripts/lib/process.mjs";
import { Radosgw } from "../../scripts/lib/radosgw.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { testStack } from "../lib/harness.mjs";

const run = promisify(execFile);
const PROBE = path.join(ROOT, "build/gcc/tests/integration/seal_probe");
const MIB = 1024 * 1024;
const NAMES = { main: "main.mp4", raw: "raw.webm", snapshot: "snapshot.jpg", filmstrip: "filmstrip.jpg" };
const SIZES = { main: 21 * MIB + 4321, raw: 3 * MIB, snapshot: 70_000, filmstrip: 65_504 };

const stack = testStack("pusher", {
	build: path.join(ROOT, process.env.RUSHES_BUILD ?? "build/gcc"),
	overrides: {
		"storage-pusher": { RUSHES_PUSHER_SWEEP_EVERY: "200ms", RUSHES_PUSHER_LOOK_EVERY: "200ms", RUSHES_PUSHER_PRIVATE_ADDRESSES: "yes" },
		janitor: { RUSHES_JANITOR_SWEEP_EVERY: "200ms" },
	},
});
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
const rows = (text) => stack.postgres.query(text);
const until = (what, check, limitMs = 30_000) => waitFor(what, async () => (await check()) || null, { limitMs, pollMs: 50 });
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

let gateway;
let node;
let account;
let environment;
let ours;
let takes;

const curl = async (route, ...options) => (await run("curl", [
	"-sS", "--fail", "--cacert", stack.certificates.ca, "--aws-sigv4", "aws:amz:us-east-1:s3",
	"-u", `${gateway.accessKey}:${gateway.secretKey}`, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", ...options,
	`${gateway.endpoint}${route}`,
], { encoding: "buffer", maxBuffer: 128 * MIB })).stdout;

/** Keys of all objects, versions and unfinished uploads in the bucket. */
async function inBucket() {
	const text = (await curl("/takes?versions=")).toString() + (await curl("/takes?uploads=")).toString();
	return [...text.matchAll(/<Key>([^<]+)<\/Key>/g)].map(([, key]) => key);
}

/** Everything that lies in our folder, the marker apart. */
function inFolder() {
	return fs.readdirSync(stack.storage, { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile() && entry.name !== ".rushes-store")
		.map((entry) => path.relative(stack.storage, path.join(entry.parentPath ?? entry.path, entry.name)));
}

/** A processed recording whose files lie sealed in the transcoder's spool. */
async function makeRecording(sizes = SIZES) {
	const recording = randomUUID();
	const [own] = await rows(`select id, encode(wrapped, 'hex') as wrapped from rushes.account_key where account = '${account}'`);
	const key = own?.id ?? randomUUID();
	const folder = path.join(stack.dir, `plain-${recording}`);
	fs.mkdirSync(folder);
	const files = Object.entries(sizes).map(([kind, size]) => {
		const bytes = randomBytes(size);
		const copy = randomUUID();
		const location = `copies/${copy.slice(-2)}/${copy}.sealed`;
		const sealed = path.join(stack.spoolPath("transcoder"), location);
		fs.mkdirSync(path.dirname(sealed), { recursive: true });
		fs.writeFileSync(path.join(folder, kind), bytes);
		return { kind, bytes, copy, location, sealed, sha256: sha256(bytes) };
	});
	const { stdout } = await run(PROBE, [stack.keyFile("spool-root"), account, key, own?.wrapped ?? "new", recording,
		...files.map(({ kind, copy, sealed }) => `${kind}:${copy}:${path.join(folder, kind)}:${sealed}`)]);
	const keys = JSON.parse(stdout);
	await sql(`
		begin;
		insert into rushes.account_key (account, id, root_key, wrapped)
			values ('${account}', '${key}', '${keys.root_key}', '\\x${keys.account_wrapped}') on conflict do nothing;
		insert into rushes.recording (id, account, region, environment, state, mime, bytes, saved_at, sent_at, copied_at, processed_at)
			values ('${recording}', '${account}', 'eu1', '${environment}', 'processed', 'video/webm;codecs=vp9,opus', 1, now(), now(), now(), now());
		insert into rushes.recording_key (recording, account, account_key, wrapped) values ('${recording}', '${account}', '${key}', '\\x${keys.wrapped}');
		${files.map((file) => `
		insert into rushes.file (id, recording, account, kind, bytes, sha256)
			values (gen_random_uuid(), '${recording}', '${account}', '${file.kind}', ${file.bytes.length}, '\\x${file.sha256}');
		insert into rushes.copy (id, recording, account, region, kind, node, state, location, present_at)
			values ('${file.copy}', '${recording}', '${account}', 'eu1', '${file.kind}', '${node}', 'present', '${file.location}', now());`).join("")}
		commit;`);
	return { recording, files: Object.fromEntries(files.map((file) => [file.kind, file])) };
}

const push = (recording) => sql(`select rushes.add_push_jobs('${recording}')`);
const unfinished = (recording) => value(`select count(*) from rushes.job where recording = '${recording}'`);
const copiesAt = (recording, target) => rows(`select * from rushes.copy where recording = '${recording}' and target = '${target}'`);

async function prefixOf(recording) {
	const day = (await value(`select to_char(opened_at at time zone 'UTC', 'YYYY/MM/DD') from rushes.recording where id = '${recording}'`));
	return `${await value(`select hash from rushes.account where id = '${account}'`)}/${day}/${recording}`;
}

/** Delivery children that run now. */
function children() {
	return fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
		try {
			const [program, argument] = fs.readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0");
			const parent = Number(/^PPid:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"))[1]);
			return program && argument === "delivery-child" && parent === stack.services["storage-pusher"].pid ? [Number(pid)] : [];
		} catch {
			return [];
		}
	});
}

describe("rushes-storage-pusher", () => {
	before(async () => {
		await stack.prepare();
		gateway = new Radosgw({ instance: stack.dir, certificate: stack.certificates.server });
		await gateway.start();
		await curl("/takes", "-X", "PUT");
		account = (await stack.ctl(["account", "create", "Test"])).id;
		environment = (await stack.ctl(["env", "create", "Test", "support"])).id;
		ours = (await stack.ctl(["target", "create", "storage", "--kind", "file", "--path", stack.storage])).id;
		const credential = path.join(stack.dir, "credential.json");
		fs.writeFileSync(credential, JSON.stringify({ access_key: gateway.accessKey, secret_key: gateway.secretKey }));
		takes = (await stack.ctl(["target", "create", "takes", "--kind", "s3", "--account", account, "--endpoint", gateway.endpoint,
			"--bucket", "takes", "--path", "support/films", "--path-style", "--allow-private", "--ca-file", stack.certificates.ca,
			"--part-size", "5MiB", "--main-class", "STANDARD_IA", "--delete-at-target", "--credential-file", credential])).id;
		await stack.ctl(["env", "set", "Test", "support", "--add-target", "takes"]);
		await stack.startService("transcoder");
		node = JSON.parse(fs.readFileSync(path.join(stack.spoolPath("transcoder"), "superblock.json"), "utf8")).node
			?? (await value("select id from rushes.node where service = 'transcoder'"));
		await stack.startService("janitor");
		await stack.startService("storage-pusher");
	});
	after(async () => {
		await gateway?.stop();
		await stack.remove();
	});

	let delivered;
	it("delivers every file to a folder and to a bucket, in order, with proof", { timeout: 90_000 }, async () => {
		delivered = await makeRecording();
		const { recording, files } = delivered;
		await push(recording);
		await until("everything is delivered", async () => (await unfinished(recording)) === "0", 60_000);
		const prefix = await prefixOf(recording);
		for (const [kind, file] of Object.entries(files)) {
			assert.equal(sha256(fs.readFileSync(path.join(stack.storage, prefix, NAMES[kind]))), file.sha256, kind);
			assert.equal(sha256(await curl(`/takes/support/films/${prefix}/${NAMES[kind]}`)), file.sha256, kind);
		}
		assert.deepEqual(inFolder().sort(), Object.values(NAMES).map((name) => `${prefix}/${name}`).sort(), "and nothing else");
		const head = (await curl(`/takes/support/films/${prefix}/main.mp4`, "-I")).toString().toLowerCase();
		assert.match(head, /content-type: video\/mp4/);
		assert.match(head, /x-amz-storage-class: standard_ia/);
		for (const target of [ours, takes]) {
			const order = await rows(`select file_kind from rushes.job_done where recording = '${recording}' and target = '${target}' order by finished_at`);
			assert.deepEqual(order.map(({ file_kind }) => file_kind), ["main", "raw", "snapshot", "filmstrip"]);
		}
		for (const copy of await copiesAt(recording, ours)) {
			assert.equal(copy.state, "present");
			assert.equal(copy.evidence.verified, "read-back");
			assert.equal(copy.evidence.sha256, files[copy.kind].sha256);
		}
		for (const copy of await copiesAt(recording, takes)) {
			assert.equal(copy.state, "released", "it is the client's");
			assert.equal(copy.upload_id, null);
			assert.equal(copy.encrypted_at_rest, false, "the gateway did not say so");
			assert.match(copy.evidence.etag, copy.kind === "main" ? /-5$/ : /^[0-9a-f]{32}$/);
		}
		assert.equal((await inBucket()).length, 4);
	});

	it("hands the processing node's copies over to deletion once they are delivered", async () => {
		await until("they are gone", async () =>
			(await value(`select count(*) from rushes.copy where recording = '${delivered.recording}' and node is not null`)) === "0");
		const rules = await rows(`select distinct rule from rushes.ledger where recording = '${delivered.recording}'`);
		assert.deepEqual(rules, [{ rule: "work-delivered" }]);
		for (const { sealed } of Object.values(delivered.files)) assert.ok(!fs.existsSync(sealed));
	});

	it("keeps secrets out of arguments and environment, and ends its children with the batch", async () => {
		const { recording } = await makeRecording({ main: 60 * MIB });
		await push(recording);
		const [pid] = await until("a child works", async () => children().length > 0 && children());
		const environ = fs.readFileSync(`/proc/${pid}/environ`, "latin1");
		assert.ok(!/RUSHES|secret/i.test(environ), environ);
		const status = fs.readFileSync(`/proc/${pid}/status`, "latin1");
		assert.match(status, /^NoNewPrivs:\s*1$/m);
		assert.match(status, /^Seccomp:\s*2$/m);
		await until("it is delivered", async () => (await unfinished(recording)) === "0", 60_000);
		await until("the children are gone", async () => children().length === 0);
	});

	it("goes on where a killed child left an upload, and leaves none behind", { timeout: 120_000 }, async () => {
		const { recording, files } = await makeRecording({ main: 80 * MIB });
		await sql(`update rushes.environment set store_ours = false where id = '${environment}'`);
		await push(recording);
		await sql(`update rushes.environment set store_ours = true where id = '${environment}'`);
		const upload = await until("an upload is recorded", async () => (await copiesAt(recording, takes))[0]?.upload_id);
		for (const pid of children()) process.kill(pid, "SIGKILL");
		await until("the attempt failed", async () => (await value(`select failures from rushes.job where recording = '${recording}'`)) === "1");
		assert.match(await value(`select last_error from rushes.job where recording = '${recording}'`), /delivery child/);
		assert.equal((await copiesAt(recording, takes))[0].upload_id, upload, "it is remembered");
		await sql(`update rushes.job set next_attempt_at = now() where recording = '${recording}'`);
		await until("it is delivered", async () => (await unfinished(recording)) === "0", 60_000);
		const prefix = await prefixOf(recording);
		assert.equal(sha256(await curl(`/takes/support/films/${prefix}/main.mp4`)), files.main.sha256);
		assert.ok(!(await curl("/takes?uploads=")).toString().includes("<Upload>"));
	});

	it("does not deliver bytes that are not the file's", async () => {
		const { recording, files } = await makeRecording({ main: 300_000 });
		const sealed = fs.openSync(files.main.sealed, "r+");
		fs.writeSync(sealed, Buffer.from([1, 2, 3, 4]), 0, 4, 100_000);
		fs.closeSync(sealed);
		await push(recording);
		await until("both tries failed", async () => (await value(`select count(*) from rushes.job where recording = '${recording}' and failures = 1`)) === "2");
		const prefix = await prefixOf(recording);
		assert.ok(!inFolder().some((name) => name.startsWith(prefix)));
		assert.ok(!(await inBucket()).some((name) => name.includes(recording)));
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
	});

	it("does not give a moved target its credential", async () => {
		await sql(`update rushes.target set endpoint = jsonb_set(endpoint, '{bucket}', '"elsewhere"') where id = '${takes}'`);
		const { recording } = await makeRecording({ main: 1000 });
		await push(recording);
		await until("the try failed", async () => (await value(`select count(*) from rushes.job where recording = '${recording}' and target = '${takes}' and failures = 1`)) === "1");
		assert.match(await value(`select last_error from rushes.job where recording = '${recording}' and target = '${takes}'`), /give it again/);
		await sql(`update rushes.target set endpoint = jsonb_set(endpoint, '{bucket}', '"takes"') where id = '${takes}'`);
		await sql(`update rushes.job set next_attempt_at = now() where recording = '${recording}'`);
		await until("it is delivered after all", async () => (await unfinished(recording)) === "0");
	});

	it("removes a deleted recording from our folder and from the client's bucket, which asked for it", async () => {
		const { recording } = delivered;
		const prefix = await prefixOf(recording);
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
		assert.ok(!fs.existsSync(path.join(stack.storage, prefix)));
		assert.ok(!(await inBucket()).some((name) => name.includes(recording)));
		const gone = await rows(`select evidence from rushes.ledger where recording = '${recording}' and kind = 'gone' and place like 'target/%'`);
		assert.equal(gone.length, 8);
		for (const { evidence } of gone) assert.equal(evidence.absent, true);
	});

	it("removes every version and upload from our bucket, with proof", { timeout: 90_000 }, async () => {
		await curl("/takes?versioning=", "-X", "PUT", "--data-binary",
			'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>');
		const archive = (await stack.ctl(["target", "create", "archive", "--kind", "s3", "--endpoint", gateway.endpoint,
			"--bucket", "takes", "--path-style", "--allow-private", "--ca-file", stack.certificates.ca, "--part-size", "5MiB",
			"--credential-file", path.join(stack.dir, "credential.json")])).id;
		await sql(`update rushes.target set disabled_at = now() where id = '${ours}'`);
		const { recording } = await makeRecording();
		await push(recording);
		await sql(`update rushes.target set disabled_at = null where id = '${ours}'`);
		await until("everything is delivered", async () => (await unfinished(recording)) === "0", 60_000);
		const key = `${await prefixOf(recording)}/main.mp4`;
		assert.ok((await copiesAt(recording, archive)).every(({ evidence }) => evidence.version));
		// a second version and an upload that somebody began under the same name go too
		await curl(`/takes/${key}`, "-X", "PUT", "--data-binary", "another version");
		await curl(`/takes/${key}?uploads=`, "-X", "POST");
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
		const left = (await inBucket()).filter((name) => name.startsWith(path.posix.dirname(key)));
		assert.deepEqual(left, []);
		const [main] = await rows(`select evidence from rushes.ledger where recording = '${recording}' and kind = 'gone' and place = 'target/${archive}' and (evidence->>'versions')::int = 2`);
		assert.deepEqual(main.evidence, { absent: true, versions: 2, uploads: 1 });
	});

	it("looks again after a removal, and removes what a late writer left, at folder and bucket", { timeout: 60_000 }, async () => {
		await sql(`update rushes.target set disabled_at = now() where name = 'archive'`);
		await sql("delete from rushes.second_look");
		const { recording } = await makeRecording({ main: 100_000, raw: 50_000 });
		await push(recording);
		await until("everything is delivered", async () => (await unfinished(recording)) === "0", 60_000);
		const prefix = await prefixOf(recording);
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
		const looks = () => rows(`select * from rushes.second_look where recording = '${recording}' order by location`);
		assert.deepEqual((await looks()).map(({ number }) => number), [1, 1, 1, 1]);
		const explained = await stack.ctl(["recording", "explain", recording]);
		assert.equal(explained.second_looks.length, 4);
		// a write that the stores show only now
		const { location, temporary } = (await looks()).find(({ target, file_kind }) => target === ours && file_kind === "main");
		for (const name of [location, temporary]) {
			fs.mkdirSync(path.dirname(path.join(stack.storage, name)), { recursive: true });
			fs.writeFileSync(path.join(stack.storage, name), "late");
		}
		await curl(`/takes/support/films/${prefix}/main.mp4`, "-X", "PUT", "--data-binary", "late");
		await curl(`/takes/support/films/${prefix}/raw.webm?uploads=`, "-X", "POST");
		const due = () => sql(`update rushes.second_look set due_at = now(), removed_at = now() - interval '2 days' where recording = '${recording}'`);
		await due();
		await until("all were looked for", async () => (await looks()).every(({ number }) => number === 2) && (await looks()).length < 4);
		assert.ok(!fs.existsSync(path.join(stack.storage, prefix)));
		assert.ok(!(await inBucket()).some((name) => name.includes(recording)));
		const late = await rows(`select place, evidence from rushes.ledger where recording = '${recording}' and kind = 'found-late' order by id`);
		assert.equal(late.length, 3);
		assert.deepEqual(late.filter(({ place }) => place === `target/${ours}`).map(({ evidence }) => evidence.unlinked), [true]);
		assert.ok(late.some(({ evidence }) => evidence.uploads === 1) && late.some(({ evidence }) => evidence.versions === 1));
		assert.equal((await looks()).length, 3, "what was clean has had both its looks; what came late is looked for in a day again");
		await due();
		await until("nothing is left to look for", async () => (await looks()).length === 0);
		const { body } = await stack.admin("storage-pusher", "/metrics");
		assert.match(body, /rushes_pusher_looks_total\{target="s3",result="found"\} 2/);
		await sql(`update rushes.target set disabled_at = null where name = 'archive'`);
	});

	it("confirms no deletion while another disk is mounted", async () => {
		const { recording } = await makeRecording({ main: 1000 });
		await push(recording);
		await until("it is delivered", async () => (await unfinished(recording)) === "0");
		const aside = `${stack.storage}.aside`;
		fs.renameSync(stack.storage, aside);
		fs.mkdirSync(stack.storage);
		await stack.ctl(["recording", "delete", recording, "--reason", "test", "--yes"]);
		await until("the removal failed", async () => Number(await value(`select coalesce(max(failures), 0) from rushes.job where recording = '${recording}' and target = '${ours}'`)) > 0);
		assert.match(await value(`select last_error from rushes.job where recording = '${recording}' and target = '${ours}'`), /mounted/);
		fs.rmdirSync(stack.storage);
		fs.renameSync(aside, stack.storage);
		await sql(`update rushes.job set next_attempt_at = now() where recording = '${recording}'`);
		await until("it is deleted", async () => (await value(`select state from rushes.recording where id = '${recording}'`)) === "deleted");
	});

	it("stops on SIGTERM in the middle of a delivery and loses nothing", { timeout: 90_000 }, async () => {
		const { recording, files } = await makeRecording({ main: 60 * MIB });
		await push(recording);
		await until("a child works", async () => children().length > 0);
		process.kill(stack.services["storage-pusher"].pid, "SIGTERM");
		await until("it says that it stopped", async () => stack.log("storage-pusher").some((entry) => /rushes-storage-pusher stopped/.test(entry.message ?? entry.msg)), 60_000);
		await stack.restart("storage-pusher");
		await until("it is delivered", async () => (await unfinished(recording)) === "0", 60_000);
		assert.equal(sha256(fs.readFileSync(path.join(stack.storage, await prefixOf(recording), "main.mp4"))), files.main.sha256);
	});

	it("writes no secret to its log", () => {
		const text = fs.readFileSync(path.join(stack.dir, "log/storage-pusher.log"), "utf8");
		assert.ok(!text.includes(gateway.secretKey) && !text.includes(gateway.accessKey));
	});
});
