// A headless client of the recorder's stream (proto/stream.md): sends a recorded file over WSS as a page would, resumes
// after lost connections, and can be told to cut its own. The WebSocket is Debian's ws, not our own code.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { setTimeout as delay } from "node:timers/promises";
import { crc32 } from "./crc32.mjs";

const WebSocket = createRequire(import.meta.url)("/usr/share/nodejs/ws");

export const SUBPROTOCOL = "rushes.stream.v1";
const WINDOW_BYTES = 4 * 1024 * 1024;
const RECONNECT_MS = 200;
// What came within the last 200 ms may be unacknowledged when a client cuts: this much may be, of a stream of its pace.
const UNACKNOWLEDGED_BYTES = 128 * 1024;

/** The connection ended without an error message of the server. */
export class ConnectionLost extends Error {}

/** The server's `error` message. */
export class StreamError extends Error {
	constructor({ code, message, retry }) {
		super(`${code}: ${message}`);
		this.code = code;
		this.retry = retry;
	}
}

/** One WebSocket connection; messages are taken in order by next(). */
export class StreamConnection {
	/** `authorization`: token for the header; without it the first message has to be a `token`. */
	constructor({ url, ca, authorization }) {
		this.messages = [];
		this.ended = null;
		this.socket = new WebSocket(`${url}/v1/stream`, [SUBPROTOCOL], {
			ca,
			servername: "localhost",
			handshakeTimeout: 5000,
			headers: authorization ? { authorization: `Bearer ${authorization}` } : {},
		});
		this.opened = new Promise((resolve, reject) => {
			this.socket.once("open", resolve);
			this.socket.on("error", (error) => {
				this.end(new ConnectionLost(error.message));
				reject(this.ended);
			});
		});
		this.opened.catch(() => {});
		this.socket.on("message", (data, isBinary) => {
			this.messages.push(isBinary ? { type: "binary" } : JSON.parse(data.toString("utf8")));
			this.wake?.();
		});
		this.socket.on("close", (code, reason) => this.end(new ConnectionLost(`closed with ${code} ${reason}`)));
	}

	end(error) {
		this.ended ??= error;
		this.wake?.();
	}

	send(message) {
		this.socket.send(JSON.stringify(message));
	}

	/** A piece of the recording; `crc` other than its own makes it wrong. */
	sendBytes(offset, payload, crc = crc32(payload)) {
		const frame = Buffer.alloc(12 + payload.length);
		frame.writeBigUInt64BE(BigInt(offset), 0);
		frame.writeUInt32BE(crc, 8);
		payload.copy(frame, 12);
		this.socket.send(frame);
	}

	/** The next message; an `error` of the server is thrown, as is the end of the connection. */
	async next(limitMs = 30_000) {
		const end = Date.now() + limitMs;
		while (this.messages.length === 0) {
			if (this.ended) throw this.ended;
			const left = end - Date.now();
			if (left <= 0) throw new Error(`no message of the server within ${limitMs / 1000} s`);
			const timer = new AbortController();
			const woken = new Promise((resolve) => (this.wake = resolve));
			await Promise.race([woken, delay(left, null, { signal: timer.signal }).catch(() => {})]);
			timer.abort();
		}
		const message = this.messages.shift();
		if (message.type === "error") throw new StreamError(message);
		return message;
	}

	/** The next message of a type; others before it are dropped. */
	async nextOf(type, limitMs) {
		for (;;) {
			const message = await this.next(limitMs);
			if (message.type === type) return message;
		}
	}

	/** Ends the TCP connection at once, without any goodbye. */
	cut() {
		this.socket.terminate();
	}

	close() {
		this.socket.close(1000);
	}
}

/** A take that is being sent: its bytes, and how far the server is known to have them. */
class Take {
	constructor(options) {
		Object.assign(
			this,
			{ chunkBytes: 16 * 1024, cuts: [], mime: "video/webm", progress: async () => {}, waitFor: "saved" },
			options,
		);
		this.id ??= randomUUID();
		this.cuts = [...this.cuts];
		this.acked = 0;
		this.connections = 0;
		this.resumed = [];
		this.startedAt = new Date().toISOString();
	}

