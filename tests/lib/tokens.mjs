// Session tokens made here, not by linkgen: PASETO v4.public by Node's Ed25519, for tokens that linkgen would never make.
import { createPrivateKey, sign } from "node:crypto";
import fs from "node:fs";

const HEADER = "v4.public.";
const IMPLICIT = "rushes.session.v1";
// RFC 8410: an Ed25519 private key in PKCS #8 is this prefix and the seed
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** PASETO's pre-authentication encoding: count and lengths as little-endian 64-bit numbers. */
function encode(pieces) {
	const length = (n) => {
		const bytes = Buffer.alloc(8);
		bytes.writeBigUInt64LE(BigInt(n));
		return bytes;
	};
	return Buffer.concat([length(pieces.length), ...pieces.flatMap((piece) => [length(piece.length), piece])]);
}

/** Id and seed of the current key in a key file. */
export function readKey(file) {
	const [id, hex] = fs.readFileSync(file, "utf8").split("\n")[0].split(" ");
	return { id, seed: Buffer.from(hex, "hex") };
}

/** The claims of a token, unchecked. */
export function claimsOf(token) {
	const body = Buffer.from(token.split(".")[2], "base64url");
	return JSON.parse(body.subarray(0, body.length - 64).toString("utf8"));
}

/** A token with these claims, signed by this key. */
export function makeToken(claims, { id, seed }) {
	const payload = Buffer.from(JSON.stringify(claims));
	const footer = Buffer.from(JSON.stringify({ kid: id }));
	const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
	const signature = sign(null, encode([Buffer.from(HEADER), payload, footer, Buffer.from(IMPLICIT)]), key);
	return `${HEADER}${Buffer.concat([payload, signature]).toString("base64url")}.${footer.toString("base64url")}`;
}
