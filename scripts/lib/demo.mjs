// The demonstration: a stack, recordings sent over WSS, their way shown, and their deletion. Called by scripts/demo.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { printReport } from "./demo-report.mjs";
import {
	deleteRecording,
	isSettled,
	makeAccount,
	makeLink,
	openSession,
	isDelivered,
	showRecording,
} from "./journey.mjs";
import { waitFor } from "./process.mjs";
import { ROOT, Stack, removeInstance, runningIn } from "./stack.mjs";
import { sendRecording } from "./stream-client.mjs";
import { certificateOf, leftOf, verifyRecording } from "./verify.mjs";

const DIR = path.join(ROOT, "var/demo");
const STORAGE = path.join(ROOT, "var/storage");
const FIXTURES = path.join(ROOT, "tests/fixtures");

const PORTS = {
	linkgen: 7443,
	ingest: 7444,
	"ingest-peer": 7445,
	"transcoder-peer": 7446,
	postgres: 7447,
	nats: 7448,
	redis: 7449,
	"ingest-admin": 7451,
	"linkgen-admin": 7452,
	"transcoder-admin": 7453,
	"storage-pusher-admin": 7454,
	"janitor-admin": 7455,
};

/** What is sent. `cuts`: shares of the file after which the client's connection is cut. */
const TAKES = [
	{ name: "cam-vp8-opus.webm", mime: "video/webm;codecs=vp8,opus", cuts: [0.3, 0.7] },
	{ name: "cam-vp9-opus.webm", mime: "video/webm;codecs=vp9,opus" },
	{ name: "cam-av1-opus.webm", mime: "video/webm;codecs=av01,opus" },
	{ name: "cam-h264-opus.mkv", mime: "video/x-matroska;codecs=avc1,opus" },
	{ name: "cam-avc1-opus-1s-fragments.mp4", mime: "video/mp4;codecs=avc1.42E01E,opus" },
	{ name: "phone-rotated90-h264-aac.mp4", mime: "video/mp4" },
	{ name: "synthetic-fmp4-h264-aac-rotated.mp4", mime: "video/mp4" },
];
const READY_LIMIT_MS = 240_000;

const { values: flags } = parseArgs({
	options: { keep: { type: "boolean" }, stop: { type: "boolean" }, json: { type: "boolean" } },
});

/** Progress goes to the terminal, never into --json's output; one line that is written over where that can be done. */
const out = flags.json ? process.stderr : process.stdout;
let lineOpen = false;
function progress(text, { done = false } = {}) {
	if (out.isTTY) out.write(`\r\x1b[K${text}${done ? "\n" : ""}`);
	else if (done || text !== progress.last) out.write(`${text}\n`);
	progress.last = text;
	lineOpen = out.isTTY && !done;
}
function endLine() {
	if (lineOpen) out.write("\n");
	lineOpen = false;
}

async function sendTake(stack, account, take) {
	const file = path.join(FIXTURES, take.name);
	const bytes = fs.readFileSync(file);
	const link = await makeLink(stack, account);
	const session = await openSession(stack, link);
	const sent = await sendRecording({
		url: session.ingest_url,
		ca: stack.ca,
		token: session.token,
		bytes,
		mime: take.mime,
		cuts: (take.cuts ?? []).map((share) => Math.floor(bytes.length * share)),
	});
	return { ...sent, name: take.name, file, bytes, link };
}

/** Follows all recordings until none moves any more; resolves to what is known of each, by recording. */
async function follow(stack, takes) {
	let shown = [];
	await waitFor(
		"all recordings are delivered",
		async () => {
			shown = await Promise.all(takes.map(({ recording }) => showRecording(stack, recording)));
			const count = (test) => shown.filter(test).length;
			progress(
				`${takes.length} sent · ${count(({ times }) => times.copied)} copied · ` +
					`${count(({ times }) => times.processed)} converted · ${count(isDelivered)} delivered`,
			);
			return shown.every(isSettled);
		},
		{ limitMs: READY_LIMIT_MS, pollMs: 250 },
	).catch((error) => {
		const late = shown
			.filter((one) => !isSettled(one))
			.map(({ id, state, jobs }) => `${id} is ${state}: ${JSON.stringify(jobs)}`);
		throw new Error(`${error.message}\n${late.join("\n")}`);
	});
	endLine();
	return shown;
}

const seconds = (from, to) => (from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null);

