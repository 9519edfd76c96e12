// Chance that can be repeated: the same seed gives the same numbers and the same bytes.
import { createCipheriv, createHash } from "node:crypto";

/** mulberry32: a function that gives numbers in [0, 1). */
export function generator(seed) {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}

/** `length` bytes that belong to this name and seed: nothing has to be kept to compare with them later. */
export function bytesOf(seed, name, length) {
	const key = createHash("sha256").update(`${seed}/${name}`).digest();
	return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}
