// Recordings go through the whole stack and are deleted again, by every way there is, while its services are killed at random in
// the middle. Then every deletion must have ended, nothing may be left anywhere, and the ledger must verify.
//
//	make chaos-deletion        SEED=1 KILLS=200 RECORDINGS=60 KEEP=1
//
// Takes are sent to two targets: our folder, and the client's versioned bucket, which asked for deletion. They are deleted at any
// moment of their way: by the operator, by the API, by a lifecycle rule, and with their account. Bounded in number and time. Ends
// with `chaos deletion recordings=N kills=N left=N ledger=ok`; the same seed gives the same takes, ways and victims, as far as the
// machine's timing allows.
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { makeLink, openSession, request } from "../../scripts/lib/journey.mjs";
import { Radosgw } from "../../scripts/lib/radosgw.mjs";
import { sendRecording } from "../../scripts/lib/stream-client.mjs";
import { filesBelow } from "../../scripts/lib/verify.mjs";
import { fixture, testStack } from "../lib/harness.mjs";
import { bytesOf, generator } from "./random.mjs";

const SEED = Number(process.env.SEED ?? Date.now() % 100_000);
const KILLS = Number(process.env.KILLS ?? 200);
const RECORDINGS = Number(process.env.RECORDINGS ?? 60);
const PARALLEL = 4;
const TRIES = 60;
// a run that hangs ends all the same
const RUN_LIMIT_MS = KILLS * 15_000 + 600_000;
const END_LIMIT_MS = 900_000;
const PAUSE_MS = 400;
// two at a time are down now and then, one of each group
const VICTIMS = [["janitor", "storage-pusher"], ["ingest", "linkgen", "transcoder"]];
const BUCKET = "takes";
const REASON = "chaos";

const run = promisify(execFile);
const stack = testStack("chaos-deletion", {
	overrides: {
		"storage-pusher": {
			RUSHES_PUSHER_PRIVATE_ADDRESSES: "yes", RUSHES_PUSHER_SWEEP_EVERY: "300ms", RUSHES_PUSHER_LOOK_EVERY: "500ms",
		},
		janitor: { RUSHES_JANITOR_SWEEP_EVERY: "300ms", RUSHES_LEDGER_SEAL_EVERY: "1s" },
	},
});
const random = generator(SEED);
const pick = (list) => list[Math.floor(random() * list.length)];
const began = Date.now();
const counts = { user: 0, api: 0, rule: 0, account: 0 };
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
let gateway;
let kills = 0;
let takes = 0;
let complaints = 0;

const isOver = () => (kills >= KILLS && takes >= RECORDINGS) || Date.now() - began > RUN_LIMIT_MS;

/** Asks until it is answered: whom it asks may be dead at the moment. */
async function insist(what, ask) {
	for (let n = 1; ; n++) {
		try {
			return await ask();
		} catch (error) {
			if (n === TRIES) throw new Error(`${what}: ${error.message}`);
			await delay(300);
		}
	}
}

const curl = async (route, ...options) => (await run("curl", [
	"-sS", "--fail", "--cacert", stack.certificates.ca, "--aws-sigv4", "aws:amz:us-east-1:s3", "-u",
	`${gateway.accessKey}:${gateway.secretKey}`, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", ...options, `${gateway.endpoint}${route}`,
])).stdout;

async function startAll() {
	await stack.prepare();
	gateway = new Radosgw({ instance: stack.dir, certificate: stack.certificates.server });
	await gateway.start();
	await curl(`/${BUCKET}`, "-X", "PUT");
	await curl(`/${BUCKET}?versioning=`, "-X", "PUT", "--data-binary",
		'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>');
	const secret = { access_key: gateway.accessKey, secret_key: gateway.secretKey };
	fs.writeFileSync(path.join(stack.dir, "credential.json"), JSON.stringify(secret), { mode: 0o600 });
	await stack.ctl(["target", "create", "storage", "--kind", "file", "--path", stack.storage]);
	await stack.startServices();
}

/** An account whose takes go to our folder and to its own bucket. One environment keeps takes as they are, one converts. */
async function newAccount(name) {
	const { id } = await stack.ctl(["account", "create", name]);
	await stack.ctl(["target", "create", "bucket", "--kind", "s3", "--account", id, "--endpoint", gateway.endpoint, "--bucket", BUCKET,
		"--path", name, "--path-style", "--allow-private", "--ca-file", stack.certificates.ca, "--delete-at-target",
		"--credential-file", path.join(stack.dir, "credential.json")]);
	const environments = {};
	for (const conversion of ["never", "always"]) {
		environments[conversion] = (await stack.ctl(["env", "create", id, conversion, "--conversion", conversion])).id;
		await stack.ctl(["env", "set", id, conversion, "--add-target", "bucket"]);
		await stack.ctl(["env", "lifecycle", "set", id, conversion, "old", "--age-days", "30", "--enabled", "on", "--yes"]);
	}
	const { key } = await stack.ctl(["apikey", "create", id, "helpdesk", "--scopes", "links:write,links:read,recordings:read,recordings:delete"]);
	return { id, environments, key };
}

async function send(account) {
	const number = ++takes;
	const converts = random() < 0.15;
	const bytes = converts ? fixture("mic-opus.webm").bytes : bytesOf(SEED, number, 20_000 + Math.floor(random() * 400_000));
	const environment = account.environments[converts ? "always" : "never"];
	return insist(`take ${number}`, async () => {
		const session = await openSession(stack, await makeLink(stack, { environment, key: account.key }));
		return (await sendRecording({ url: session.ingest_url, ca: stack.ca, token: session.token, bytes, mime: "video/webm" })).recording;
	});
}

