#!/usr/bin/env node
// Checks a certificate of deletion offline: node verify-certificate.mjs CERTIFICATE.json PUBLIC-KEY-FILE
// Needs Node.js 18 or newer and nothing else. Exit status 0: it holds; 1: it does not; 2: wrong use.
// The key must come from where the operator publishes it, never from whoever sent the certificate.
// The formats: proto/ledger-format.md. What is computed here, and how to do it by hand: docs/certificates.md.
import crypto from "node:crypto";
import fs from "node:fs";
import process from "node:process";

const DAY_MS = 86_400_000;
const HASH = /^[0-9a-f]{64}$/;

class Refused extends Error {}

function demand(holds, message) {
	if (!holds) throw new Refused(message);
}

const sha256 = (...parts) => crypto.createHash("sha256").update(Buffer.concat(parts)).digest();
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** key id → key object, from lines `<id> <64 hexadecimal digits>`. */
function readKeys(text) {
	const keys = new Map();
	for (const line of text.split("\n")) {
		if (line.trim() === "" || line.startsWith("#")) continue;
		const [id, hex, ...rest] = line.trim().split(/\s+/);
		demand(rest.length === 0 && HASH.test(hex ?? ""), "the public key file has a line that is no key");
		// the fixed beginning of a SubjectPublicKeyInfo for Ed25519 (RFC 8410)
		const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(hex, "hex")]);
		keys.set(id, crypto.createPublicKey({ key: der, format: "der", type: "spki" }));
	}
	return keys;
}

/** Batch number → head, each signed by one of the keys. */
function checkHeads(heads, keys) {
	const checked = new Map();
	for (const { head: text, signature } of heads) {
		const head = JSON.parse(text);
		demand(head.type === "rushes-ledger-head/1", "a head is of another type");
		const key = keys.get(head.key);
		demand(key, `the public key file has no key ${head.key}`);
		demand(/^[0-9a-f]{128}$/.test(signature), `batch ${head.batch} has no signature`);
		demand(
			crypto.verify(null, Buffer.from(text), key, Buffer.from(signature, "hex")),
			`the signature of batch ${head.batch} is wrong`,
		);
		demand(Number.isSafeInteger(head.leaves) && head.leaves > 0 && HASH.test(head.root), "a head is incomplete");
		checked.set(head.batch, head);
	}
	return checked;
}

/** The root that an audit path leads to (RFC 9162 section 2.1.3.2), or null for a path that cannot be. */
function rootByPath(leaf, position, leaves, path) {
	let at = position;
	let last = leaves - 1;
	let root = leaf;
	if (!Number.isSafeInteger(at) || at < 0 || at > last) return null;
	for (const hex of path) {
		if (last === 0 || !HASH.test(hex)) return null;
		const beside = Buffer.from(hex, "hex");
		if (at % 2 === 1 || at === last) {
			root = sha256(Buffer.from([1]), beside, root);
			while (at % 2 === 0 && at !== 0) {
				at = Math.floor(at / 2);
				last = Math.floor(last / 2);
			}
		} else {
			root = sha256(Buffer.from([1]), root, beside);
		}
		at = Math.floor(at / 2);
		last = Math.floor(last / 2);
	}
	return last === 0 ? root.toString("hex") : null;
}

/** The entries as objects, each proven by a head. */
function checkEntries(entries, heads) {
	const seen = new Set();
	return entries.map(({ text, batch, position, path }) => {
		const entry = JSON.parse(text);
		const head = heads.get(batch);
		demand(head, `entry ${entry.id} names batch ${batch}, which has no head here`);
		const leaf = sha256(Buffer.from([0]), Buffer.from(text));
		demand(
			rootByPath(leaf, position, head.leaves, path) === head.root,
			`entry ${entry.id} is not in batch ${batch}`,
		);
		demand(!seen.has(entry.id), `entry ${entry.id} stands here twice`);
		seen.add(entry.id);
		return entry;
	});
}

function wordsFor(entry, keyDestroyed) {
	const evidence = entry.evidence ?? {};
	const words = [];
	if (keyDestroyed && entry.place.startsWith("node/")) words.push("key-destroyed");
	if (evidence.unlinked === true) words.push("unlinked");
	if (evidence.absent === true) words.push("absent");
	if (evidence.versions !== undefined) words.push("all-versions-deleted");
	if (entry.place === "database") words.push("rows-deleted");
	if (evidence.node_destroyed_attested_by)
		words.push(`node-destroyed, attested by ${evidence.node_destroyed_attested_by}`);
	return words;
}

