// A real point-in-time recovery: recordings, deletions and holds behind the restored moment; nothing works before the
// reconcile, nothing deleted is back behind it, and no file on a living spool went without the ledger's word.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { SERVICES } from "../../scripts/lib/identities.mjs";
import { makeAccount, waitDelivered } from "../../scripts/lib/journey.mjs";
import { isRunning, waitFor } from "../../scripts/lib/process.mjs";
import { sendFixture, testStack } from "../lib/harness.mjs";

const FIXTURE = "mic-opus.webm";
const SPOOLS = ["ingest", "transcoder"];

const stack = testStack("restore", { archive: true, overrides: { janitor: { RUSHES_LEDGER_SEAL_EVERY: "200ms" } } });
const value = async (text) => (await stack.postgres.psql(text)).trim();
const until = (what, check) => waitFor(what, async () => (await check()) || null, { pollMs: 100 });
const stateOf = (recording) => value(`select state from rushes.recording where id = '${recording}'`);
const published = () =>
	until("the ledger target has everything", async () =>
		(await value(`select (select count(*) from rushes.ledger where batch is null)
			+ (select count(*) from rushes.ledger_batch where published_at is null)`)) === "0");

/** The copies that lie on the spools, by id. */
const filesOf = (service) =>
	fs.readdirSync(path.join(stack.spoolPath(service), "copies"), { recursive: true }).map((name) => path.basename(name)).filter((name) => name.endsWith(".sealed")).map((name) => name.slice(0, -".sealed".length));
const allFiles = () => SPOOLS.flatMap(filesOf).sort();
const copiesOf = (recording) => value(`select string_agg(id::text, ' ') from rushes.copy where recording = '${recording}' and node is not null`).then((text) => text.split(" "));

