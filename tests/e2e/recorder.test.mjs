// A person opens a short link in a real browser, records, sends: the recording is found stored and playable, and what was
// said of it on the bus and by REST is what proto/ says.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { makeAccount, makeLink, request, waitDelivered } from "../../scripts/lib/journey.mjs";
import { waitFor } from "../../scripts/lib/process.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { mp4Boxes, probe, storedPath } from "../../scripts/lib/verify.mjs";
import { startBrowser } from "../lib/browser.mjs";
import { tapBus } from "../lib/bus-tap.mjs";
import { testStack } from "../lib/harness.mjs";
import { messageSchemas, openApi } from "../lib/schemas.mjs";

const SCREENSHOTS = path.join(ROOT, "var/test/screenshots");
const REQUESTER = { agent: "Anna Marsh", subject: "Please show us what happens when you press “Save”.", ticket: "#48213" };

describe("recorder", () => {
	const api = openApi();
	let stack;
	let account;
	let browser;
	let tap;

	before(async () => {
		fs.mkdirSync(SCREENSHOTS, { recursive: true });
		stack = testStack("recorder");
		await stack.prepare();
		tap = await tapBus(stack);
		await stack.startServices();
		account = await makeAccount(stack, { name: "Northwind Support" });
		browser = await startBrowser();
	});
	after(async () => {
		await browser?.close();
		tap?.close();
		await stack?.remove();
	});

	async function openPage(link, options = {}, of = browser) {
		const context = await of.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1180, height: 900 }, ...options });
		const page = await context.newPage();
		page.faults = [];
		page.on("pageerror", (error) => page.faults.push(error.message));
		page.on("console", (message) => {
			if (/Content Security Policy|Trusted|Permissions-Policy/.test(message.text())) page.faults.push(message.text());
		});
		page.on("dialog", (dialog) => dialog.accept());
		page.picture = (name) => page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage: true });
		await page.goto(link.url);
		return page;
	}
	const shown = (page, view) => page.waitForSelector(`#${view}:not([hidden])`, { timeout: 30_000 });

	async function begin(page, source = "camera") {
		await shown(page, "intro");
		await page.check(`input[value=${source}]`, { force: true });
		await page.check("input[name=consent]");
		await page.click("#continue");
		await shown(page, "stage");
		await page.waitForSelector("#start:enabled");
	}

	async function stop(page) {
		await page.click("#stop");
		await page.waitForSelector("#stage[data-mode=review]");
		await waitFor("the take is playable", () => page.evaluate(() => Number.isFinite(document.querySelector("video").duration)));
		return page.evaluate(() => document.querySelector("video").duration);
	}

	async function sent(page) {
		await page.click("#send");
		await waitFor("two machines hold it", async () => (await page.textContent("#done-detail")).startsWith("Kept in two places"), { limitMs: 60_000 });
	}

	const call = async (operation, route, options = {}) => {
		const answer = await request(stack, { url: `${stack.linkgenUrl}${route}`, headers: { authorization: `Bearer ${account.key}` }, ...options });
		api.check(operation, answer);
		return answer.json;
	};

	/** The one recording of a link, once it is delivered: as REST tells it, and its main file. */
	async function stored(link) {
		const { recordings } = await call("getLink", `/v1/links/${link.id}`);
		assert.equal(recordings.length, 1);
		const operator = await waitDelivered(stack, recordings[0]);
		const recording = await call("getRecording", `/v1/recordings/${recordings[0]}`);
		assert.equal(recording.delivered, true);
		const copy = operator.copies.find(({ kind, target }) => kind === "main" && target);
		const file = storedPath(stack, copy);
		return { recording, operator, file, probed: await probe(file) };
	}

	function assertPlayable({ file, probed }, seconds) {
		assert.equal(probed.video.codec_name, "h264");
		assert.equal(probed.audio.codec_name, "aac");
		assert.ok(Math.abs(probed.duration_s - seconds) < 0.5, `main lasts ${probed.duration_s} s, recorded were ${seconds} s`);
		const boxes = mp4Boxes(file);
		assert.ok(boxes.indexOf("moov") < boxes.indexOf("mdat"), `not ready for streaming: ${boxes}`);
	}

	it("brings what a person recorded into storage", { timeout: 180_000 }, async () => {
		const link = await makeLink(stack, account, { requester: REQUESTER });
		const page = await openPage(link);
		await shown(page, "intro");
		assert.equal(await page.textContent("#asks"), "Anna Marsh from Northwind Support asks you for a recording");
		await page.picture("1-request");
		await begin(page);
		await page.click("#start");
		await page.waitForTimeout(5000);
		await page.picture("2-recording");
		const seconds = await stop(page);
		await page.picture("3-review");
		await sent(page);
		await page.picture("4-sent");
		assert.deepEqual(page.faults, []);
		await page.context().close();
		const found = await stored(link);
		assertPlayable(found, seconds);
		assert.equal(found.recording.stop, "user");
		assert.equal(found.recording.recovered, false);
		assert.deepEqual(found.recording.files.map(({ kind }) => kind), ["main", "raw", "snapshot", "filmstrip"]);
		const listed = await call("listRecordings", "/v1/recordings?state=closed");
		assert.deepEqual(listed.recordings.map(({ id }) => id), [found.recording.id]);
	});

	it("goes on through the same link after a reload in the middle", { timeout: 180_000 }, async () => {
		const link = await makeLink(stack, account);
		const page = await openPage(link);
		await begin(page);
		await page.click("#start");
		await page.waitForTimeout(4000);
		await page.reload();
		await page.waitForSelector("#stage[data-mode=review]");
		await waitFor("the take is playable", () => page.evaluate(() => Number.isFinite(document.querySelector("video").duration)));
		const seconds = await page.evaluate(() => document.querySelector("video").duration);
		assert.ok(seconds > 1);
		await sent(page);
		await page.context().close();
		assertPlayable(await stored(link), seconds);
		assert.equal((await call("getLink", `/v1/links/${link.id}`)).uses, 1);
	});

	it("survives that ingest dies in mid-recording", { timeout: 180_000 }, async () => {
		const link = await makeLink(stack, account);
		const page = await openPage(link);
		await begin(page);
		await page.click("#start");
		await page.waitForTimeout(2500);
		await stack.kill("ingest");
		await page.waitForTimeout(1500);
		await stack.restart("ingest");
		await page.waitForTimeout(2500);
		const seconds = await stop(page);
		await sent(page);
		await page.context().close();
		assertPlayable(await stored(link), seconds);
	});

	it("forgets a take that is recorded again", { timeout: 180_000 }, async () => {
		const link = await makeLink(stack, account);
		const page = await openPage(link);
		await begin(page);
		await page.click("#start");
		await page.waitForTimeout(2000);
		await stop(page);
		await page.click("#again");
		await page.click("#again");
		await shown(page, "intro");
		const [first] = (await call("getLink", `/v1/links/${link.id}`)).recordings;
		await waitFor("the first take is gone", async () => (await call("getRecording", `/v1/recordings/${first}`)).state === "deleted", { limitMs: 30_000 });
		await page.context().close();
	});

	it("stops at the longest take, and sends it where the environment says so", { timeout: 180_000 }, async () => {
		const options = ["--max-duration", "4s", "--send-on-stop", "on"];
		const { id } = await stack.ctl(["env", "create", account.account, "brief", ...options]);
		const link = await makeLink(stack, { ...account, environment: id });
		const page = await openPage(link);
		await begin(page);
		await page.click("#start");
		await waitFor("the take is sent by itself", async () => (await page.textContent("#done-detail")).startsWith("Kept in two places"), { limitMs: 60_000 });
		await page.context().close();
		assertPlayable(await stored(link), 4);
	});

	it("ends when the link is withdrawn, and leaves the take to the person", { timeout: 120_000 }, async () => {
		const { id } = await stack.ctl(["env", "create", account.account, "hasty", "--reconnect-window", "2s"]);
		const link = await makeLink(stack, { ...account, environment: id });
		const page = await openPage(link);
		await begin(page);
		await page.click("#start");
		await page.waitForTimeout(2000);
		const revoked = await request(stack, { url: `${stack.linkgenUrl}/v1/links/${link.id}`, method: "DELETE", headers: { authorization: `Bearer ${account.key}` } });
		api.check("revokeLink", revoked);
		await shown(page, "problem");
		assert.match(await page.textContent("#problem-title"), /was withdrawn/);
		assert.equal(await page.isVisible("#keep"), true);
		await page.context().close();
		const [recording] = (await call("getLink", `/v1/links/${link.id}`)).recordings;
		await waitFor("what arrived is kept as recovered", async () => (await call("getRecording", `/v1/recordings/${recording}`)).recovered, { limitMs: 30_000 });
	});

	it("says in words why it cannot record", { timeout: 120_000 }, async () => {
		const expired = await makeLink(stack, account);
		await stack.postgres.psql(`UPDATE rushes.link SET expires_at = now() - interval '1 minute' WHERE id = '${expired.id}'`);
		let page = await openPage(expired, { colorScheme: "dark" });
		await shown(page, "problem");
		assert.match(await page.textContent("#problem-title"), /has expired/);
		await page.picture("5-expired-dark");
		await page.context().close();

		const refusing = await startBrowser("refused");
		page = await openPage(await makeLink(stack, account), {}, refusing);
		await shown(page, "intro");
		await page.check("input[value=camera]", { force: true });
		await page.check("input[name=consent]");
		await page.click("#continue");
		await shown(page, "problem");
		assert.match(await page.textContent("#problem-title"), /no permission/);
		await refusing.close();
	});

	it("looks right on a phone and in the dark", async () => {
		const link = await makeLink(stack, account, { requester: REQUESTER });
		for (const colorScheme of ["light", "dark"]) {
			const page = await openPage(link, { colorScheme, viewport: { width: 390, height: 844 } });
			await shown(page, "intro");
			await page.picture(`6-phone-${colorScheme}`);
			assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
			await page.context().close();
		}
	});

	it("said on the bus what proto/ says", () => {
		const schemas = messageSchemas();
		const { messages } = tap;
		const kinds = new Set();
		for (const { subject, headers, body } of messages) {
			const isJob = subject.startsWith("jobs.");
			schemas.check(isJob ? "job" : "event", body);
			kinds.add(isJob ? subject.split(".")[1] : subject);
			const traced = isJob ? body.kind !== "delete" : body.recording && !body.type.startsWith("recording.delet");
			if (traced)
				assert.match(headers.traceparent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/, `${subject} has no trace`);
			if (isJob) {
				assert.equal(subject.split(".")[1], body.kind);
				// a hint at a recording that is being received names its segment
				const early = new RegExp(`^${body.job}\\.early\\.[0-9]+$`);
				if (!(body.kind === "copy" && early.test(headers["Nats-Msg-Id"])))
					assert.equal(headers["Nats-Msg-Id"], `${body.job}.${body.attempt}.${body.publication}`);
			} else {
				assert.equal(subject, `events.${body.type}`);
				assert.equal(headers["Nats-Msg-Id"], String(body.event));
			}
		}
		for (const wanted of ["copy", "convert", "push", "events.link.created", "events.recording.saved", "events.recording.copied", "events.recording.processed", "events.file.delivered", "events.recording.closed"])
			assert.ok(kinds.has(wanted), `nothing was said of ${wanted}: ${[...kinds]}`);
	});
});