/** What the certificate says in its summary is what its proven entries say. */
function checkSummary(certificate, entries) {
	const { recording } = certificate;
	for (const entry of entries)
		demand(
			entry.recording === recording && entry.account === certificate.account,
			`entry ${entry.id} is about something else`,
		);
	const own = (kind) => entries.filter((entry) => entry.kind === kind && !entry.copy && !entry.place).at(-1);
	const [decided, complete] = [own("decided"), own("complete")];
	demand(decided, "no entry says that the deletion was decided");
	demand(complete, "no entry says that the recording is completely removed");
	demand(
		certificate.decided_at === decided.at && certificate.completed_at === complete.at,
		"the times are not those of the entries",
	);
	demand(certificate.rule === complete.rule, "the rule is not that of the entry");
	demand(
		certificate.left_with_the_client === complete.evidence.left_with_the_client,
		"the number of copies left with the client is not that of the entry",
	);
	const keyDestroyed = decided.evidence.key === "destroyed";
	const gone = entries.filter(({ kind }) => kind === "gone");
	const copies = gone.map((entry) => ({
		copy: entry.copy,
		place: entry.place,
		gone_at: entry.at,
		evidence: wordsFor(entry, keyDestroyed),
		entry: entry.id,
	}));
	const byEntry = (list) =>
		[...list]
			.sort((a, b) => a.entry - b.entry)
			.map(({ copy, place, gone_at, evidence, entry }) => [copy, place, gone_at, evidence, entry]);
	demand(same(byEntry(certificate.copies), byEntry(copies)), "the list of copies is not that of the entries");
	const late = (list) => [...list].sort((a, b) => a.entry - b.entry).map(({ copy, place, removed_at, entry }) => [copy, place, removed_at, entry]);
	const found = entries.filter(({ kind }) => kind === "found-late");
	demand(
		same(late(certificate.found_late), late(found.map(({ copy, place, at, id }) => ({ copy, place, removed_at: at, entry: id })))),
		"the list of what was found late is not that of the entries",
	);
	for (const taken of entries.filter(({ kind, copy }) => kind === "decided" && copy))
		demand(
			gone.some(({ copy }) => copy === taken.copy),
			`copy ${taken.copy} was to go, and no entry says that it is gone`,
		);
	const latest = Math.max(...entries.map(({ at }) => Date.parse(at)));
	for (const { until, what } of certificate.backups)
		demand(Date.parse(until) <= latest + 4 * DAY_MS, `backups are said to hold ${what} for too long`);
	return copies;
}

function main([certificateFile, keyFile, ...rest]) {
	if (!certificateFile || !keyFile || rest.length > 0) {
		console.error("usage: node verify-certificate.mjs CERTIFICATE.json PUBLIC-KEY-FILE");
		return 2;
	}
	try {
		const keys = readKeys(fs.readFileSync(keyFile, "utf8"));
		const certificate = JSON.parse(fs.readFileSync(certificateFile, "utf8"));
		demand(certificate.type === "rushes-certificate/1", "that is no certificate of deletion");
		const heads = checkHeads(certificate.heads, keys);
		const entries = checkEntries(certificate.entries, heads);
		const copies = checkSummary(certificate, entries);
		console.log(`The certificate holds: recording ${certificate.recording} was completely removed.`);
		console.log(`decided ${certificate.decided_at} by ${certificate.rule}, complete ${certificate.completed_at}`);
		for (const { copy, place, gone_at, evidence } of copies)
			console.log(`  ${gone_at}  ${copy ?? "personal metadata"}  ${place}: ${evidence.join(", ")}`);
		for (const { removed_at, copy, place } of certificate.found_late)
			console.log(`  ${removed_at}  ${copy}  ${place}: found again by a look, and removed`);
		console.log(`  copies left with the client: ${certificate.left_with_the_client}`);
		for (const head of heads.values()) console.log(`  batch ${head.batch} of ${head.at}, signed by key ${head.key}`);
		return 0;
	} catch (error) {
		// whatever a strange file provokes here is a certificate that does not hold
		console.error(`The certificate does not hold: ${error.message}`);
		return 1;
	}
}

process.exitCode = main(process.argv.slice(2));
