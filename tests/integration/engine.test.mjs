// The job engine on real servers: each job is done once, whatever dies. Two processes of a small service work off jobs as
// a test table tells them; the test kills, freezes and wipes, and reads the database.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { IDENTITIES, REGION } from "../../scripts/lib/identities.mjs";
import { freePorts } from "../../scripts/lib/ports.mjs";
import { isRunning, logTail, signalProcess, startProcess, waitFor, waitGone } from "../../scripts/lib/process.mjs";
import { ROOT, httpGet } from "../../scripts/lib/stack.mjs";
import { testStack } from "../lib/harness.mjs";

const PROBE = path.join(ROOT, "build/gcc/tests/integration/engine_probe");
const ACCOUNT = randomUUID();
const ENVIRONMENT = randomUUID();
const SCHEDULE_MIN = [2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 1440];

const SETUP = `
	CREATE SCHEMA probe;
	GRANT USAGE ON SCHEMA probe TO rushes_transcoder;
	CREATE TABLE probe.instruction (job uuid PRIMARY KEY, what text NOT NULL);
	CREATE TABLE probe.note (at timestamptz DEFAULT clock_timestamp(), job uuid, attempt integer, pid integer, what text);
	GRANT SELECT ON probe.instruction TO rushes_transcoder;
	GRANT INSERT, SELECT ON probe.note TO rushes_transcoder;
	CREATE FUNCTION probe.job_done(p_job uuid, p_attempt integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
	DECLARE v_job rushes.job := rushes.lock_attempt(p_job, p_attempt);
	BEGIN PERFORM rushes.finish_job(v_job, 'done', 'done', null, null); END $$;
	INSERT INTO rushes.account (id, name, region, hash, plan, paid_until)
	VALUES ('${ACCOUNT}', 'Engine', '${REGION}', '${"a".repeat(24)}', 'paid', now() + interval '1 year');
	INSERT INTO rushes.environment (account, id, name) VALUES ('${ACCOUNT}', '${ENVIRONMENT}', 'test');
`;

let stack;
let probes = [];

async function startProbe(name) {
	const { certificate, key } = stack.certificates.services.transcoder;
	const [port] = await freePorts(1);
	const record = await startProcess({
		dir: stack.dir,
		name,
		command: PROBE,
		env: {
			RUSHES_LOG_LEVEL: "debug",
			RUSHES_REGION: REGION,
			RUSHES_ADMIN_LISTEN: `127.0.0.1:${port}`,
			RUSHES_DATABASE: stack.postgres.conninfo("transcoder"),
			RUSHES_NATS_URL: stack.nats.url,
			RUSHES_REDIS: stack.redis.address,
			RUSHES_REDIS_USER: IDENTITIES.transcoder.cn,
			RUSHES_REDIS_PASSWORD_FILE: stack.redis.passwordFiles.transcoder,
			RUSHES_TLS_CERTIFICATE: certificate,
			RUSHES_TLS_KEY: key,
			RUSHES_TLS_CA: stack.certificates.ca,
		},
	});
	const probe = { ...record, port };
	probes.push(probe);
	await waitFor(`${name} is ready`, async () => {
		if (!isRunning(probe)) throw new Error(`${name} ended at its start:\n${logTail(probe.log)}`);
		return (await httpGet(port, "/readyz")).status === 200;
	});
	return probe;
}

const sql = (text) => stack.postgres.psql(text);
const rows = (text) => stack.postgres.query(text);
const waitSql = (what, text, options) => waitFor(what, async () => (await rows(text).catch(() => []))[0]?.ok, options);
const list = (jobs) => jobs.map((job) => `'${job}'`).join(",");

/** Saved recordings with a copy job each; returns the jobs' ids. */
async function insertJobs(n, what) {
	const jobs = Array.from({ length: n }, () => ({ job: randomUUID(), recording: randomUUID() }));
	await sql(`BEGIN;
		${jobs
			.map(
				({ job, recording }) => `
		INSERT INTO rushes.recording (id, account, region, environment, state, saved_at)
		VALUES ('${recording}', '${ACCOUNT}', '${REGION}', '${ENVIRONMENT}', 'saved', now());
		INSERT INTO probe.instruction VALUES ('${job}', '${what}');
		INSERT INTO rushes.job (id, kind, account, region, recording)
		VALUES ('${job}', 'copy', '${ACCOUNT}', '${REGION}', '${recording}');`,
			)
			.join("")}
		COMMIT;`);
	return jobs;
}

