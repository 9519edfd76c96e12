/* The page: what it shows, what the person decides. */
import * as store from "./store.js";
import { abilities, openCapture, Recorder } from "./capture.js";
import { Stream } from "./stream.js";

const $ = (id) => document.getElementById(id);
const text = (id, words) => ($(id).textContent = words);
const hide = (id, yes) => ($(id).hidden = yes);
const code = location.pathname.split("/").pop();
const TITLE = document.title;

/* name: [title, text, where “Try again” leads] */
const PROBLEMS = {
	insecure: ["This page needs a secure connection", "Open the link again with https://."],
	browser: ["This browser can’t record", "Use a current Chrome, Edge, Firefox or Safari."],
	storage: ["This device has no room for a recording", "Free some space, or leave private browsing.", "reload"],
	offline: ["You seem to be offline", "We go on as soon as the connection is back.", "reload"],
	"link-unknown": ["We don’t know this link", "A part of it may be missing."],
	"link-expired": ["This link has expired", "Please ask for a new one."],
	"link-revoked": ["This link was withdrawn", "Please ask whether it is still needed."],
	"link-used": ["This link has been used", "Please ask for a new one if there is more to show."],
	"consent-changed": ["The conditions have changed", "Please read them again.", "reload"],
	"account-closed": ["Recordings can’t be received now", "Please tell the person who sent you the link."],
	"too-large": ["This recording is too large", "Please make a shorter one.", "reload"],
	NotAllowedError: ["We got no permission", "Try again and allow it, or use the icon beside the address.", "intro"],
	NotFoundError: ["No camera or microphone was found", "Connect one, or choose something else.", "intro"],
	NotReadableError: ["Your device is busy", "Close the program that uses it.", "intro"],
	empty: ["Nothing was recorded", "It stopped before it began.", "intro"],
	other: ["Something went wrong", "Please try again soon.", "reload"],
};
PROBLEMS.QuotaExceededError = PROBLEMS.storage;
const explain = (name) => PROBLEMS[name] ?? PROBLEMS.other;

let info, refusal, capture, recorder, take, stream, line, rules, sure;

const PART_BYTES = 512 * 1024;

const size = (bytes) => (bytes / 1e6).toFixed(1) + " MB";
const clock = (ms) => Math.floor(ms / 60000) + ":" + String(Math.floor(ms / 1000) % 60).padStart(2, "0");

function show(view) {
	for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== view;
	$(view).querySelector("h1").focus();
	scrollTo(0, 0);
}

function problem(name, keep) {
	const [title, words, next] = explain(name);
	text("problem-title", title);
	text("problem-text", keep ? words + " What you recorded is still on this device." : words);
	hide("retry", !next);
	$("retry").onclick = () => (next === "intro" ? show("intro") : location.reload());
	hide("keep", !keep);
	if (keep) Object.assign($("keep"), { href: URL.createObjectURL(keep), download: "recording." + (keep.type.includes("mp4") ? "mp4" : "webm") });
	show("problem");
}

