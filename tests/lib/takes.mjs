// Takes as a test drives them by hand: connections, acknowledgements, and what rows and files say of them.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { makeLink, openSession, request } from "../../scripts/lib/journey.mjs";
import { StreamConnection, StreamError } from "../../scripts/lib/stream-client.mjs";
import { dataKey, openSealed } from "./sealed-reader.mjs";

/** Plaintext bytes of a full slot: what is acknowledged while a take runs are whole ones, without a journal. */
export const PAYLOAD = 65504;

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

export class Takes {
	/** `account`: as makeAccount() gives it. */
	constructor(stack, account) {
		Object.assign(this, { stack, account });
	}

	/** A session's token of a fresh link. */
	async token() {
		return (await openSession(this.stack, await makeLink(this.stack, this.account))).token;
	}

	connect(authorization) {
		return new StreamConnection({ url: this.stack.ingestUrl, ca: this.stack.ca, authorization });
	}

	/** A connection with its take begun. Resolves to {connection, ready}. */
	async begin(authorization, take) {
		const connection = this.connect(authorization);
		await connection.opened;
		connection.send({ type: "start", take, mime: "video/webm", source: "screen" });
		return { connection, ready: await connection.nextOf("ready") };
	}

	async recording(id) {
		return (await this.stack.postgres.query(`SELECT * FROM rushes.recording WHERE id = '${id}'`))[0];
	}

	segments(id) {
		return this.stack.postgres.query(`SELECT g.number, g.state, g.start_offset, g.bytes,
			encode(g.sha256, 'hex') AS sha256, c.id AS copy, c.state AS copy_state, c.location
			FROM rushes.segment g LEFT JOIN rushes.copy c ON c.recording = g.recording AND c.segment = g.number
			WHERE g.recording = '${id}' ORDER BY g.number`);
	}

	path(segment, service = "ingest") {
		return path.join(this.stack.spoolPath(service), segment.location);
	}

	/** The segments, opened by the recording's key, are the sent bytes; they end at `length`. */
	async holds(id, bytes, length = bytes.length) {
		const key = await dataKey(this.stack, id);
		let at = 0;
		for (const segment of await this.segments(id)) {
			assert.equal(segment.state, "closed");
			assert.equal(Number(segment.start_offset), at);
			if (Number(segment.bytes) === 0) continue;
			const { plain } = openSealed(fs.readFileSync(this.path(segment)), key);
			assert.equal(plain.length, Number(segment.bytes));
			assert.equal(segment.sha256, sha256(plain));
			assert.ok(plain.equals(bytes.subarray(at, at + plain.length)), `segment ${segment.number} holds other bytes`);
			at += plain.length;
		}
		assert.equal(at, length);
	}

	/** POST /v1/recordings. */
	async post(body, headers = {}) {
		return request(this.stack, {
			url: `https://localhost:${this.stack.ports.ingest}/v1/recordings`,
			method: "POST",
			headers: { authorization: `Bearer ${headers.token ?? (await this.token())}`, "content-type": "video/mp4", ...headers },
			body,
		});
	}

	async metrics(service = "ingest") {
		return (await this.stack.admin(service, "/metrics")).body;
	}

	/** The value of a metric's row, 0 when it is not there; `labels` as text: 'code="full"'. */
	async metric(name, labels = "", service = "ingest") {
		const row = labels ? `${name}{${labels}} ` : `${name} `;
		const line = (await this.metrics(service)).split("\n").find((text) => text.startsWith(row));
		return line ? Number(line.slice(row.length)) : 0;
	}

	async debug(service = "ingest") {
		return JSON.parse((await this.stack.admin(service, "/debug/state")).body);
	}
}

/** The error by which the server ends a connection. */
export async function errorOf(connection, limitMs) {
	try {
		for (;;) await connection.next(limitMs);
	} catch (error) {
		if (error instanceof StreamError) return error;
		throw error;
	}
}

/** The code of the close frame that follows. */
export function closeCode(connection, limitMs = 60_000) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`no close frame within ${limitMs / 1000} s`)), limitMs);
		connection.socket.once("close", (code) => {
			clearTimeout(timer);
			resolve(code);
		});
	});
}

export async function ackTo(connection, offset) {
	for (;;) {
		const ack = await connection.nextOf("ack");
		if (ack.offset >= offset) return ack.offset;
	}
}