const instruct = (job, what) => sql(`UPDATE probe.instruction SET what = '${what}' WHERE job = '${job}'`);
/** Lets the running attempt lose its lease, against the beats of a worker that lives. */
async function loseLease(job, times) {
	await waitFor("the lease has run out", async () => {
		await sql(`UPDATE rushes.job SET lease_until = now() - interval '1 s' WHERE id = '${job}' AND state = 'running'`);
		return (
			await rows(`SELECT count(*) >= ${times} AS ok FROM rushes.attempt WHERE job = '${job}' AND outcome = 'lease-expired'`)
		)[0].ok;
	});
}

/** How often a job whose worker died is due again at once; with 0 the schedule's wait holds it back. */
const abandonFree = (times) =>
	sql(`CREATE OR REPLACE FUNCTION rushes.free_abandonments() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT ${times}'`);

const makeDue = (job) => sql(`UPDATE rushes.job SET next_attempt_at = now() WHERE id = '${job}'`);
const notes = (job) => rows(`SELECT what, attempt, pid FROM probe.note WHERE job = '${job}' ORDER BY at`);
const finished = (job) => rows(`SELECT state, attempt, failures FROM rushes.job_done WHERE id = '${job}'`);

function waitBegun(job, attempt = 1) {
	return waitSql("the job has begun", `SELECT true AS ok FROM probe.note WHERE job = '${job}' AND attempt = ${attempt}`);
}

function waitDone(jobs, limitMs = 30_000) {
	return waitSql(
		`${jobs.length} jobs are done`,
		`SELECT count(*) = ${jobs.length} AS ok FROM rushes.job_done WHERE state = 'done' AND id IN (${list(jobs.map(({ job }) => job))})`,
		{ limitMs },
	);
}

/** Each was begun exactly once. */
async function assertOnce(jobs) {
	const begun = await rows(
		`SELECT count(*) AS n, count(DISTINCT job) AS d FROM probe.note WHERE what = 'begin' AND job IN (${list(jobs.map(({ job }) => job))})`,
	);
	assert.deepEqual(begun, [{ n: jobs.length, d: jobs.length }]);
}

async function metric(probe, line) {
	const { body } = await httpGet(probe.port, "/metrics");
	const found = body.split("\n").find((text) => text.startsWith(`${line} `));
	return found ? Number(found.slice(line.length + 1)) : 0;
}

