/* CRC-32 as in zlib and IEEE 802.3. */
const TABLE = new Uint32Array(256).map((_, n) => {
	for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
	return n;
});

/** CRC-32 of `bytes`, going on from an earlier one. */
export function crc32(bytes, before = 0) {
	let c = ~before;
	for (let i = 0; i < bytes.length; i++) c = TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
	return ~c >>> 0;
}
