// Bytes over TLS as they are, for what no well-behaved client would send.
import { randomBytes } from "node:crypto";
import tls from "node:tls";

/**
 * Connects to a loopback port, sends `bytes`, and resolves to everything the server answered once it closed, or once
 * `until(answer)` holds. Fails when neither comes within the limit.
 */
export function exchange(stack, port, bytes, { until = () => false, limitMs = 15_000 } = {}) {
	return new Promise((resolve, reject) => {
		let answer = Buffer.alloc(0);
		const socket = tls.connect({ host: "127.0.0.1", port, servername: "localhost", ca: stack.ca }, () =>
			socket.write(bytes),
		);
		const done = () => {
			clearTimeout(timer);
			socket.destroy();
			resolve(answer);
		};
		const timer = setTimeout(() => {
			socket.destroy();
			reject(
				new Error(
					`the server neither closed nor answered within ${limitMs} ms: ${answer.toString("latin1").slice(0, 200)}`,
				),
			);
		}, limitMs);
		socket.on("data", (data) => {
			answer = Buffer.concat([answer, data]);
			if (until(answer)) done();
		});
		socket.on("close", done);
		socket.on("error", () => {
			// a reset is a way of closing; what came before it counts
		});
	});
}

/** The status of the first HTTP answer in some bytes; 0 when there is none. */
export function statusOf(answer) {
	const match = /^HTTP\/1\.1 (\d{3}) /.exec(answer.toString("latin1"));
	return match ? Number(match[1]) : 0;
}

/** A WebSocket handshake's request head. */
export function upgradeHead(path = "/v1/stream") {
	return (
		`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
		`Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n` +
		"Sec-WebSocket-Protocol: rushes.stream.v1\r\n\r\n"
	);
}

/** One WebSocket frame; by default a client's: final and masked. */
export function frame({
	opcode,
	payload = Buffer.alloc(0),
	final = true,
	masked = true,
	reserved = 0,
	claim = payload.length,
}) {
	const head = [(final ? 0x80 : 0) | (reserved << 4) | opcode];
	const mask = masked ? 0x80 : 0;
	if (claim < 126) head.push(mask | claim);
	else if (claim < 65536) head.push(mask | 126, claim >> 8, claim & 0xff);
	else {
		const length = Buffer.alloc(8);
		length.writeBigUInt64BE(BigInt(claim));
		head.push(mask | 127, ...length);
	}
	const key = masked ? randomBytes(4) : Buffer.alloc(0);
	const body = masked ? Buffer.from(payload.map((byte, i) => byte ^ key[i % 4])) : payload;
	return Buffer.concat([Buffer.from(head), key, body]);
}

/** The code of the close frame at the end of a server's bytes, or 0. Server frames are not masked. */
export function closeCodeOf(answer) {
	const head = answer.indexOf("\r\n\r\n");
	for (let at = head + 4; head >= 0 && at + 2 <= answer.length;) {
		const opcode = answer[at] & 0x0f;
		let length = answer[at + 1] & 0x7f;
		let body = at + 2;
		if (length === 126) {
			length = answer.readUInt16BE(at + 2);
			body = at + 4;
		} else if (length === 127) {
			length = Number(answer.readBigUInt64BE(at + 2));
			body = at + 10;
		}
		if (opcode === 8) return length >= 2 ? answer.readUInt16BE(body) : 1005;
		at = body + length;
	}
	return 0;
}