describe("job engine", { concurrency: 1 }, () => {
	before(async () => {
		stack = testStack("engine");
		await stack.prepare();
		await sql(SETUP);
	});
	after(() => stack.remove());

	it("does each job once with two workers", async () => {
		await startProbe("engine-a");
		await startProbe("engine-b");
		const jobs = await insertJobs(60, "sleep");
		await waitDone(jobs);
		await assertOnce(jobs);
		const workers = await rows("SELECT count(DISTINCT pid) AS n FROM probe.note");
		assert.deepEqual(workers, [{ n: 2 }]);
		const attempts = await rows("SELECT DISTINCT outcome, number FROM rushes.attempt");
		assert.deepEqual(attempts, [{ outcome: "done", number: 1 }]);
	});

	it("publishes due jobs, so that hints arrive", async () => {
		await waitFor("a job was claimed by its hint", async () => {
			await waitDone(await insertJobs(3, "done"));
			const hints = await Promise.all(
				probes.map((probe) => metric(probe, 'rushes_jobs_total{kind="copy",what="claimed-by-hint"}')),
			);
			return hints.some((n) => n > 0);
		});
	});

	it("tries 13 times by the schedule, then fails", { timeout: 120_000 }, async () => {
		const [{ job, recording }] = await insertJobs(1, "fail");
		for (const [i, minutes] of SCHEDULE_MIN.entries()) {
			await waitSql(
				`attempt ${i + 1} has failed`,
				`SELECT failures = ${i + 1} AND state = 'queued' AS ok FROM rushes.job WHERE id = '${job}'`,
			);
			const [{ wait }] = await rows(
				`SELECT extract(epoch FROM j.next_attempt_at - a.ended_at) AS wait FROM rushes.job j
				JOIN rushes.attempt a ON a.job = j.id AND a.number = ${i + 1} WHERE j.id = '${job}'`,
			);
			assert.equal(wait, minutes * 60);
			await makeDue(job);
		}
		await waitSql("it has failed", `SELECT true AS ok FROM rushes.job_done WHERE id = '${job}' AND state = 'failed'`);
		assert.deepEqual(await finished(job), [{ state: "failed", attempt: 13, failures: 13 }]);
		const [{ state }] = await rows(`SELECT state FROM rushes.recording WHERE id = '${recording}'`);
		assert.equal(state, "failed-copy");
		const [{ error }] = await rows(`SELECT last_error AS error FROM rushes.job_done WHERE id = '${job}'`);
		assert.match(error, /failed as it was told/);
	});

	it("gives up at once on what can never work", async () => {
		const [{ job }] = await insertJobs(1, "never");
		await waitSql("it has failed", `SELECT true AS ok FROM rushes.job_done WHERE id = '${job}' AND state = 'failed'`);
		assert.deepEqual(await finished(job), [{ state: "failed", attempt: 1, failures: 1 }]);
	});

	it("fences a worker that lost its lease", async () => {
		// the next attempt must not begin before it is told what to do
		await abandonFree(0);
		const [{ job }] = await insertJobs(1, "stale");
		await waitBegun(job);
		await loseLease(job, 1);
		await instruct(job, "hang");
		await makeDue(job);
		await waitBegun(job, 2);
		// the first still runs; it tries to commit now
		await waitSql("the stale one was refused", `SELECT true AS ok FROM probe.note WHERE job = '${job}' AND what = 'fenced'`);
		assert.deepEqual(await finished(job), []);
		await loseLease(job, 2);
		await instruct(job, "done");
		await makeDue(job);
		await waitDone([{ job }]);
		assert.deepEqual(await finished(job), [{ state: "done", attempt: 3, failures: 2 }]);
		await abandonFree(3);
	});

	it("stops the work on a recording that is deleted", async () => {
		const [{ job, recording }] = await insertJobs(1, "hang");
		await waitBegun(job);
		await sql(`SELECT rushes.recording_delete('${recording}', 'deleted-by-user', 'test', 'test')`);
		await waitSql("the handler was told", `SELECT true AS ok FROM probe.note WHERE job = '${job}' AND what = 'cancelled'`);
	});

	it("hands back what it holds when it has to leave at once", async () => {
		const [{ job }] = await insertJobs(1, "hang");
		await waitBegun(job);
		const [{ pid }] = await notes(job);
		const probe = probes.find((p) => p.pid === pid);
		signalProcess(probe, "SIGTERM");
		await waitFor("it drains", async () => (await httpGet(probe.port, "/readyz")).status !== 200);
		await instruct(job, "done");
		signalProcess(probe, "SIGTERM");
		await waitGone(probe);
		probes = probes.filter((p) => p !== probe);
		await waitDone([{ job }]);
		const outcomes = await rows(`SELECT outcome FROM rushes.attempt WHERE job = '${job}' ORDER BY number`);
		assert.deepEqual(outcomes, [{ outcome: "handed-back" }, { outcome: "done" }]);
		assert.deepEqual(await finished(job), [{ state: "done", attempt: 2, failures: 0 }]);
	});

	it("finishes what it holds when it drains, and gives its leases up", async () => {
		const probe = await startProbe("engine-c");
		const jobs = await insertJobs(16, "sleep");
		await waitSql("it works", `SELECT count(*) > 0 AS ok FROM probe.note WHERE pid = ${probe.pid}`);
		signalProcess(probe, "SIGTERM");
		await waitGone(probe);
		probes = probes.filter((p) => p.pid !== probe.pid);
		await waitDone(jobs);
		await assertOnce(jobs);
		const held = await rows("SELECT name, holder FROM rushes.lease");
		assert.ok(held.every(({ holder }) => !holder.includes(`#${probe.pid}`)), JSON.stringify(held));
	});

	it("takes over what a killed worker held", async () => {
		await startProbe("engine-d");
		const [{ job }] = await insertJobs(1, "hang");
		await waitBegun(job);
		const [{ pid }] = await notes(job);
		const probe = probes.find((p) => p.pid === pid);
		signalProcess(probe, "SIGKILL");
		await waitGone(probe);
		probes = probes.filter((p) => p !== probe);
		await instruct(job, "done");
		// the publishers' leases may have been the dead one's
		await loseLease(job, 1);
		await waitDone([{ job }]);
		const outcomes = await rows(`SELECT outcome FROM rushes.attempt WHERE job = '${job}' ORDER BY number`);
		assert.deepEqual(outcomes, [{ outcome: "lease-expired" }, { outcome: "done" }]);
	});

	it("goes on without a broker, and with a wiped one", { timeout: 120_000 }, async () => {
		await startProbe("engine-e");
		await stack.kill("nats");
		const without = await insertJobs(20, "done");
		await waitDone(without, 15_000);
		await assertOnce(without);
		fs.rmSync(path.join(stack.nats.dir, "store"), { recursive: true });
		fs.mkdirSync(path.join(stack.nats.dir, "store"));
		if (stack.account) fs.chownSync(path.join(stack.nats.dir, "store"), stack.account.uid, stack.account.gid);
		await stack.restart("nats");
		const name = 'rushes_jobs_total{kind="copy",what="claimed-by-hint"}';
		const hints = async () => (await Promise.all(probes.map((probe) => metric(probe, name)))).reduce((a, b) => a + b, 0);
		const before = await hints();
		await waitFor("hints arrive again", async () => {
			await waitDone(await insertJobs(3, "done"));
			return (await hints()) > before;
		});
	});

	it("goes on with a frozen broker, and heals", { timeout: 120_000 }, async () => {
		stack.pause("nats");
		const frozen = await insertJobs(20, "done");
		await waitDone(frozen, 20_000);
		await assertOnce(frozen);
		for (const probe of probes)
			await waitFor("found dead", async () => (await metric(probe, "rushes_bus_connected")) === 0);
		stack.resume("nats");
		for (const probe of probes)
			await waitFor("connected again", async () => (await metric(probe, "rushes_bus_connected")) === 1);
		const thawed = await insertJobs(10, "done");
		await waitDone(thawed);
		await assertOnce(thawed);
	});

	it("goes on when the database was killed in mid-work", { timeout: 120_000 }, async () => {
		const jobs = await insertJobs(30, "sleep");
		await waitSql("some have begun", `SELECT count(*) > 2 AS ok FROM probe.note WHERE job IN (${list(jobs.map(({ job }) => job))})`);
		await stack.kill("postgres");
		for (const probe of probes)
			await waitFor("not ready", async () => (await httpGet(probe.port, "/readyz")).status !== 200);
		await stack.restart("postgres");
		for (const probe of probes)
			await waitFor("ready again", async () => (await httpGet(probe.port, "/readyz")).status === 200);
		// whose commit was cut off counts as failed; nothing is lost, nothing is done twice
		await waitFor("all are done", async () => {
			await sql(`UPDATE rushes.job SET next_attempt_at = now() WHERE state = 'queued' AND next_attempt_at > now();
				UPDATE rushes.job SET lease_until = now() - interval '1 s'
				WHERE state = 'running' AND started_at < now() - interval '3 s'`);
			return (
				await rows(
					`SELECT count(*) = ${jobs.length} AS ok FROM rushes.job_done WHERE state = 'done' AND id IN (${list(jobs.map(({ job }) => job))})`,
				)
			)[0].ok;
		});
		const twice = await rows("SELECT id FROM rushes.job_done GROUP BY id HAVING count(*) > 1");
		assert.deepEqual(twice, []);
	});

	it("goes on without Redis", async () => {
		await stack.kill("redis");
		const jobs = await insertJobs(5, "done");
		await waitDone(jobs);
	});

	it("publishes the outbox", async () => {
		await sql(`SELECT rushes.add_event('recording.saved', '${ACCOUNT}', null, null) FROM generate_series(1, 200)`);
		await waitSql("all are published", "SELECT count(*) = 0 AS ok FROM rushes.event WHERE published_at IS NULL");
	});

	it("reloads without losing work", async () => {
		const jobs = await insertJobs(20, "sleep");
		for (const probe of probes) signalProcess(probe, "SIGHUP");
		await waitDone(jobs);
		await assertOnce(jobs);
		for (const probe of probes) {
			const { body } = await httpGet(probe.port, "/debug/state");
			assert.equal(JSON.parse(body).platform.phase, "ready");
		}
	});

	it("leaves nothing behind when it stops", async () => {
		for (const probe of probes) signalProcess(probe, "SIGTERM");
		for (const probe of probes) {
			await waitGone(probe);
			assert.match(fs.readFileSync(probe.log, "utf8"), /rushes-transcoder stopped/);
		}
		assert.deepEqual(await rows("SELECT name FROM rushes.lease"), []);
		assert.deepEqual(await rows("SELECT id FROM rushes.job WHERE state = 'running'"), []);
	});
});