async function report(stack, take, shown) {
	const verified = await verifyRecording(stack, shown, take);
	if (take.resumed.length !== take.connections || take.connections < 1)
		verified.problems.push("a connection was made without being resumed");
	const main = shown.deliveries.find(({ file }) => file === "main");
	return {
		fixture: take.name,
		recording: take.recording,
		state: isDelivered(shown) ? "delivered" : shown.state,
		raw_sha256: shown.sha256,
		seconds_to_ready: seconds(shown.times.saved, main?.at),
		files: verified.files,
		deleted: null,
		shown,
		take,
		checks: verified.checks,
		problems: verified.problems,
	};
}

/** Deletes all recordings at once, and looks for what is left of each. */
async function deleteAll(stack, reports) {
	let done = 0;
	progress(`deleting ${reports.length} recordings`);
	await Promise.all(
		reports.map(async (one) => {
			const { certificate } = await deleteRecording(stack, one.recording);
			const left = await leftOf(stack, one.recording, one.shown.copies);
			one.deleted = { certificate, left };
			if (certificate !== (await certificateOf(stack, one.recording)))
				one.problems.push(`the ledger has no entry ${certificate} that ends the deletion`);
			for (const thing of left) one.problems.push(`left after the deletion: ${thing}`);
			progress(`deleted ${++done} of ${reports.length}`);
		}),
	);
	endLine();
}

async function demonstrate(stack) {
	progress("starting PostgreSQL, NATS and Redis", { done: true });
	await stack.prepare();
	progress("starting the services", { done: true });
	await stack.startServices();
	const account = await makeAccount(stack);
	const takes = [];
	for (const take of TAKES) {
		progress(`sending ${take.name}${take.cuts ? `, cutting the connection ${take.cuts.length} times` : ""}`, {
			done: true,
		});
		takes.push(await sendTake(stack, account, take));
	}
	const shown = await follow(stack, takes);
	const reports = [];
	for (const [i, take] of takes.entries()) reports.push(await report(stack, take, shown[i]));
	if (flags.json || !flags.keep) await deleteAll(stack, reports);
	const ok = reports.every(({ state, problems }) => state === "delivered" && problems.length === 0);
	const link = flags.keep ? await makeLink(stack, account) : null;
	return { ok, reports, link };
}

function publicPart({ shown, take, checks, problems, ...rest }) {
	return problems.length > 0 ? { ...rest, problems } : rest;
}

async function stop() {
	const names = runningIn(DIR);
	await removeInstance(DIR);
	console.log(names.length > 0 ? `stopped ${names.join(", ")}` : "nothing of the demo is running");
}

async function main() {
	if (flags.stop) return stop();
	if (runningIn(DIR).length > 0) progress("stopping the demo that is still running", { done: true });
	await removeInstance(DIR);
	fs.rmSync(path.join(DIR, "log"), { recursive: true, force: true });
	fs.rmSync(STORAGE, { recursive: true, force: true });

	const stack = new Stack({ dir: DIR, ports: PORTS, storage: STORAGE });
	for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
		process.once(signal, async () => {
			endLine();
			// what was about to start when the signal came may have started since
			do await stack.remove();
			while (runningIn(DIR).length > 0);
			process.exit(130);
		});
	}
	let result;
	try {
		result = await demonstrate(stack);
	} catch (error) {
		endLine();
		await stack.remove();
		console.error(
			`the demo failed: ${error.message}\nlogs: ${path.relative(process.cwd(), path.join(DIR, "log"))}`,
		);
		process.exitCode = 1;
		return;
	}
	const kept = flags.keep && result.ok;
	if (!kept) {
		const disorderly = await stack.remove();
		if (disorderly.length > 0) {
			result.ok = false;
			console.error(`did not stop in good order: ${disorderly.join(", ")}`);
		}
	}
	if (flags.json)
		console.log(JSON.stringify({ recordings: result.reports.map(publicPart), ok: result.ok }, null, "\t"));
	else printReport(stack, result.reports);
	if (kept) {
		out.write(`everything keeps running. Record in a browser: ${result.link.url}\n`);
		const operator = `${path.relative(ROOT, stack.build)}/bin/rushesctl --config ${path.relative(ROOT, stack.ctlFile())}`;
		out.write(`look at it as the operator: ${operator} recording list\n`);
		out.write(
			`the certificates are signed by ${path.relative(ROOT, stack.certificates.ca)}; scripts/demo --stop ends it.\n`,
		);
	}
	if (!result.ok) {
		console.error(`not everything holds; logs: ${path.relative(process.cwd(), path.join(DIR, "log"))}`);
		process.exitCode = 1;
	}
}

await main();
