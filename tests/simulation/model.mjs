// When each copy goes, written from the table and the prose of docs/retention.md and from nothing else: it asks no database
// and shares no code with it. Times are milliseconds since 1970.
import { after28Days, firstMidnightOfAge } from "./calendar.mjs";

/** Whose sweep decides, by rule. */
export const SLICE = {
	"raw-copied": "ingest",
	discarded: "ingest",
	"failed-copy": "transcoder",
	"failed-conversion": "transcoder",
	"work-delivered": "storage-pusher",
	"failed-delivery": "storage-pusher",
	"do-not-store": "storage-pusher",
	"backup-after-delivery": "storage-pusher",
	"subscription-expired": "janitor",
	"trial-expired": "janitor",
	"account-closed": "janitor",
	lifecycle: "janitor",
	"deleted-by-user": "janitor",
	"deleted-by-api": "janitor",
	replaced: "janitor",
};

const earliest = (all) => all.reduce((best, one) => (one && (!best || one.at < best.at) ? one : best), null);
const latest = (...times) => Math.max(...times.filter((at) => at !== null && at !== undefined));

const lifecycle = (r, wants) =>
	[...r.environment.rules.values()]
		.filter((rule) => rule.enabled && wants(rule) && (rule.recordingKind ?? "received") === "received")
		.map((rule) => ({ at: firstMidnightOfAge(r.savedAt, rule.days, r.account.zone), rule: "lifecycle" }));

/** What takes the whole recording, and when: {at, rule}, or null. Not by a person's deletion, which is decided at once. */
export function wholeDue(r) {
	const { account } = r;
	if (r.held || r.savedAt === null) return null;
	return earliest([
		account.closedAt !== null && { at: account.closedAt, rule: "account-closed" },
		account.expires !== null && {
			at: after28Days(account.expires),
			rule: account.plan === "trial" ? "trial-expired" : "subscription-expired",
		},
		r.replacedAt !== null && { at: r.replacedAt, rule: "replaced" },
		...lifecycle(r, (rule) => rule.fileKind === null),
	]);
}

const pushesOf = (r, kind) => [...r.pushes.values()].filter((push) => push.kind === kind);
const allDone = (pushes) => pushes.length > 0 && pushes.every((push) => push.state === "done");
const lastOf = (pushes) => latest(...pushes.map((push) => push.at));

function workDue(r, kind) {
	if (r.failed === "convert") return { at: after28Days(latest(r.savedAt, r.copiedAt)), rule: "failed-conversion" };
	if (r.processedAt === null) return null;
	const own = pushesOf(r, kind);
	const main = pushesOf(r, "main");
	if (own.some((push) => push.state === "unfinished")) return null;
	if (r.environment.doNotStore && allDone(main)) return { at: latest(lastOf(main), ...own.map((push) => push.at)), rule: "do-not-store" };
	if (own.length === 0) return kind === "main" ? null : workDue(r, "main");
	if (allDone(own)) return { at: lastOf(own), rule: "work-delivered" };
	return { at: after28Days(r.files.get(kind)), rule: "failed-delivery" };
}

function ingestDue(r) {
	if (r.failed === "copy") return { at: after28Days(r.savedAt), rule: "failed-copy" };
	if (r.savedAt === null || r.copiedAt === null) return null;
	return {
		at: latest(r.copiedAt, r.savedAt + r.environment.playbackWindow, r.sent ? null : r.lastByteAt + r.environment.reconnectWindow),
		rule: "raw-copied",
	};
}

function backupDue(r, kind) {
	const clients = pushesOf(r, kind).filter((push) => push.owner === "client");
	if (r.environment.backup !== "until-delivered" || !allDone(clients)) return null;
	return { at: lastOf(clients), rule: "backup-after-delivery" };
}

const isNeeded = (r, copy) =>
	(copy.where === "ingest" && r.copying) ||
	(copy.where === "work" && copy.kind === "raw" && r.converting) ||
	(copy.where === "work" && pushesOf(r, copy.kind).some((push) => push.state === "unfinished"));

/** What takes a copy by itself, and when: {at, rule}, or null. */
export function copyDue(r, copy) {
	if (copy.where === "client" || r.held || isNeeded(r, copy) || r.savedAt === null) return null;
	const own = { ingest: ingestDue, work: workDue, ours: backupDue }[copy.where](r, copy.kind);
	return earliest([own, ...lifecycle(r, (rule) => rule.fileKind === copy.kind)]);
}

/** The rule under which a copy is taken now or next, with the recording or by itself. */
export function due(r, copy) {
	if (r.deletion) {
		const theirs = copy.where === "client" && !r.environment.targets.get(copy.target).deleteThere;
		return theirs ? null : r.deletion;
	}
	// a person has to look at what is lost; it goes with the recording
	if (copy.isLost) return null;
	return copyDue(r, copy);
}
