// A reader of sealed files that was written from proto/spool-format.md alone, with Node's own cryptography: independent
// truth about what lies in a spool.
import { createDecipheriv, createHash, hkdfSync } from "node:crypto";
import fs from "node:fs";
import { crc32 as crcOfZlib } from "../../scripts/lib/crc32.mjs";

const HEADER_BYTES = 4096;
const SLOT_BYTES = 65536;
const OVERHEAD = 32;
const KINDS = [null, "raw-segment", "raw", "main", "snapshot", "filmstrip"];

const uuidBytes = (text) => Buffer.from(text.replaceAll("-", ""), "hex");
const uuidText = (bytes) => bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

function open(key, nonce, associated, sealed, tag) {
	const cipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
	cipher.setAAD(associated);
	cipher.setAuthTag(tag);
	return Buffer.concat([cipher.update(sealed), cipher.final()]);
}

/** A key wrapped by another one, of the purpose spool-root; `recording` null: an account's key. */
export function unwrapKey(wrapping, { account, recording, keyId }, wrapped) {
	if (wrapped.length !== 61 || wrapped[0] !== 1) throw new Error("not a wrapped key of version 1");
	const associated = Buffer.concat([
		Buffer.from("rushes wrap"),
		Buffer.from([1, 0]),
		uuidBytes(account),
		Buffer.from([recording ? 1 : 0]),
		recording ? uuidBytes(recording) : Buffer.alloc(16),
		Buffer.from(keyId),
	]);
	return open(wrapping, wrapped.subarray(1, 13), associated, wrapped.subarray(13, 45), wrapped.subarray(45));
}

/** Data keys by recording: by the rows of the database and the key file of spool-root. `where`: SQL over recording_key k. */
export async function dataKeys(stack, where = "true") {
	const rows = await stack.postgres.query(`SELECT k.recording, k.account, a.id AS account_key, a.root_key,
		encode(a.wrapped, 'hex') AS account_wrapped, encode(k.wrapped, 'hex') AS wrapped
		FROM rushes.recording_key k JOIN rushes.account_key a ON a.account = k.account AND a.id = k.account_key
		WHERE ${where}`);
	const lines = fs.readFileSync(stack.keyFile("spool-root"), "utf8").split("\n");
	return new Map(
		rows.map((row) => {
			const line = lines.find((text) => text.startsWith(`${row.root_key} `));
			const root = Buffer.from(line.split(" ")[1], "hex");
			const { account, recording } = row;
			const accountKey = unwrapKey(root, { account, keyId: row.root_key }, Buffer.from(row.account_wrapped, "hex"));
			return [recording, unwrapKey(accountKey, { account, recording, keyId: row.account_key }, Buffer.from(row.wrapped, "hex"))];
		}),
	);
}

/** The data key of one recording. */
export async function dataKey(stack, recording) {
	const key = (await dataKeys(stack, `k.recording = '${recording}'`)).get(recording);
	if (!key) throw new Error(`recording ${recording} has no key`);
	return key;
}

export function readHeader(file) {
	const header = file.subarray(0, HEADER_BYTES);
	if (header.toString("latin1", 0, 8) !== "RUSHSEAL" || header.readUInt16BE(8) !== 1) throw new Error("no sealed file");
	if (header.readUInt32BE(4092) !== crcOfZlib(header.subarray(0, 4092))) throw new Error("the header's CRC-32 is wrong");
	if (header.readUInt32BE(12) !== SLOT_BYTES) throw new Error("another size of slots");
	return {
		kind: KINDS[header.readUInt16BE(10)],
		account: uuidText(header.subarray(16, 32)),
		recording: uuidText(header.subarray(32, 48)),
		copy: uuidText(header.subarray(48, 64)),
		segment: header.readUInt32BE(64),
		salt: header.subarray(72, 104),
	};
}

/** Opens a whole file; throws on anything that is not as the page says. Resolves to {header, plain}. */
export function openSealed(file, key) {
	const header = readHeader(file);
	const info = Buffer.concat([
		Buffer.from("rushes sealed 1"),
		uuidBytes(header.recording),
		file.subarray(10, 12),
		file.subarray(64, 68),
	]);
	const subkey = Buffer.from(hkdfSync("sha256", key, header.salt, info, 32));
	const digest = createHash("sha256").update(file.subarray(0, HEADER_BYTES)).digest();
	const parts = [];
	for (let number = 0, at = HEADER_BYTES; ; number++, at += SLOT_BYTES) {
		const slot = file.subarray(at, at + SLOT_BYTES);
		const size = slot.length - OVERHEAD;
		if (size < 0) throw new Error("the final slot is missing");
		const isFinal = slot.length < SLOT_BYTES;
		const place = Buffer.alloc(13);
		place.writeBigUInt64BE(BigInt(number), 0);
		place.writeUInt32BE(size, 8);
		place[12] = isFinal ? 1 : 0;
		const sealed = slot.subarray(12, slot.length - 16);
		const opened = open(subkey, slot.subarray(0, 12), Buffer.concat([digest, place]), sealed, slot.subarray(-16));
		if (opened.readUInt32BE(0) !== crcOfZlib(opened.subarray(4))) throw new Error(`slot ${number}: wrong CRC-32`);
		parts.push(opened.subarray(4));
		if (isFinal) return { header, plain: Buffer.concat(parts) };
	}
}
