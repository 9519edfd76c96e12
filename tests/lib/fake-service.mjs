// A stand-in for linkgen and ingest that speaks the page's side of their protocols and misbehaves on demand: for tests
// of what the recorder page does when lines break, servers forget and links end.
import { createServer } from "node:http";
import { readFileSync, readdirSync } from "node:fs";
import { randomBytes, randomUUID } from "node:crypto";
import { crc32 } from "../../scripts/lib/crc32.mjs";
import { WebSocketServer } from "ws";

const RECORDER = new URL("../../services/linkgen/recorder/", import.meta.url);
const TYPES = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", html: "text/html; charset=utf-8" };
const SLOT_BYTES = 65536;

export const REQUEST = {
	account: { name: "Northwind Support" },
	requester: {
		agent: "Anna Marsh",
		subject: "Hello Jonas,\nplease show us what happens when you press “Save” on the invoice page.",
		ticket: "#48213",
	},
	expires_at: "2031-12-04T12:00:00Z",
	limits: { seconds: 1800, bytes: 2e9 },
	consent: {
		text: "Northwind Support will receive what you record here: the picture and sound that you choose, the time, and technical facts about your browser. It is used to answer your request and deleted when it is no longer needed. You may stop at any time, watch it first, and ask for its deletion later.",
	},
};

/** Starts on a free port. `behaviour` may be changed at any time:
 *  refusal: {status, code} for the link; refuseStream: true closes sockets at once; forget: n, `ready` goes back by n bytes;
 *  streamError: {code, retry} answers a start; silent: true neither acknowledges nor answers; copied: false withholds the last word. */
export async function startFake(behaviour = {}) {
	const takes = new Map();
	const sessions = [];
	const problems = [];
	const server = createServer((request, response) => {
		const send = (status, body, type = "application/json") => {
			response.writeHead(status, {
				"content-type": type,
				"cache-control": "no-store",
				"content-security-policy": `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; connect-src 'self' ws://127.0.0.1:${server.address().port}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'`,
			});
			response.end(type === "application/json" ? JSON.stringify(body) : body);
		};
		const path = request.url.split("/");
		if (path[1] === "assets" && readdirSync(RECORDER).includes(path[3])) {
			const name = path[3];
			return send(200, readFileSync(new URL(name, RECORDER)), TYPES[name.split(".").pop()]);
		}
		const sent = [...takes.values()].find((one) => one.recording === path[3]);
		if (path[1] === "v1" && sent && request.headers.authorization === "Bearer v4.public.test") return send(200, sent.bytes, sent.mime);
		if (path[1] !== "r") return send(404, {});
		if (!path[3]) return send(behaviour.refusal?.status ?? 200, readFileSync(new URL("index.html", RECORDER), "utf8").replaceAll("{{version}}", "test"), TYPES.html);
		if (path[3] === "request") return behaviour.refusal ? send(behaviour.refusal.status, behaviour.refusal) : send(200, REQUEST);
		let body = "";
		request.on("data", (data) => (body += data));
		request.on("end", () => {
			const asked = JSON.parse(body);
			const resumed = sessions.find((one) => one.resume === asked.resume);
			if (!resumed && behaviour.refusal) return send(behaviour.refusal.status, behaviour.refusal);
			const one = resumed ?? { session: randomUUID(), resume: randomBytes(16).toString("hex"), consent: asked.consent };
			if (!resumed) sessions.push(one);
			const { port } = server.address();
			send(resumed ? 200 : 201, { ...one, token: "v4.public.test", token_expires_at: "2031-01-01T00:00:00Z", ingest_url: `ws://127.0.0.1:${port}`, limits: REQUEST.limits });
		});
	});
	const sockets = new WebSocketServer({ server, path: "/v1/stream", handleProtocols: () => "rushes.stream.v1" });
	sockets.on("connection", (socket) => {
		if (behaviour.refuseStream) return socket.terminate();
		let take;
		const say = (message) => behaviour.silent || socket.send(JSON.stringify(message));
		const flush = (all) => {
			const to = all ? take.bytes.length : take.bytes.length - (take.bytes.length % SLOT_BYTES);
			if (to > take.acked) say({ type: "ack", offset: (take.acked = to) });
		};
		const words = {
			token: () => {},
			start: (message) => {
				if (!takes.has(message.take)) takes.set(message.take, { ...message, recording: randomUUID(), bytes: Buffer.alloc(0), acked: 0, words: [], starts: 0 });
				take = takes.get(message.take);
				if (behaviour.streamError) return say({ type: "error", ...behaviour.streamError });
				take.starts++;
				if (take.recovered) {
					say({ type: "ready", recording: take.recording, offset: take.acked, finished: true });
					return say({ type: "saved", recording: take.recording, bytes: take.acked, recovered: true });
				}
				const keep = Math.max(0, take.acked - (behaviour.forget ?? 0));
				behaviour.forget = 0;
				take.bytes = take.bytes.subarray(0, keep);
				take.acked = keep;
				say({ type: "ready", recording: take.recording, offset: keep });
			},
			pause: () => flush(true),
			stop: (message) => {
				take.stop = message;
				if (take.bytes.length !== message.bytes) problems.push(`stop names ${message.bytes} bytes, ${take.bytes.length} arrived`);
				if (crc32(take.bytes).toString(16).padStart(8, "0") !== message.crc32) problems.push("the CRC-32 of the take differs");
				flush(true);
			},
			send: () => {
				say({ type: "saved", recording: take.recording });
				if (behaviour.copied !== false) setTimeout(() => say({ type: "copied" }), behaviour.copiedAfter ?? 300);
			},
			abort: () => {
				take.aborted = true;
				say({ type: "discarded" });
			},
		};
		socket.on("message", (data, binary) => {
			if (behaviour.silent) return;
			if (!binary) {
				const message = JSON.parse(data);
				take?.words.push(message.type);
				return words[message.type](message);
			}
			const offset = Number(data.readBigUInt64BE(0));
			const payload = data.subarray(12);
			if (payload.length > 256 * 1024) problems.push("a frame over 256 KiB");
			if (data.readUInt32BE(8) !== crc32(payload)) problems.push("a wrong CRC-32");
			if (offset > take.bytes.length) problems.push(`a gap at ${offset}`);
			if (offset === take.bytes.length) take.bytes = Buffer.concat([take.bytes, payload]);
			flush(false);
		});
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	const { port } = server.address();
	return {
		url: `http://127.0.0.1:${port}`,
		behaviour,
		takes,
		sessions,
		problems,
		cut: () => sockets.clients.forEach((socket) => socket.terminate()),
		stop: () => new Promise((resolve) => {
			sockets.clients.forEach((socket) => socket.terminate());
			server.close(resolve);
			server.closeAllConnections();
		}),
	};
}