const WAYS = {
	user: (account, id) => stack.ctl(["recording", "delete", id, "--reason", REASON, "--yes"]),
	async api(account, id) {
		const answer = await request(stack, {
			url: `${stack.linkgenUrl}/v1/recordings/${id}?reason=${REASON}`, method: "DELETE", headers: { authorization: `Bearer ${account.key}` },
		});
		if (answer.status !== 202) throw new Error(`DELETE answered ${answer.status}`);
	},
	// it became old enough meanwhile
	rule: (account, id) => sql(`update rushes.recording set saved_at = now() - interval '40 days' where id = '${id}' and saved_at is not null;
		select rushes.retention_recompute('${id}'::uuid)`),
};

async function sendAndDelete(account) {
	const id = await send(account);
	await delay(random() * 4000);
	const way = pick(Object.keys(WAYS));
	counts[way]++;
	await insist(`deletion by ${way}`, () => WAYS[way](account, id));
}

async function sendAndClose(n) {
	const account = await insist("an account", () => newAccount(`closing-${n}-${Math.floor(random() * 1e9)}`));
	await send(account);
	await delay(random() * 3000);
	counts.account++;
	await insist("closing", () => stack.ctl(["account", "close", account.id, "--reason", REASON, "--yes"])).catch((error) => {
		// the answer was lost, not the deed
		if (!/is closed/.test(error.message)) throw error;
	});
}

async function worker(account, n) {
	while (!isOver()) {
		try {
			await (random() < 0.12 ? sendAndClose(n) : sendAndDelete(account));
		} catch (error) {
			complaints++;
			console.error(error.message);
		}
	}
}

async function killer(victims) {
	while (kills < KILLS && Date.now() - began < RUN_LIMIT_MS) {
		await delay(PAUSE_MS * random());
		const victim = pick(victims);
		kills++;
		await stack.kill(victim);
		await delay(PAUSE_MS * random());
		await insist(`${victim} starts again`, () => stack.restart(victim));
		if (kills % 20 === 0) console.error(`${kills} kills, ${takes} takes, ${Math.round((Date.now() - began) / 1000)} s`);
	}
}

/** Decides what nobody decided yet, and waits until every deletion has ended. What failed while something was dead is tried now. */
async function endAll() {
	const end = Date.now() + END_LIMIT_MS;
	for (;;) {
		const open = (await value("select id from rushes.recording where state not in ('deleting', 'deleted') order by 1")).split("\n").filter(Boolean);
		for (const id of open) await WAYS.user(null, id);
		await sql(`update rushes.job set next_attempt_at = now() where kind = 'delete' and state = 'queued' and failures > 0;
			update rushes.second_look set due_at = now(), number = 2 where failures > 0 or due_at > now()`);
		const left = await value(`select (select count(*) from rushes.recording where state <> 'deleted')
			+ (select count(*) from rushes.second_look) + (select count(*) from rushes.ledger where batch is null)
			+ (select count(*) from rushes.ledger_batch where published_at is null)
			+ (select count(*) from rushes.account_key k join rushes.account a on a.id = k.account where a.closed_at is not null)`);
		if (left === "0" || Date.now() > end) return;
		await delay(2000);
	}
}

/** Everything that is there and may not be, in words. */
async function leftovers() {
	const left = [];
	for (const file of [...filesBelow(path.join(stack.dir, "spool")), ...filesBelow(stack.storage)])
		if (file.endsWith(".sealed") || (file.startsWith(stack.storage) && !file.endsWith(".rushes-store"))) left.push(file);
	for (const question of ["versions", "uploads"])
		for (const [, key] of (await curl(`/${BUCKET}?${question}=`)).matchAll(/<Key>([^<]+)<\/Key>/g)) left.push(`${question} of ${key}`);
	for (const table of ["copy", "file", "segment", "recording_key", "recording_personal", "job", "second_look"]) {
		const n = await value(`select count(*) from rushes.${table}`);
		if (n !== "0") left.push(`${n} rows of ${table}`);
	}
	for (const line of (await value(`select id || ' is ' || state from rushes.recording where state <> 'deleted'
		union all select 'tombstone ' || id from rushes.recording where num_nonnulls(mime, bytes, sha256, link, session, replaces, personal_due_at) > 0
		union all select 'no proof of ' || id from rushes.recording r where not exists (
			select from rushes.ledger l where l.recording = r.id and l.kind = 'complete')
		union all select 'key of the closed account ' || a.id from rushes.account_key k join rushes.account a on a.id = k.account
			where a.closed_at is not null`)).split("\n").filter(Boolean))
		left.push(line);
	return left;
}

console.log(`chaos deletion seed=${SEED}`);
let left = [];
let ledger = "not checked";
try {
	await startAll();
	const account = await newAccount("staying");
	await Promise.all([...VICTIMS.map(killer), ...Array.from({ length: PARALLEL }, (_, n) => worker(account, n))]);
	await endAll();
	left = await leftovers();
	for (const one of left) console.error(`left: ${one}`);
	const verified = await stack.ctl(["ledger", "verify"]).catch((error) => ({ error: error.message }));
	ledger = verified.findings?.length === 0 && verified.target ? "ok" : "wrong";
	if (ledger !== "ok") console.error(JSON.stringify(verified));
	console.error(`ways: ${JSON.stringify(counts)}, ${complaints} complaints, ${Math.round((Date.now() - began) / 1000)} s`);
} finally {
	await gateway?.stop();
	if (!process.env.KEEP) await stack.remove();
}
console.log(`chaos deletion recordings=${takes} kills=${kills} left=${left.length} ledger=${ledger}`);
process.exitCode = left.length > 0 || ledger !== "ok" || kills < KILLS || complaints > 0 ? 1 : 0;