describe("a database recovered to a point in time", () => {
	let account;
	let [deleted, held, released, later] = [];
	let laterFiles;

	before(async () => {
		await stack.start();
		account = await makeAccount(stack, { settings: ["--conversion", "never"] });
		await stack.postgres.baseBackup();
		[deleted, held, released] = await Promise.all([1, 2, 3].map(() => sendFixture(stack, account, FIXTURE)));
		for (const { recording } of [deleted, held, released]) await waitDelivered(stack, recording);
		await stack.ctl(["recording", "hold", released.recording, "--reason", "a case"]);
		await stack.postgres.psql("select pg_create_restore_point('middle')");

		await stack.ctl(["recording", "release", released.recording, "--reason", "settled"]);
		await stack.ctl(["recording", "hold", held.recording, "--reason", "another case"]);
		await stack.ctl(["recording", "delete", deleted.recording, "--reason", "asked", "--yes", "--wait"]);
		later = await sendFixture(stack, account, FIXTURE);
		await waitDelivered(stack, later.recording);
		laterFiles = await copiesOf(later.recording);
		await published();
		await stack.postgres.recoverTo("middle");
	});
	after(() => stack.remove());

	it("ends the services that ran, and holds those that start: nothing is done", async () => {
		await until("the services ended", () => SERVICES.every((service) => !isRunning(stack.services[service])));
		assert.equal(await stateOf(deleted.recording), "closed", "restored to before the deletion");
		// what was delivered may have left its transcoder meanwhile
		laterFiles = laterFiles.filter((copy) => allFiles().includes(copy));
		assert.ok(laterFiles.length > 0);
		const before = { files: allFiles(), rows: await value("select count(*) from rushes.copy"), ledger: await value("select max(id) from rushes.ledger") };
		for (const service of SERVICES) await stack.launchService(service);
		for (const service of SERVICES) {
			const ready = await until(`${service} says why it waits`, async () => {
				const answer = await stack.admin(service, "/readyz");
				return answer.body.startsWith("restoring: ") && answer;
			});
			assert.equal(ready.status, 503);
			assert.match(ready.body, /timeline 00000002.*rushesctl restore reconcile/);
			assert.match((await stack.admin(service, "/metrics")).body, /^rushes_restoring 1$/m);
		}
		await assert.rejects(() => stack.ctl(["recording", "delete", held.recording, "--reason", "no", "--yes"]), /rushesctl restore reconcile/);
		assert.equal((await stack.ctl(["recording", "show", held.recording])).id, held.recording, "people may look");
		const status = await stack.ctl(["restore", "status"]);
		assert.equal(status.state, "restoring");
		await until("both spools have reported", async () => (await stack.ctl(["restore", "status"])).nodes.every((node) => node.reported_at !== null));
		assert.deepEqual({ files: allFiles(), rows: await value("select count(*) from rushes.copy"), ledger: await value("select max(id) from rushes.ledger") }, before);
	});

	it("shows what a reconcile would do, and changes nothing", async () => {
		const { status, findings } = await stack.ctl(["restore", "reconcile", "--dry-run"]);
		assert.equal(status.state, "restoring");
		assert.ok(findings.some(({ what, recording }) => what === "deleted-again" && recording === deleted.recording));
		assert.equal(await stateOf(deleted.recording), "closed");
		assert.equal((await stack.ctl(["restore", "findings"])).length, 0);
	});

	it("refuses a ledger target that is damaged, and takes none of it", async () => {
		const last = fs.readdirSync(stack.ledgerPath()).filter((name) => name.endsWith(".ledger")).sort().at(-1);
		const file = path.join(stack.ledgerPath(), last);
		const content = fs.readFileSync(file, "utf8");
		fs.chmodSync(file, 0o600);
		fs.writeFileSync(file, content.replace('"kind": "', '"kind": "x'));
		await assert.rejects(() => stack.ctl(["restore", "reconcile", "--dry-run"]), /is not what was signed.*--override/);
		fs.writeFileSync(file, content);
	});

	it("goes on where a reconcile was killed", async () => {
		// every step takes a while, and the last one is refused: kills fall everywhere
		await stack.postgres.psql(`create function public.slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return null; end $$;
			create function public.refused() returns trigger language plpgsql as $$ begin raise exception 'not yet'; end $$;
			create trigger slowly after insert or delete on rushes.restore_work for each row execute function public.slowly();
			create trigger slowly after insert on rushes.restore_finding for each row execute function public.slowly();
			create trigger refused before update of state on rushes.installation for each row execute function public.refused();`);
		const progress = async () => Number(await value("select imported + (select count(*) from rushes.restore_finding) from rushes.restore order by id desc limit 1"));
		let ended = "";
		for (let ms = 40; ended === "" && ms < 20_000; ms = Math.ceil(ms * 1.3)) {
			const before = await progress();
			await assert.rejects(
				() => stack.ctl(["restore", "reconcile", "--reason", "a drill", "--yes"], { killAfterMs: ms }),
				(error) => {
					if (!/killed after/.test(error.message)) ended = error.message;
					return true;
				},
			);
			assert.ok((await progress()) >= before, "what was done stays done");
			assert.equal((await stack.ctl(["restore", "status"])).state, "restoring");
		}
		assert.match(ended, /not yet/, "only the opening was left");
		await stack.postgres.psql(`drop function public.slowly() cascade; drop function public.refused() cascade`);
	});

	it("applies the ledger target and opens the gate", async () => {
		const before = allFiles();
		const { status, findings } = await stack.ctl(["restore", "reconcile", "--reason", "a drill", "--yes"]);
		assert.equal(status.state, "open");
		const found = (what) => findings.filter((f) => f.what === what);
		assert.deepEqual(found("deleted-again").map(({ recording }) => recording), [deleted.recording]);
		assert.deepEqual(found("hold-set").map(({ recording }) => recording), [held.recording]);
		assert.deepEqual(found("hold-lifted").map(({ recording }) => recording), [released.recording]);
		const lost = found("lost-row");
		assert.deepEqual(lost.map(({ copy }) => copy).sort(), laterFiles.sort(), "what came later lies there without a row");
		for (const { detail } of lost) assert.match(detail, /its key is gone/);

		await Promise.all(SERVICES.map((service) => stack.serviceReady(service)));
		await until("the deletion is complete again", async () => (await stateOf(deleted.recording)) === "deleted");
		assert.deepEqual(await stack.postgres.query("select id, held from rushes.recording where held"), [{ id: held.recording, held: true }]);
		await assert.rejects(() => stack.ctl(["recording", "show", later.recording]), /there is no recording/);
		const files = allFiles();
		for (const copy of before.filter((id) => !files.includes(id)))
			assert.equal(await value(`select count(*) from rushes.ledger where copy = '${copy}' and kind = 'gone'`), "1", `${copy} went without the ledger's word`);
		for (const copy of laterFiles) assert.ok(files.includes(copy), "a lost row's file is kept");
		assert.match((await stack.admin("ingest", "/metrics")).body, /rushes_spool_alarms_total\{kind="lost-row"\} [1-9]/);
	});

	it("goes on: a new recording takes its way, and the ledger is one chain", async () => {
		const next = await sendFixture(stack, account, FIXTURE);
		await waitDelivered(stack, next.recording);
		await stack.ctl(["recording", "delete", next.recording, "--reason", "asked", "--yes", "--wait"]);
		await published();
		const { findings } = await stack.ctl(["ledger", "verify"]);
		assert.deepEqual(findings, []);
		assert.equal((await stack.ctl(["recording", "certificate", deleted.recording])).recording, deleted.recording);
		assert.match((await stack.ctl(["audit", "list"])).map(({ action }) => action).join(" "), /restore\.open/);
	});

	it("lets a person give up a file whose row is lost", async () => {
		const node = (await stack.ctl(["node", "list"])).find(({ service }) => service === "ingest").id;
		const [lost] = (await stack.ctl(["node", "show", node])).lost_rows;
		assert.deepEqual([lost.recording, lost.key], [later.recording, "gone: nobody can read it"]);
		await stack.ctl(["node", "discard", node, lost.copy, "--reason", "the customer sent it again", "--yes"]);
		await stack.kill("ingest");
		await stack.restart("ingest");
		await until("its file is gone", () => !filesOf("ingest").includes(lost.copy));
		assert.equal(await value(`select evidence->>'unlinked' from rushes.ledger where copy = '${lost.copy}' and kind = 'gone'`), "true");
		assert.deepEqual((await stack.ctl(["node", "show", node])).lost_rows, []);
	});

	it("refuses a retired spool that comes back, and removes what the ledger calls gone", async () => {
		await stack.kill("storage-pusher");
		const sent = await sendFixture(stack, account, FIXTURE);
		await until("it lies on the transcoder", async () => (await stateOf(sent.recording)) === "processed");
		const node = (await stack.ctl(["node", "list"])).find(({ service }) => service === "transcoder").id;
		const copy = await value(`select id from rushes.copy where recording = '${sent.recording}' and node = '${node}'`);
		const retire = ["node", "retire", node, "--attested-by", "Ann Lee", "--reason", "burned", "--yes"];
		await assert.rejects(() => stack.ctl(retire), /beats/);
		await stack.kill("transcoder");
		await stack.postgres.psql(`update rushes.node set beat_at = beat_at - interval '1 year' where id = '${node}'`);
		await stack.ctl(retire);
		assert.equal(await stateOf(sent.recording), "saved", "it is made again from the raw");
		assert.ok(filesOf("transcoder").includes(copy));
		await stack.launchService("transcoder");
		await until("the service ended", () => !isRunning(stack.services.transcoder));
		assert.match(stack.text("transcoder"), /was retired/);
		assert.ok(!filesOf("transcoder").includes(copy));
	});
});