	absorb(message) {
		if (message.type === "ack") this.acked = Math.max(this.acked, message.offset);
		else if (message.type === "saved" && message.recovered && message.bytes < this.bytes.length) this.replace(message);
		else if (message.type === "saved") this.saved = true;
		else if (message.type === "copied") this.saved = this.copied = true;
	}

	/** What arrived was saved without the rest: all of it is sent again, as a new take. */
	replace({ recording }) {
		Object.assign(this, { id: randomUUID(), replaces: recording, acked: 0 });
		throw new ConnectionLost("the take was saved as recovered");
	}

	drain(connection) {
		while (connection.messages.length > 0 && connection.messages[0].type !== "error")
			this.absorb(connection.messages.shift());
		if (connection.messages.length > 0) throw new StreamError(connection.messages.shift());
		if (connection.ended) throw connection.ended;
	}

	/** Sends from where the server stands to the end, over one connection. */
	async attempt() {
		const url = typeof this.url === "function" ? this.url() : this.url;
		const connection = new StreamConnection({ ...this, url });
		this.connections++;
		try {
			await connection.opened;
			connection.send({ type: "token", token: this.token });
			connection.send({
				type: "start",
				take: this.id,
				mime: this.mime,
				source: "camera",
				started_at: this.startedAt,
				acked: this.acked,
				replaces: this.replaces,
			});
			const ready = await connection.nextOf("ready");
			this.recording = ready.recording;
			this.resumed.push(ready.offset);
			if (ready.offset < this.acked && !this.goesBack)
				throw new Error(`byte ${ready.offset} is wanted again, ${this.acked} were acknowledged`);
			this.acked = ready.offset;
			if (ready.finished) this.absorb(await connection.nextOf("saved"));
			await this.sendFrom(connection, ready.offset);
			connection.send({
				type: "stop",
				bytes: this.bytes.length,
				crc32: crc32(this.bytes).toString(16).padStart(8, "0"),
				duration_ms: this.durationMs ?? 5000,
			});
			connection.send({ type: "send" });
			while (!this[this.waitFor]) this.absorb(await connection.next(60_000));
			connection.close();
		} finally {
			if (!this[this.waitFor]) connection.cut();
		}
	}

	async sendFrom(connection, offset) {
		while (offset < this.bytes.length) {
			await this.progress({ offset, total: this.bytes.length, recording: this.recording });
			if (this.cuts.length > 0 && offset >= this.cuts[0]) {
				const cut = this.cuts.shift();
				while (this.acked < cut - UNACKNOWLEDGED_BYTES) this.absorb(await connection.next());
				connection.cut();
				throw new ConnectionLost("cut by this client");
			}
			this.drain(connection);
			while (offset - this.acked > WINDOW_BYTES) this.absorb(await connection.next());
			const payload = this.bytes.subarray(offset, offset + this.chunkBytes);
			connection.sendBytes(offset, payload);
			offset += payload.length;
		}
	}
}

/**
 * Sends `bytes` as one recording and waits until the server says `waitFor` ("saved" or "copied").
 * `url`: of the node, or a function that names one for each connection. `goesBack`: the node that holds acknowledged bytes may be
 * silent, so that they are wanted again.
 * `id`: UUID of the take, to go on with one that was begun before. `cuts`: offsets at which the client, once what came long
 * before them is acknowledged, ends its own connection and resumes. `progress` is awaited before each piece.
 * A lost connection is made again until `limitMs`. Resolves to {recording, connections, resumed}: `resumed` holds the
 * offset of each `ready`.
 */
export async function sendRecording(options) {
	const take = new Take(options);
	const end = Date.now() + (options.limitMs ?? 120_000);
	for (;;) {
		try {
			await take.attempt();
			return { recording: take.recording, connections: take.connections, resumed: take.resumed };
		} catch (error) {
			const again = error instanceof ConnectionLost || (error instanceof StreamError && error.retry);
			if (!again || Date.now() > end) throw error;
			await delay(RECONNECT_MS);
		}
	}
}
