// The way of a recording: what is sent arrives in storage whole and playable, is sealed on its way, goes when its rules
// say so, and leaves nothing behind when it is deleted.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { deleteRecording, makeAccount, showRecording, waitDelivered } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { certificateOf, filesBelow, leftOf, probe, storedPath, verifyRecording } from "../../scripts/lib/verify.mjs";
import { advanceTime, commonRun, fixture, sendFixture, testStack } from "../lib/harness.mjs";

const TAKES = [
	{ name: "cam-vp8-opus.webm", seconds: 5.2 },
	{ name: "cam-vp9-opus.webm", seconds: 5.2 },
	{ name: "cam-h264-opus.mkv", seconds: 5.1 },
	{ name: "cam-avc1-opus-1s-fragments.mp4", seconds: 5.1 },
	{ name: "phone-rotated90-h264-aac.mp4", seconds: 4.0 },
];

/** The sealed files in the spools, read at this moment. */
function spoolFiles(stack) {
	return filesBelow(path.join(stack.dir, "spool"))
		.filter((file) => file.endsWith(".sealed"))
		.map((file) => ({ file, bytes: fs.readFileSync(file) }));
}

describe("the way of a recording", () => {
	let stack;
	let account;
	const delivered = new Map();

	before(async () => {
		stack = testStack("pipeline");
		await stack.start();
		account = await makeAccount(stack);
	});
	after(() => stack.remove());

	for (const { name, seconds } of TAKES) {
		it(`brings ${name} into storage, whole and playable`, { timeout: 120_000 }, async () => {
			const sent = await sendFixture(stack, account, name);
			const shown = await waitDelivered(stack, sent.recording);
			const { files, problems } = await verifyRecording(stack, shown, sent);
			assert.deepEqual(problems, []);
			const main = files.find(({ kind }) => kind === "main");
			assert.ok(
				Math.abs(main.duration_s - seconds) < 0.5,
				`main lasts ${main.duration_s} s, the take ${seconds} s`,
			);
			delivered.set(name, { sent, shown });
		});
	}

	it("keeps a phone's rotation", async () => {
		const { shown } = delivered.get("phone-rotated90-h264-aac.mp4");
		const main = shown.copies.find(({ kind, target }) => kind === "main" && target);
		const { video } = await probe(storedPath(stack, main));
		const rotated = video.side_data_list?.some(({ rotation }) => Math.abs(rotation) === 90) ?? false;
		assert.ok(rotated || video.height > video.width, `${video.width}x${video.height} without a rotation`);
	});

	it("goes on where it stood after its connection was cut", { timeout: 120_000 }, async () => {
		const { length } = fixture("cam-vp8-opus.webm").bytes;
		const sent = await sendFixture(stack, account, "cam-vp8-opus.webm", {
			stream: { cuts: [Math.floor(length * 0.4), Math.floor(length * 0.8)] },
		});
		assert.equal(sent.connections, 3);
		assert.ok(sent.resumed[2] > 0, `resumed at ${sent.resumed}`);
		const shown = await waitDelivered(stack, sent.recording);
		assert.deepEqual((await verifyRecording(stack, shown, sent)).problems, []);
	});

	it("keeps no plaintext in any spool", { timeout: 120_000 }, async () => {
		// nothing leaves the transcoder's spool while the pusher stands still
		stack.pause("storage-pusher");
		let sent;
		let sealed;
		try {
			sent = await sendFixture(stack, account, "cam-vp9-opus.webm");
			await waitFor("the outputs are on the transcoder's spool", async () => {
				const { copies } = await showRecording(stack, sent.recording);
				return copies.some((copy) => copy.kind === "main" && copy.state === "present");
			});
			sealed = spoolFiles(stack);
		} finally {
			stack.resume("storage-pusher");
		}
		const shown = await waitDelivered(stack, sent.recording);
		const plain = shown.copies
			.filter(({ target }) => target)
			.map((copy) => fs.readFileSync(storedPath(stack, copy)));
		assert.ok(
			plain.some((bytes) => commonRun(sent.bytes, bytes) >= 0),
			"the search finds the plaintext where it is",
		);
		assert.ok(sealed.length >= 3, `${sealed.length} sealed files`);
		for (const { file, bytes } of sealed)
			for (const secret of [sent.bytes, ...plain])
				assert.equal(commonRun(secret, bytes), -1, `${file} holds plaintext`);
	});

	it("empties the processing node once everything is delivered", { timeout: 60_000 }, async () => {
		await waitFor("no copy is left on the transcoder", async () => {
			const [{ n }] = await stack.postgres.query(`SELECT count(*) AS n FROM rushes.copy c
				JOIN rushes.node n ON n.id = c.node AND n.service = 'transcoder'`);
			return n === 0;
		});
		assert.deepEqual(
			filesBelow(stack.spoolPath("transcoder")).filter((file) => file.endsWith(".sealed")),
			[],
		);
	});

	it("deletes a recording without a trace but the permitted", { timeout: 60_000 }, async () => {
		const { sent, shown } = delivered.get("cam-vp9-opus.webm");
		await deleteRecording(stack, sent.recording);
		assert.deepEqual(await leftOf(stack, sent.recording, shown.copies), []);
		assert.match(await certificateOf(stack, sent.recording), /^[0-9a-f]{64}$/);
	});

	it(
		"removes the raw from ingest when the page can no longer play it, and not before",
		{ timeout: 60_000 },
		async () => {
			const { sent } = delivered.get("cam-vp8-opus.webm");
			const raw = (await showRecording(stack, sent.recording)).copies.filter(({ segment }) => segment !== null);
			assert.ok(raw.length > 0);
			for (const copy of raw) {
				assert.equal(copy.state, "present");
				assert.equal(copy.rule, "raw-copied");
			}
			await advanceTime(stack, "61 minutes");
			await waitFor("the raw has gone from ingest", async () =>
				(await showRecording(stack, sent.recording)).copies.every(({ segment }) => segment === null),
			);
			const names = filesBelow(stack.spoolPath("ingest")).map((file) => path.basename(file));
			for (const { id } of raw)
				assert.ok(!names.some((name) => name.includes(id)), `${id} is still in the spool`);
			const [{ n }] = await stack.postgres.query(`SELECT count(*) AS n FROM rushes.ledger
			WHERE recording = '${sent.recording}' AND kind = 'gone' AND rule = 'raw-copied'`);
			assert.equal(n, raw.length);
		},
	);

	it("needed no more rights than each service has", () => {
		const denied = (name, pattern) =>
			stack
				.text(name)
				.split("\n")
				.filter((line) => pattern.test(line));
		assert.deepEqual(denied("nats", /Permissions Violation|Authorization Violation/i), []);
		assert.deepEqual(denied("postgres", /permission denied/i), []);
		for (const service of Object.keys(stack.services)) assert.deepEqual(denied(service, /NOPERM|ERR_DENIED/), []);
	});
});
