// CRC-32 (IEEE 802.3, as zlib's), for Node versions whose zlib does not offer it.
const TABLE = new Uint32Array(256).map((_, n) => {
	for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
	return n >>> 0;
});

/** CRC-32 of `data`, going on from an earlier run's value. */
export function crc32(data, earlier = 0) {
	let crc = ~earlier;
	// by index: an iterator costs six times as much
	for (let i = 0; i < data.length; i++) crc = TABLE[(crc ^ data[i]) & 0xff] ^ (crc >>> 8);
	return ~crc >>> 0;
}
