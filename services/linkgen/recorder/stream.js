/* Sends one take (rushes.stream.v1) and follows it until two machines hold it. A new line goes on at the offset that
 * the server names. */
import * as store from "./store.js";
import { crc32 } from "./crc32.js";

const PIECE_BYTES = 256 * 1024;
const WINDOW_BYTES = 4 * 1024 * 1024; /* sent and not confirmed */
const STALL_MS = 10000;
const COPY_MS = 60000; /* the second copy may wait its turn */
const BACKOFF_MS = [300, 1000, 2000, 4000, 8000, 15000];

export class Stream {
	/** `link(fresh)` resolves to {token, ingest_url}; `report(event, code)` hears: line, ack, saved, copied, discarded,
	 * failed. */
	constructor(take, link, report) {
		Object.assign(this, { take, link, report, acked: 0, sent: 0, failures: 0, ready: false, online: true });
		this.watch = setInterval(() => this.check(), 500);
		this.connect();
	}

	close() {
		this.over = true;
		this.drop();
		clearInterval(this.watch);
	}

	say(message) {
		this.socket.send(JSON.stringify(message));
	}

	drop() {
		const socket = this.socket;
		this.socket = null;
		this.ready = false;
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close();
	}

	lost() {
		this.drop();
		this.report("line");
		const delay = BACKOFF_MS[Math.min(this.failures++, BACKOFF_MS.length - 1)];
		this.next = Date.now() + delay * (0.7 + 0.6 * Math.random());
	}

	fail(code) {
		this.close();
		this.report("failed", code);
	}

	async connect() {
		this.next = Infinity;
		let target;
		try {
			target = await this.link(this.fresh);
			this.fresh = false;
		} catch (error) {
			return error.final ? this.fail(error.code) : this.lost();
		}
		if (this.over) return;
		this.moved = Date.now();
		const socket = new WebSocket(target.ingest_url + "/v1/stream", ["rushes.stream.v1"]);
		socket.binaryType = "arraybuffer";
		socket.onopen = () => {
			const { id, as, mime, source, name, replaces } = this.take;
			this.say({ type: "token", token: target.token });
			this.say({ type: "start", take: as ?? id, mime, source, file_name: name, replaces, acked: this.confirmed });
		};
		socket.onmessage = ({ data }) => this.heard(JSON.parse(data));
		socket.onclose = () => this.lost();
		this.socket = socket;
	}

	heard(message) {
		this.moved = Date.now();
		switch (message.type) {
		case "ready":
			this.acked = this.sent = message.offset;
			if (message.finished) return;
			this.ready = true;
			this.recording = message.recording;
			this.stopped = this.told = this.paused = false;
			this.failures = 0;
			this.report("line");
			return this.pump();
		case "ack":
			this.acked = this.confirmed = Math.max(this.acked, message.offset);
			this.report("ack");
			return this.pump();
		case "saved":
			if (message.recovered && (message.bytes < this.take.bytes || !this.take.ended)) return this.replace(message);
			this.saved = true;
			this.acked = this.take.bytes;
			return this.report("saved");
		case "copied":
		case "discarded":
			this.close();
			return this.report(message.type);
		case "error":
			return this.refused(message);
		}
	}

	/* The page was away for so long that what had arrived was saved without the rest: all of it is sent again. */
	async replace({ recording }) {
		this.drop();
		Object.assign(this.take, { as: crypto.randomUUID(), replaces: recording });
		this.confirmed = undefined;
		try {
			await store.saveTake(this.take);
		} catch {
			return this.fail("storage");
		}
		if (!this.over) this.connect();
	}

	refused({ code, retry }) {
		/* A token ends before a session does: one fresh token may mend it. */
		if (code.startsWith("token-") && !this.renewed) this.fresh = this.renewed = retry = true;
		if (retry) this.lost();
		else this.fail(code);
	}

	check() {
		const { take, socket, online } = this;
		const now = Date.now();
		this.online = navigator.onLine;
		if (this.online && !online && this.next < Infinity) this.next = 0;
		if (!socket) return now > this.next && this.connect();
		const owed = this.sent - this.acked;
		const idle = this.ready && !owed && !(take.ended && this.told);
		if (idle) this.moved = now;
		else if (now - this.moved > (this.saved ? COPY_MS : STALL_MS)) this.lost();
	}

	/** The take changed: more bytes, a pause, its end, or a wish. */
	async pump() {
		this.again = true;
		if (this.pumping) return;
		this.pumping = true;
		try {
			while (this.again) {
				this.again = false;
				while (await this.step());
			}
		} catch {
			this.fail("storage");
		}
		this.pumping = false;
	}

	/* One piece or one word; false when there is nothing to do now. */
	async step() {
		const { take } = this;
		if (!this.ready) return false;
		if (take.wish === "abort") return this.tell("abort");
		if (this.sent < take.bytes) return this.sent - this.acked < WINDOW_BYTES && this.piece();
		if (take.paused !== this.paused) {
			this.paused = take.paused;
			if (take.paused) this.say({ type: "pause" });
		}
		if (take.ended && !this.stopped) {
			this.stopped = true;
			const crc = take.crc.toString(16).padStart(8, "0");
			this.say({ type: "stop", bytes: take.bytes, crc32: crc, duration_ms: Math.round(take.ms) });
		}
		return take.ended && take.wish === "send" && this.tell("send");
	}

	tell(wish) {
		if (!this.told) this.say({ type: wish });
		this.told = wish;
		return false;
	}

	async piece() {
		const { socket, sent } = this;
		const payload = await store.read(this.take, sent, PIECE_BYTES);
		/* The line may be another one by now. */
		if (!this.ready || socket !== this.socket || sent !== this.sent) return true;
		const frame = new Uint8Array(12 + payload.length);
		const head = new DataView(frame.buffer);
		head.setBigUint64(0, BigInt(sent));
		head.setUint32(8, crc32(payload));
		frame.set(payload, 12);
		socket.send(frame);
		this.sent += payload.length;
		return true;
	}
}
