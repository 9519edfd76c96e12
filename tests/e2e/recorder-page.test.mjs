// The recorder page in a real browser against a stand-in for the services that misbehaves on demand: whatever happens to
// line, page, browser or server, the take arrives whole, and people are told in words.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { waitFor } from "../../scripts/lib/process.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { browserOptions, startBrowser } from "../lib/browser.mjs";
import { startFake } from "../lib/fake-service.mjs";
import { FIXTURES } from "../lib/harness.mjs";

const run = promisify(execFile);
const AXE = path.join(ROOT, "tests/node_modules/axe-core/axe.min.js");

describe("recorder page", () => {
	let browser;
	let fake;
	let context;
	let page;
	let faults;

	before(async () => {
		browser = await startBrowser();
	});
	after(() => browser?.close());

	beforeEach(async () => {
		fake = await startFake();
		faults = [];
		context = await browser.newContext();
		page = await newPage(context);
	});
	afterEach(async () => {
		await context.close();
		await fake.stop();
		assert.deepEqual(fake.problems, [], "the page broke the protocol");
		assert.deepEqual(faults, [], "the page broke its own rules");
	});

	async function newPage(of) {
		const made = await of.newPage();
		made.on("pageerror", (error) => faults.push(error.message));
		made.on("console", (message) => {
			if (/Content Security Policy|Trusted/.test(message.text())) faults.push(message.text());
		});
		made.on("dialog", (dialog) => dialog.accept());
		return made;
	}

	const shown = (view, of = page) => of.waitForSelector(`#${view}:not([hidden])`, { timeout: 20_000 });
	const text = (id, of = page) => of.textContent(`#${id}`);
	const takes = () => [...fake.takes.values()];

	async function open(source = "camera", of = page, code = "abc") {
		await of.goto(`${fake.url}/r/${code}`);
		await shown("intro", of);
		await of.check(`input[value=${source}]`, { force: true });
		await of.check("input[name=consent]");
		await of.click("#continue");
	}

	/** Presses start and waits until `ms` are recorded. */
	async function record(ms, of = page) {
		await shown("stage", of);
		await of.click("#start");
		await of.waitForTimeout(ms);
	}

	async function stop(of = page) {
		await of.click("#stop");
		await of.waitForSelector("#stage[data-mode=review]", { timeout: 20_000 });
	}

	async function send(of = page) {
		await of.click("#send");
		await waitFor("the take is stored twice", async () => (await text("done-detail", of)).startsWith("Kept in two places"), { limitMs: 30_000 });
	}

	const left = (of = page) =>
		of.evaluate(
			() =>
				new Promise((resolve) => {
					indexedDB.open("rushes", 1).onsuccess = ({ target }) => {
						const tx = target.result.transaction(["takes", "chunks"]);
						const [taken, chunks] = ["takes", "chunks"].map((name) => tx.objectStore(name).count());
						tx.oncomplete = () => resolve([taken.result, chunks.result]);
					};
				}),
		);

	/** What arrived, decoded by ffprobe: the duration of the last packet. */
	async function decoded(take) {
		const file = path.join(os.tmpdir(), `rushes-page-${process.pid}.webm`);
		fs.writeFileSync(file, take.bytes);
		try {
			const { stdout } = await run("ffprobe", ["-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0", file]);
			return Math.max(...stdout.split(/\s+/).filter(Boolean).map(Number));
		} finally {
			fs.unlinkSync(file);
		}
	}

	it("records, shows and sends a take, and keeps nothing of it", async () => {
		await open();
		await record(3500);
		assert.match(await text("time"), /^0:0[23]$/);
		await stop();
		await waitFor("the take is playable", () => page.evaluate(() => Number.isFinite(document.querySelector("video").duration)));
		const length = await page.evaluate(() => document.querySelector("video").duration);
		await send();
		const [take] = takes();
		assert.equal(take.bytes.length, take.stop.bytes);
		// the clock runs from the recorder's start; on a busy machine the first picture comes later
		assert.ok(Math.abs(take.stop.duration_ms / 1000 - length) < 1.5, `${take.stop.duration_ms} ms, ${length} s`);
		assert.ok(Math.abs((await decoded(take)) - length) < 0.5);
		assert.equal(fake.sessions[0].consent.text, await text("consent"));
		assert.deepEqual(await left(), [0, 0]);
	});

	it("plays what the servers have of a sent take", async () => {
		await open();
		await record(2500);
		await stop();
		await send();
		assert.equal(await page.isVisible("#sent"), false);
		await page.click("#watch");
		await waitFor("it is playable", () => page.evaluate(() => document.querySelector("#sent").readyState >= 2 && Number.isFinite(document.querySelector("#sent").duration)));
		assert.ok(await page.isVisible("#sent"));
		takes()[0].recording = "gone";
		await page.click("#watch");
		await waitFor("it says so", async () => /can’t be shown/.test(await text("done-detail")));
	});

	it("pauses and goes on", async () => {
		await open();
		await record(1500);
		await page.click("#pause");
		await waitFor("the pause is told", () => takes()[0]?.words.includes("pause"));
		const before = await text("time");
		await page.waitForTimeout(1500);
		assert.equal(await text("time"), before);
		await page.click("#pause");
		await page.waitForTimeout(1500);
		await stop();
		await send();
		assert.ok(takes()[0].stop.duration_ms < 4500);
	});

	it("loses no byte when the line is cut and the server forgets what it had confirmed", async () => {
		await open();
		await record(2500);
		fake.cut();
		await page.waitForTimeout(2500);
		fake.behaviour.forget = 100_000;
		fake.cut();
		await page.waitForTimeout(2500);
		await stop();
		await send();
		const [take] = takes();
		assert.equal(take.starts, 3);
		assert.equal(take.bytes.length, take.stop.bytes);
		assert.ok((await decoded(take)) > 6);
	});

	it("sends all of it again when it was away for too long", async () => {
		await open();
		await record(2500);
		await waitFor("something is received", () => takes()[0]?.acked > 0);
		takes()[0].recovered = true;
		fake.cut();
		await waitFor("a new take replaces it", () => takes().length === 2);
		await page.waitForTimeout(1000);
		await stop();
		await send();
		const [recovered, take] = takes();
		assert.equal(take.replaces, recovered.recording);
		assert.equal(take.bytes.length, take.stop.bytes);
		assert.ok((await decoded(take)) > 3);
		assert.deepEqual(await left(), [0, 0]);
	});

	it("notices by itself that nobody answers", async () => {
		await open();
		await record(1500);
		fake.behaviour.silent = true;
		await waitFor("the page says that the line is gone", async () => /No connection/.test(await text("line")), { limitMs: 20_000 });
		fake.behaviour.silent = false;
		await waitFor("the page is back", async () => !/No connection/.test(await text("line")), { limitMs: 20_000 });
		await stop();
		await send();
		assert.equal(takes()[0].bytes.length, takes()[0].stop.bytes);
	});

	it("goes on after a reload in the middle", async () => {
		await open();
		await record(2500);
		fake.behaviour.refuseStream = true;
		fake.cut();
		await page.waitForTimeout(2000);
		fake.behaviour.refuseStream = false;
		// the link was made for one use: it must serve the page that has used it
		fake.behaviour.refusal = { status: 410, code: "link-used" };
		await page.reload();
		await page.waitForSelector("#stage[data-mode=review]");
		assert.match(await text("notice"), /earlier visit/);
		await waitFor("all is received", async () => (await text("line")) === "Everything is received");
		await send();
		const [take] = takes();
		assert.equal(take.bytes.length, take.stop.bytes);
		assert.ok((await decoded(take)) > 3);
		assert.equal(fake.sessions.length, 1);
		await page.click("#more");
		await shown("intro");
	});

	it("keeps the take when the browser is killed", async () => {
		const profile = fs.mkdtempSync(path.join(os.tmpdir(), "rushes-profile-"));
		try {
			const first = await chromium.launchPersistentContext(profile, browserOptions());
			const victim = await newPage(first);
			await open("camera", victim);
			await record(2500, victim);
			const { stdout } = await run("pgrep", ["-f", `^/usr/lib/chromium/chromium.*user-data-dir=${profile}`]);
			for (const pid of stdout.trim().split("\n")) {
				try {
					process.kill(Number(pid), "SIGKILL");
				} catch {
					// a child that went with its parent
				}
			}
			await first.close().catch(() => {});
			const again = await chromium.launchPersistentContext(profile, browserOptions());
			const heir = await newPage(again);
			await heir.goto(`${fake.url}/r/abc`);
			await heir.waitForSelector("#stage[data-mode=review]");
			await send(heir);
			await again.close();
			const [take] = takes();
			assert.equal(take.bytes.length, take.stop.bytes);
			assert.ok((await decoded(take)) > 1);
		} finally {
			fs.rmSync(profile, { recursive: true, force: true });
		}
	});

	it("leaves a take alone that another tab records", async () => {
		await open();
		await record(1500);
		const second = await newPage(context);
		await second.goto(`${fake.url}/r/abc`);
		await shown("intro", second);
		await second.close();
		await page.waitForTimeout(500);
		await stop();
		await send();
		assert.equal(takes()[0].starts, 1);
	});

	it("discards a take and records again", async () => {
		await open();
		await record(1500);
		await stop();
		await page.click("#again");
		assert.match(await text("again"), /Throw this one away/);
		assert.ok(!takes()[0].aborted);
		await page.click("#again");
		await shown("intro");
		await waitFor("the first take is discarded", () => takes()[0].aborted);
		await waitFor("nothing is left of it here", async () => (await left()).every((count) => count === 0));
		await page.click("#continue");
		await record(1500);
		await stop();
		await send();
		assert.equal(takes().length, 2);
		assert.ok(!takes()[1].aborted);
		assert.equal(fake.sessions.length, 1);
	});

	for (const source of ["screen", "microphone"])
		it(`records a ${source}`, async () => {
			await open(source);
			await record(2500);
			await stop();
			await send();
			const [take] = takes();
			assert.equal(take.source, source);
			assert.match(take.mime, source === "microphone" ? /^audio\/webm/ : /^video\/webm/);
			assert.ok((await decoded(take)) > 1);
		});

	it("says what a link is worth", async () => {
		const words = {
			"link-unknown": [404, /don’t know this link/],
			"link-expired": [410, /has expired/],
			"link-revoked": [410, /was withdrawn/],
			"link-used": [410, /has been used/],
			"account-closed": [403, /can’t be received/],
		};
		for (const [code, [status, expected]] of Object.entries(words)) {
			fake.behaviour.refusal = { status, code };
			await page.goto(`${fake.url}/r/abc`);
			await shown("problem");
			assert.match(await text("problem-title"), expected);
			assert.equal(await page.locator("#retry").isVisible(), false);
		}
	});

	it("offers the take as a file when the link was withdrawn meanwhile", async () => {
		await open();
		await record(1500);
		fake.behaviour.streamError = { code: "link-revoked", message: "", retry: false };
		fake.cut();
		await shown("problem");
		assert.match(await text("problem-title"), /was withdrawn/);
		const [download] = await Promise.all([page.waitForEvent("download"), page.click("#keep")]);
		assert.match(download.suggestedFilename(), /^recording\.webm$/);
		assert.ok(fs.statSync(await download.path()).size > 10_000);
	});

	it("asks without JavaScript features that are missing, in words", async () => {
		const cases = [
			["delete window.MediaRecorder", "problem-title", /can’t record/],
			["delete Navigator.prototype.mediaDevices", "problem-title", /can’t record/],
			["Object.defineProperty(window, 'isSecureContext', { value: false })", "problem-title", /secure connection/],
		];
		for (const [script, id, expected] of cases) {
			const other = await browser.newContext();
			await other.addInitScript(script);
			const poor = await newPage(other);
			await poor.goto(`${fake.url}/r/abc`);
			await shown("problem", poor);
			assert.match(await text(id, poor), expected);
			await other.close();
		}
	});

	describe("on a phone, which shares no screen", () => {
		const FILM = path.join(FIXTURES, "phone-rotated90-h264-aac.mp4");
		let phone;
		let small;

		beforeEach(async () => {
			phone = await browser.newContext({ viewport: { width: 390, height: 844 } });
			await phone.addInitScript("delete MediaDevices.prototype.getDisplayMedia");
			small = await newPage(phone);
			await small.goto(`${fake.url}/r/abc`);
			await shown("intro", small);
		});
		afterEach(() => phone.close());

		const choose = async (file = FILM, label = "Choose a video") => {
			await small.check("input[value=file]", { force: true });
			await small.setInputFiles(`label:has-text("${label}") input`, file);
		};

		it("offers videos in the screen's place, and fits", async () => {
			assert.equal(await small.locator("input[value=screen]").count(), 0);
			assert.equal(await small.isChecked("input[value=camera]"), true);
			assert.deepEqual([await small.isVisible("#continue"), await small.isVisible("text=Film now")], [true, false]);
			await small.check("input[value=file]", { force: true });
			assert.deepEqual([await small.isVisible("#continue"), await small.isVisible("text=Film now")], [false, true]);
			const inputs = await small.$$eval("[type=file]", (list) => list.map((input) => [input.accept, input.getAttribute("capture")]));
			assert.deepEqual(inputs, [["video/*", "environment"], ["video/*", null]]);
			await small.click("label:has-text('Film now')");
			assert.equal(await small.evaluate(() => document.querySelector("[name=consent]").matches(":user-invalid, :focus")), true);
			assert.equal(await small.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "the page is wider than a phone");
		});

		it("sends a video after showing it", async () => {
			await small.check("input[name=consent]");
			await choose();
			await small.waitForSelector("#stage[data-mode=review]");
			await waitFor("it is playable", () => small.evaluate(() => document.querySelector("video").duration > 0));
			await send(small);
			const [take] = takes();
			assert.deepEqual([take.source, take.mime, take.file_name], ["file", "video/mp4", path.basename(FILM)]);
			assert.ok(take.bytes.equals(fs.readFileSync(FILM)));
			assert.deepEqual(await left(small), [0, 0]);
		});

		it("goes on with a video after cuts and a reload, and drops one that it has not whole", async () => {
			const bytes = Buffer.concat([fs.readFileSync(FILM), Buffer.alloc(2_500_000)]);
			const file = { name: "long.mp4", mimeType: "video/mp4", buffer: bytes };
			await small.check("input[name=consent]");
			await choose(file, "Film now");
			await small.waitForSelector("#stage[data-mode=review]");
			await waitFor("all of it is here", () => small.evaluate(() => new Promise((resolve) => {
				indexedDB.open("rushes", 1).onsuccess = ({ target }) => {
					const all = target.result.transaction("takes").objectStore("takes").getAll();
					all.onsuccess = () => resolve(all.result[0]?.ended === "stop");
				};
			})));
			fake.cut();
			await small.reload();
			await small.waitForSelector("#stage[data-mode=review]");
			await send(small);
			assert.ok(takes()[0].bytes.equals(bytes));
			await small.evaluate(() => {
				const { arrayBuffer } = Blob.prototype;
				let pieces = 0;
				Blob.prototype.arrayBuffer = function () {
					return ++pieces > 3 ? new Promise(() => {}) : arrayBuffer.call(this);
				};
			});
			await small.click("#more");
			await choose(file);
			await small.waitForSelector("#stage[data-mode=review]");
			await waitFor("some of it is sent", () => takes().length === 2 && takes()[1].bytes.length > 0);
			await small.reload();
			await shown("intro", small);
			await waitFor("it is discarded", () => takes()[1].aborted);
			await waitFor("nothing is left", async () => (await left(small)).every((count) => count === 0));
		});

		it("says what is too large", async () => {
			await small.evaluate(() => Object.defineProperty(File.prototype, "size", { get: () => 3e9 }));
			await small.check("input[name=consent]");
			await choose();
			await shown("problem", small);
			assert.match(await text("problem-title", small), /too large/);
			assert.equal(takes().length, 0);
		});

		it("can be used without seeing it", async () => {
			await small.check("input[value=file]", { force: true });
			await small.evaluate(fs.readFileSync(AXE, "utf8"));
			const { violations } = await small.evaluate(() => axe.run());
			assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), []);
		});
	});

	it("says when the person refuses, or has no device", async () => {
		for (const [devices, expected] of [["refused", /no permission/], ["none", /No camera or microphone/]]) {
			const other = await startBrowser(devices);
			const made = await other.newContext({ permissions: devices === "none" ? ["camera", "microphone"] : [] });
			const lone = await newPage(made);
			await open("camera", lone);
			await shown("problem", lone);
			assert.match(await text("problem-title", lone), expected);
			await lone.click("#retry");
			await shown("intro", lone);
			await other.close();
		}
	});

	it("can be used without seeing it", async () => {
		const audit = async () => {
			await page.evaluate(fs.readFileSync(AXE, "utf8"));
			const { violations } = await page.evaluate(() => axe.run());
			assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), []);
		};
		await open();
		await shown("stage");
		await audit();
		await page.click("#change");
		await audit();
		await page.click("#continue");
		await record(1500);
		await audit();
		await stop();
		await audit();
		await send();
		await audit();
		assert.equal(await page.evaluate(() => document.activeElement.id), "done-title");
	});
});
