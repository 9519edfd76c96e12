// Uploads to ingest by hand, header by header: what the protocol's pages promise, without a client that smooths it over.
import { createHash } from "node:crypto";
import https from "node:https";
import { makeLink, openSession, request } from "../../scripts/lib/journey.mjs";

export const VERSION = "1.0.0";
export const BYTES = "application/offset+octet-stream";

/** A token of a fresh session. */
export const sessionToken = async (stack, account) => (await openSession(stack, await makeLink(stack, account))).token;

/** `{upload-metadata}`'s value of an object of texts. */
export const metadata = (texts) =>
	Object.entries(texts)
		.map(([key, value]) => `${key} ${Buffer.from(value).toString("base64")}`)
		.join(",");

/** `algorithm digest` of some bytes, as Upload-Checksum wants it. */
export const checksum = (bytes, algorithm = "sha1") => `${algorithm} ${createHash(algorithm).update(bytes).digest("base64")}`;

const OPERATIONS = {
	OPTIONS: "getUploadAbilities", POST: "createUpload", HEAD: "getUploadOffset", PATCH: "appendToUpload", DELETE: "discardUpload",
};

/** The requests of one session; every answer is held against proto/openapi.yaml by `api` (schemas.mjs). */
export class Uploads {
	constructor(stack, token, api, node = "ingest") {
		Object.assign(this, { stack, token, api, origin: `https://localhost:${stack.ports[node]}` });
	}

	async send(method, path, headers = {}, body) {
		const all = { authorization: `Bearer ${this.token}`, "tus-resumable": VERSION, ...headers };
		for (const name in all) if (all[name] === undefined) delete all[name];
		const answer = await request(this.stack, { url: this.origin + path, method, headers: all, body });
		if (!headers["x-http-method-override"] && OPERATIONS[method] && answer.status !== 405) this.api.check(OPERATIONS[method], answer);
		return answer;
	}

	/** Makes an upload; resolves to the answer, with the upload's path as `path`. */
	async create(length, headers = {}, body) {
		const answer = await this.send("POST", "/v1/tus", { "upload-length": length, ...headers }, body);
		return { ...answer, path: answer.headers.location };
	}

	head(path, headers) {
		return this.send("HEAD", path, headers);
	}

	patch(path, offset, body, headers = {}) {
		return this.send("PATCH", path, { "content-type": BYTES, "upload-offset": offset, ...headers }, body);
	}

	/** Offset as HEAD tells it. */
	async offset(path) {
		const { status, headers } = await this.head(path);
		if (status !== 200) throw new Error(`HEAD ${path} answered ${status}`);
		return Number(headers["upload-offset"]);
	}

	/**
	 * A PATCH whose body does not end by itself: {write(bytes), end(), cut(), answer}. `answer` resolves to the answer, or to
	 * null when the line was lost.
	 */
	open(path, offset, headers = {}) {
		const outgoing = https.request(this.origin + path, {
			method: "PATCH",
			ca: this.stack.ca,
			agent: false,
			headers: {
				authorization: `Bearer ${this.token}`,
				"tus-resumable": VERSION,
				"content-type": BYTES,
				"upload-offset": offset,
				...headers,
			},
		});
		const answer = new Promise((resolve) => {
			outgoing.on("response", (response) => {
				response.resume();
				response.on("error", () => {});
				resolve({ status: response.statusCode, headers: response.headers });
			});
			outgoing.on("error", () => resolve(null));
		});
		outgoing.flushHeaders();
		return {
			answer,
			write: (bytes) => outgoing.write(bytes),
			end: (bytes) => outgoing.end(bytes),
			cut: () => outgoing.destroy(),
		};
	}
}
