// Every service is killed with SIGKILL once in the middle of a recording, and the recording arrives all the same.
// KILL9_TIMES repeats it: `make kill9 TIMES=20`.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { SERVICES } from "../../scripts/lib/identities.mjs";
import { makeAccount, showRecording, waitDelivered } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { verifyRecording } from "../../scripts/lib/verify.mjs";
import { sendFixture, testStack } from "../lib/harness.mjs";

const TIMES = Number(process.env.KILL9_TIMES ?? 1);
const FIXTURE = "cam-vp8-opus.webm";

describe("kill -9", () => {
	let stack;
	let account;

	before(async () => {
		stack = testStack("kill9");
		await stack.start();
		account = await makeAccount(stack);
	});
	after(() => stack.remove());

	for (let time = 1; time <= TIMES; time++) {
		for (const service of SERVICES) {
			it(`of ${service} in mid-recording loses nothing (${time} of ${TIMES})`, { timeout: 180_000 }, async () => {
				let killed = false;
				let restarted;
				const sent = await sendFixture(stack, account, FIXTURE, {
					stream: {
						progress: async ({ offset, total }) => {
							if (killed || offset < total / 2) return;
							killed = true;
							await stack.kill(service);
							restarted = stack.restart(service);
							// whether it came back is asked below
							restarted.catch(() => {});
						},
					},
				});
				assert.ok(killed);
				await restarted;
				const shown = await waitDelivered(stack, sent.recording, 150_000);
				assert.deepEqual((await verifyRecording(stack, shown, sent)).problems, []);
			});
		}
	}

	it("of the transcoder while it converts: the next process converts at once", { timeout: 120_000 }, async () => {
		const sent = await sendFixture(stack, account, "cam-av1-opus.webm");
		const conversion = async () =>
			(await showRecording(stack, sent.recording)).jobs.find(({ kind }) => kind === "convert");
		await waitFor("the conversion runs", async () => (await conversion())?.state === "running");
		await stack.kill("transcoder");
		assert.equal((await conversion()).state, "running", "the kill came too late to hit the conversion");
		await stack.restart("transcoder");
		const shown = await waitDelivered(stack, sent.recording);
		assert.deepEqual((await verifyRecording(stack, shown, sent)).problems, []);
		assert.equal((await conversion()).attempt, 2);
		assert.equal((await conversion()).failures, 0);
	});
});
