// The ledger's proof on real servers: sealing, the target outside PostgreSQL, what `ledger verify` finds, certificates.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { waitFor } from "../../scripts/lib/process.mjs";
import { testStack } from "../lib/harness.mjs";

const stack = testStack("ledger", { overrides: { janitor: { RUSHES_LEDGER_SEAL_EVERY: "200ms" } } });
const sql = (text) => stack.postgres.psql(text);
const value = async (text) => (await sql(text)).trim();
const rows = (text) => stack.postgres.query(text);
const until = (what, check) => waitFor(what, async () => (await check()) || null, { limitMs: 20_000, pollMs: 100 });

const ACCOUNT = "22222222-0000-4000-8000-000000000001";
const addEntries = (n, place = "database") =>
	sql(`select count(rushes.add_ledger('gone', '${ACCOUNT}', gen_random_uuid(), gen_random_uuid(), 'raw-copied', '${place}',
		jsonb_build_object('unlinked', true, 'n', i))) from generate_series(1, ${n}) i`);
const allPublished = () =>
	until("everything is sealed and published", async () =>
		(await value(`select (select count(*) from rushes.ledger where batch is null)
			+ (select count(*) from rushes.ledger_batch where published_at is null)`)) === "0");

const sha256 = (...parts) => crypto.createHash("sha256").update(Buffer.concat(parts)).digest();

/** The tree's root as RFC 6962 defines it. */
function rootOf(leaves) {
	if (leaves.length === 1) return leaves[0];
	let k = 1;
	while (2 * k < leaves.length) k *= 2;
	return sha256(Buffer.from([1]), rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k)));
}

describe("the ledger", () => {
	before(async () => {
		await stack.prepare();
		await stack.startService("janitor");
	});
	after(() => stack.remove());

	it("seals entries into linked and signed batches, and keeps them outside the database", async () => {
		await addEntries(5);
		await allPublished();
		await addEntries(3);
		await allPublished();
		const batches = await rows(`select id, leaves, encode(root, 'hex') as root, encode(previous, 'hex') as previous from rushes.ledger_batch order by id`);
		assert.ok(batches.length >= 2);
		const [id, key] = fs.readFileSync(`${stack.keyFile("ledger-sign")}.pub`, "utf8").trim().split(" ");
		const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(key, "hex")]);
		const publicKey = crypto.createPublicKey({ key: der, format: "der", type: "spki" });
		let previous = "0".repeat(64);
		for (const batch of batches) {
			const file = path.join(stack.ledgerPath(), `${String(batch.id).padStart(12, "0")}.ledger`);
			const lines = fs.readFileSync(file, "utf8").split("\n");
			assert.equal(lines.pop(), "");
			const [head, signature, ...entries] = lines;
			assert.ok(crypto.verify(null, Buffer.from(head), publicKey, Buffer.from(signature, "hex")));
			const said = JSON.parse(head);
			assert.equal(said.key, id);
			assert.equal(said.previous, previous);
			assert.equal(said.root, batch.root);
			assert.equal(entries.length, batch.leaves);
			const leaves = entries.map((text) => sha256(Buffer.from([0]), Buffer.from(text)));
			assert.equal(rootOf(leaves).toString("hex"), said.root);
			previous = sha256(Buffer.from(head)).toString("hex");
		}
	});
});
