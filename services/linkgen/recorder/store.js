/* What must survive a crash, in IndexedDB. A take's bytes stay until two machines hold them, or nobody wants them. */
import { crc32 } from "./crc32.js";

let db;

const done = (target) =>
	new Promise((resolve, reject) => {
		target.onsuccess = target.oncomplete = () => resolve(target.result);
		target.onerror = target.onabort = () => reject(target.error);
	});

export async function open() {
	const request = indexedDB.open("rushes", 1);
	request.onupgradeneeded = () => {
		request.result.createObjectStore("sessions", { keyPath: "code" });
		request.result.createObjectStore("takes", { keyPath: "id" });
		request.result.createObjectStore("chunks", { keyPath: ["take", "offset"] });
	};
	db = await done(request);
	db.onversionchange = () => db.close();
	navigator.storage?.persist?.();
}

const table = (name, mode) => db.transaction(name, mode, { durability: "strict" }).objectStore(name);

/** {code, session, resume, token, token_expires_at, ingest_url, limits, info}: this browser's use of a link. */
export const session = (code) => done(table("sessions").get(code));
export const saveSession = (row) => done(table("sessions", "readwrite").put(row));

export const takes = () => done(table("takes").getAll());
export const saveTake = (take) => done(table("takes", "readwrite").put(take));

/** A take of no bytes yet; its first append stores it. `wish` is what the person decided: '', 'send' or 'abort'. */
export const newTake = (code) => ({
	id: crypto.randomUUID(), code, started: Date.now(), bytes: 0, crc: 0, ms: 0, paused: false, ended: "", wish: "",
});

/** Appends bytes and counts them in one transaction. One caller at a time. */
export async function append(take, buffer) {
	const tx = db.transaction(["takes", "chunks"], "readwrite", { durability: "strict" });
	const bytes = take.bytes + buffer.byteLength;
	const crc = crc32(new Uint8Array(buffer), take.crc);
	tx.objectStore("chunks").put({ take: take.id, offset: take.bytes, data: buffer });
	tx.objectStore("takes").put({ ...take, bytes, crc });
	await done(tx);
	Object.assign(take, { bytes, crc });
}

const range = (take, to) => IDBKeyRange.bound([take.id, 0], [take.id, to ?? Infinity]);

/** At most `limit` bytes from `offset` on; null behind the end. */
export async function read(take, offset, limit) {
	if (offset >= take.bytes) return null;
	const cursor = await done(table("chunks").openCursor(range(take, offset), "prev"));
	if (!cursor) throw new Error("the bytes at " + offset + " are missing");
	const from = offset - cursor.value.offset;
	return new Uint8Array(cursor.value.data).subarray(from, from + limit);
}

/** The whole take as one Blob; chunk by chunk, so that the browser may keep it on disk. */
export async function blob(take) {
	const parts = [];
	for (let offset = 0; offset < take.bytes; ) {
		const part = await read(take, offset, Infinity);
		parts.push(new Blob([part]));
		offset += part.length;
	}
	return new Blob(parts, { type: take.mime });
}

export async function remove(take) {
	const tx = db.transaction(["takes", "chunks"], "readwrite");
	tx.objectStore("takes").delete(take.id);
	tx.objectStore("chunks").delete(range(take));
	await done(tx);
}