/* A JSON answer, or an error {code, final}. */
async function call(path, body) {
	let response, answer;
	try {
		response = await fetch(path, body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
		answer = await response.json();
	} catch {
		throw { code: "offline" };
	}
	if (response.ok) return answer;
	throw { code: answer.code, final: response.status < 500 && response.status !== 429 };
}

/* A use of a link is kept with its secret: a reload goes on with it, and counts no other. */
async function admission(of, fresh, consent) {
	const row = await store.session(of);
	if (row && !fresh && Date.parse(row.token_expires_at) > Date.now() + 60000) return row;
	const answer = await call(`/r/${of}/session`, { consent, resume: row?.resume });
	const next = { info, ...row, ...answer, code: of };
	await store.saveSession(next);
	return next;
}

/* One tab works on a take. Resolves to a function that gives it back, or null. */
const claim = (id) =>
	new Promise((resolve) => {
		navigator.locks.request("rushes-take:" + id, { ifAvailable: true }, (lock) => (lock ? new Promise(resolve) : resolve(null)));
	});

function follow(of, release) {
	return new Stream(of, (fresh) => admission(of.code, fresh), (event, reason) => {
		const failed = event === "failed";
		if (event === "copied" || event === "discarded" || (failed && of.wish === "abort")) store.remove(of).then(release);
		if (of === take) failed ? broken(reason) : progress(event);
	});
}

async function broken(name) {
	const kept = take;
	if (recorder) await finish();
	problem(name, kept && (await store.blob(kept)));
}

function progress(event) {
	if (event === "line") {
		line = stream.ready;
		text("status", line ? "Connected" : "Connection lost. Your recording is safe on this device.");
	}
	const all = take.size ?? take.bytes;
	const got = Math.min(stream.acked, all);
	const state = !line ? "No connection: kept on this device" : take.ended && got === all ? "Everything is received" : "Being received";
	hide("upload", false);
	text("line", state);
	text("bytes", `${size(got)} of ${size(all)}`);
	$("received").value = $("sending").value = got / all;
	if (take.wish !== "send") return;
	const copied = event === "copied";
	const saved = (take.saved ||= copied || event === "saved");
	text("done-title", saved ? "Thank you, it has arrived" : "Sending your recording…");
	text("done-text", saved ? "You can close this page." : "Please keep it open.");
	text("done-detail", copied ? "Kept in two places; the copy on this device is gone." : saved ? "A second copy is being made." : line ? $("bytes").textContent : state);
	hide("sending", saved);
	hide("more", !saved);
	if (event === "saved") show("done");
}

const MODES = {
	preview: ["Ready when you are", "Nothing is recorded until you press Start.", "Preview"],
	recording: ["Recording", "You can watch it before you send it.", "Recording"],
	review: ["Watch it before you send it", "Send it, or record again if it went wrong.", "Your recording"],
};

function mode(name) {
	Object.assign($("stage").dataset, { mode: name, source: (take ?? capture).source });
	for (const button of document.querySelectorAll("[data-in]")) button.hidden = button.dataset.in !== name;
	hide("upload", true);
	hide("notice", true);
	sure = false;
	text("again", "Record again");
	["stage-title", "stage-text", "badge-text"].forEach((id, i) => text(id, MODES[name][i]));
	show("stage");
}

function notice(words) {
	text("notice", words);
	hide("notice", false);
}

function leave() {
	clearInterval(tick.timer);
	capture?.close();
	capture = recorder = null;
}

function tick() {
	const level = capture.level();
	$("stage").toggleAttribute("data-silent", level === null);
	$("level").style.transform = `scaleX(${level ?? 0})`;
	if (!recorder) return;
	document.title = text("time", clock(recorder.ms)) + " Recording";
	if (recorder.ms >= rules.limits.seconds * 1000) stop();
}

async function preview(event) {
	event.preventDefault();
	const choice = new FormData($("choose"));
	if (choice.get("source") === "file") return;
	$("continue").disabled = true;
	try {
		capture = await openCapture(choice.get("source"), choice.has("voice"));
	} catch (error) {
		return problem(error.name);
	} finally {
		$("continue").disabled = false;
	}
	take = null;
	mode("preview");
	capture.onended = change;
	Object.assign($("video"), { srcObject: capture.stream, controls: false, muted: true });
	$("video").play().catch(() => {});
	if (capture.withoutVoice) notice("Your microphone is not available: the screen is recorded without it.");
	tick.timer = setInterval(tick, 100);
	admit();
}

function change() {
	leave();
	show("intro");
}

async function admit() {
	$("start").disabled = true;
	try {
		rules = await admission(code, false, info.consent);
		$("start").disabled = false;
	} catch (error) {
		if (error.final) {
			leave();
			return problem(error.code);
		}
		notice("No connection. We keep trying.");
		setTimeout(() => capture && admit(), 3000);
	}
}

function start() {
	take = null;
	line = false;
	recorder = new Recorder(capture, (buffer) => keep(buffer, { mime: recorder.mime, source: capture.source, ms: recorder.ms }), (error) => stop(error));
	recorder.start();
	capture.onended = () => stop();
	text("pause", "Pause");
	mode("recording");
	navigator.wakeLock?.request("screen").catch(() => {});
}

async function keep(buffer, facts) {
	const first = !take;
	const one = Object.assign(take ?? store.newTake(code), facts);
	const release = first && (await claim(one.id));
	await store.append(one, buffer);
	if (first) stream = follow((take = one), release);
	else stream.pump();
	progress();
}

/* A file goes the way of a recording. */
async function pick({ target }) {
	const [file] = target.files;
	if (!file) return;
	const facts = { mime: file.type, source: "file", name: file.name, size: file.size };
	let one;
	try {
		rules = await admission(code, false, info.consent);
		if (!file.size) throw { code: "empty" };
		if (file.size > rules.limits.bytes) throw { code: "too-large" };
		take = null;
		for (let at = 0; at < file.size; at += PART_BYTES) {
			const part = await file.slice(at, at + PART_BYTES).arrayBuffer();
			if (one && one !== take) return;
			await keep(part, facts);
			if (one) continue;
			one = take;
			review(file);
		}
		if (one === take) await whole(one, 0);
	} catch (error) {
		if (one) decide("abort");
		problem(error.code ?? error.name);
	} finally {
		target.value = "";
	}
}

async function whole(one, ms) {
	Object.assign(one, { ended: "stop", paused: false, ms });
	await store.saveTake(one);
	stream.pump();
}

function pause() {
	const paused = $("stage").toggleAttribute("data-paused");
	if (paused) recorder.pause();
	else recorder.resume();
	if (take) take.paused = paused;
	text("pause", paused ? "Go on" : "Pause");
	text("status", text("badge-text", paused ? "Paused" : "Recording"));
}

/* Ends the recording; what it gave is then whole on this device. */
async function finish() {
	const ending = recorder;
	recorder = null;
	clearInterval(tick.timer);
	await ending.stop();
	leave();
	$("stage").removeAttribute("data-paused");
	document.title = TITLE;
	if (take) await whole(take, ending.ms);
}

async function stop(error) {
	if (!recorder) return;
	await finish();
	if (!take) return problem(error?.name ?? "empty");
	if (rules.send_on_stop && !error) return decide("send");
	await review();
	if (error) notice(`${explain(error.name)[0]}. Everything until then was kept.`);
}

async function review(file) {
	mode("review");
	text("time", clock(take.ms));
	progress();
	play("video", file ?? (await store.blob(take)));
}

function play(id, blob) {
	const video = Object.assign($(id), { srcObject: null, src: URL.createObjectURL(blob), controls: true, muted: false });
	/* Recorded files name no length: a look behind the end finds it. */
	video.onloadedmetadata = () => {
		if (video.duration !== Infinity) return;
		video.ontimeupdate = () => (video.ontimeupdate = video.currentTime = null);
		video.currentTime = 1e9;
	};
}

/* What the servers have of the take. */
async function watch() {
	const { token, ingest_url } = await admission(take.code);
	const url = `${ingest_url.replace("ws", "http")}/v1/recordings/${stream.recording}/raw`;
	const answer = await fetch(url, { headers: { authorization: "Bearer " + token } }).catch(() => 0);
	if (!answer.ok) return text("done-detail", "It can’t be shown now.");
	play("sent", await answer.blob());
	hide("sent", false);
}

async function decide(wish) {
	$("video").pause();
	hide("sent", true);
	take.wish = wish;
	await store.saveTake(take);
	stream.pump();
	if (wish === "abort") return intro();
	progress();
	show("done");
}

function again() {
	if (sure) return decide("abort");
	sure = true;
	text("status", text("again", "Throw this one away?"));
}

function intro() {
	take = null;
	if (!info) return problem(refusal.code);
	const { account, requester, expires_at, limits, consent } = info;
	const { agent, subject, ticket } = requester;
	text("account", account.name);
	text("asks", `${agent ? agent + " from " : ""}${account.name} asks you for a recording`);
	text("reason", subject ?? "");
	hide("reason", !subject);
	const until = new Date(expires_at).toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" });
	text("facts", `${ticket ? `Ticket ${ticket} · ` : ""}up to ${Math.round(limits.seconds / 60)} minutes · valid until ${until}`);
	text("consent", consent.text);
	show("intro");
}

/* Takes of earlier pages are sent on; this link's newest is shown. */
async function leftovers() {
	for (const old of await store.takes()) {
		const release = await claim(old.id);
		if (!release) continue;
		if (old.size > old.bytes) old.wish = "abort";
		Object.assign(old, { ended: old.ended || "page-gone", paused: false });
		await store.saveTake(old);
		const one = follow(old, release);
		if (old.code === code && old.wish !== "abort" && !(take?.started > old.started)) [take, stream] = [old, one];
	}
}

async function begin() {
	const { missing, screen } = abilities();
	if (missing) return problem(missing);
	const form = $("choose");
	const { source } = form.elements;
	/* Phones share no screen, but have videos. */
	(screen ? source[2] : source[0]).parentNode.remove();
	source.value = screen ? "screen" : "camera";
	for (const input of form.querySelectorAll("[type=file]")) {
		input.onclick = (event) => form.reportValidity() || event.preventDefault();
		input.onchange = pick;
	}
	try {
		await store.open();
		await leftovers();
	} catch {
		return problem("storage");
	}
	try {
		info = await call(`/r/${code}/request`);
	} catch (error) {
		refusal = error;
		/* A used link still serves the browser that used it. */
		if (error.code === "link-used" && (await store.session(code))) info = (await admission(code, true).catch(() => {}))?.info;
	}
	if (!take) {
		intro();
		if (refusal?.code === "offline") addEventListener("online", () => location.reload());
	} else if (take.wish) {
		progress();
		show("done");
	} else {
		await review();
		notice("We kept this from an earlier visit. You can send it, or record again.");
	}
}

$("choose").onsubmit = preview;
const clicks = { start, pause, change, again, watch, more: intro, stop: () => stop(), send: () => decide("send") };
for (const id in clicks) $(id).onclick = clicks[id];
addEventListener("beforeunload", (event) => {
	if (recorder || (take && !take.saved)) event.preventDefault();
});
begin();
