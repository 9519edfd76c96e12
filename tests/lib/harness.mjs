// What the tests share: a stack of their own per file, and the steps of a recording's way.
import fs from "node:fs";
import path from "node:path";
import { makeLink, openSession } from "../../scripts/lib/journey.mjs";
import { ROOT, Stack } from "../../scripts/lib/stack.mjs";
import { sendRecording } from "../../scripts/lib/stream-client.mjs";

const MIME = { ".webm": "video/webm", ".mkv": "video/x-matroska", ".mp4": "video/mp4" };

export const FIXTURES = path.join(ROOT, "tests/fixtures");

const stacks = new Set();

// A test file that ends early, by whatever way, leaves no process behind.
process.on("exit", () => {
	for (const stack of stacks) stack.killAll();
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/**
 * A stack in var/test/NAME on free ports, not started. `stack.remove()` in an after hook ends it; the logs go with it
 * unless a test failed. `options` as Stack's.
 */
export function testStack(name, options = {}) {
	const dir = path.join(ROOT, "var/test", name);
	fs.rmSync(dir, { recursive: true, force: true });
	const stack = new Stack({ dir, durable: false, logLevel: "debug", ...options });
	stacks.add(stack);
	return stack;
}

/** Path, bytes of a fixture. */
export function fixture(name) {
	const file = path.join(FIXTURES, name);
	return { name, file, bytes: fs.readFileSync(file) };
}

/** Sends a fixture by a fresh link of the account; resolves to what sendRecording says, with the fixture. */
export async function sendFixture(stack, account, name, options = {}) {
	const sent = fixture(name);
	const link = await makeLink(stack, account, options.link);
	const session = await openSession(stack, link);
	const result = await sendRecording({
		url: session.ingest_url,
		ca: stack.ca,
		token: session.token,
		bytes: sent.bytes,
		mime: MIME[path.extname(name)],
		...options.stream,
	});
	return { ...result, ...sent, link, session };
}

/**
 * The database's time, for every service, `interval` (SQL) ahead of the clock from now on, as if it had passed: what the machine
 * counted is forgotten, or the sweeps would see that the clock jumped.
 */
export async function advanceTime(stack, interval) {
	await stack.postgres.psql(`BEGIN;
		LOCK TABLE rushes.clock_reference;
		DELETE FROM rushes.clock_reference;
		CREATE OR REPLACE FUNCTION rushes.rushes_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
		AS $$ SELECT now() + interval '${interval}' $$;
		COMMIT`);
}

const RUN_BYTES = 64;
const BLOCK_BYTES = RUN_BYTES / 2;

/**
 * Offset in `secret` of a run of 64 bytes that also stands in `haystack`, or -1. Every such run holds a whole block of 32
 * bytes that begins at a multiple of 32, so only those are searched for and then widened.
 */
export function commonRun(secret, haystack) {
	for (let at = 0; at + BLOCK_BYTES <= secret.length; at += BLOCK_BYTES) {
		const block = secret.subarray(at, at + BLOCK_BYTES);
		for (let found = haystack.indexOf(block); found >= 0; found = haystack.indexOf(block, found + 1)) {
			let before = 0;
			while (before < at && before < found && secret[at - before - 1] === haystack[found - before - 1]) before++;
			let behind = BLOCK_BYTES;
			while (at + behind < secret.length && secret[at + behind] === haystack[found + behind]) behind++;
			if (before + behind >= RUN_BYTES) return at - before;
		}
	}
	return -1;
}
