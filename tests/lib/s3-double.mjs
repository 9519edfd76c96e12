// A small S3 server for what a real gateway does not do: it recomputes every checksum, refuses what is not signed, and
// misbehaves by the name of the bucket. Its verification of signatures is written from the reference, not from our client.
import { createHash, createHmac } from "node:crypto";
import http from "node:http";

const sha256 = (data) => createHash("sha256").update(data).digest();
const md5 = (data) => createHash("md5").update(data).digest();
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();

const xmlError = (code, more = "") => `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code>${more}</Error>`;

/** Throws a text when the request is not signed as Signature Version 4 demands, or its body is another. */
function verify(request, body, { accessKey, secretKey }) {
	const { headers, method, url } = request;
	const fields = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
		headers.authorization ?? "");
	if (!fields) throw new Error("no authorization");
	const [, key, day, region, names, signature] = fields;
	if (key !== accessKey) throw new Error("another key");
	const signed = names.split(";");
	for (const name of Object.keys(headers)) {
		if ((name === "host" || name.startsWith("x-amz-") || name === "content-md5") && !signed.includes(name)) throw new Error(`${name} is not signed`);
	}
	if (signed.join() !== [...signed].sort().join()) throw new Error("signed headers out of order");
	const [rawPath, query = ""] = url.split("?");
	const strict = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
	const path = rawPath.split("/").map((part) => strict(decodeURIComponent(part))).join("/");
	if (path !== rawPath) throw new Error("the path is not canonical");
	const pairs = query === "" ? [] : query.split("&").map((pair) => pair.split("=").map((text) => strict(decodeURIComponent(text ?? ""))));
	pairs.sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0));
	const canonical = [
		method,
		path,
		pairs.map(([name, value]) => `${name}=${value ?? ""}`).join("&"),
		...signed.map((name) => `${name}:${headers[name].trim().replace(/ +/g, " ")}`),
		"",
		names,
		headers["x-amz-content-sha256"],
	].join("\n");
	const scope = `${day}/${region}/s3/aws4_request`;
	const text = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, sha256(canonical).toString("hex")].join("\n");
	const secret = ["s3", "aws4_request"].reduce(hmac, hmac(hmac(`AWS4${secretKey}`, day), region));
	if (hmac(secret, text).toString("hex") !== signature) throw new Error("SignatureDoesNotMatch");
	if (sha256(body).toString("hex") !== headers["x-amz-content-sha256"]) throw new Error("another body than was signed");
	if (headers["content-md5"] && md5(body).toString("base64") !== headers["content-md5"]) throw new Error("BadDigest");
	if (headers["x-amz-checksum-sha256"] && sha256(body).toString("base64") !== headers["x-amz-checksum-sha256"]) throw new Error("wrong checksum");
}

class Bucket {
	constructor(name) {
		Object.assign(this, { name, objects: new Map(), uploads: new Map(), seen: new Map() });
	}

	/** How often this very request was made, this time included. */
	times(request) {
		const what = `${request.method} ${request.url}`;
		this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
		return this.seen.get(what);
	}
}

/** What goes wrong before the request is looked at. Returns true when it was answered. */
function misbehave(bucket, request, response) {
	const answer = (status, body, headers = {}) => {
		response.writeHead(status, { "content-type": "application/xml", ...headers }).end(body);
		return true;
	};
	const times = bucket.times(request);
	switch (bucket.name) {
		case "busy":
			return times < 3 && answer(503, xmlError("SlowDown"));
		case "hang-up":
			return times < 3 && (request.socket.destroy(), true);
		case "redirect":
			return answer(301, xmlError("PermanentRedirect", "<Endpoint>takes.s3.eu-west-3.amazonaws.com</Endpoint>"), {
				location: "http://127.0.0.1:1/", "x-amz-bucket-region": "eu-west-3",
			});
		case "temporary-redirect":
			return answer(307, "", { location: "http://127.0.0.1:1/" });
		case "gateway-page":
			return answer(502, "<html><head><title>502</title></head><body>bad gateway<br></body></html>");
		case "huge-error":
			return answer(400, "x".repeat(2 * 1024 * 1024));
		case "bomb":
			return answer(500, `<!DOCTYPE e [<!ENTITY a "${"a".repeat(1000)}"><!ENTITY b "${"&a;".repeat(1000)}">]><Error><Code>&b;</Code></Error>`);
		case "no-message":
			return answer(403, xmlError("AccessDenied"));
		case "bare-404":
			return answer(404, "not found");
		case "endless-list":
			return request.method === "GET" && answer(200,
				"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker></ListVersionsResult>");
		case "keeps-it":
			if (request.method === "DELETE") return answer(204, "");
			return request.method === "GET" && answer(200, request.url.includes("uploads=") ? "<ListMultipartUploadsResult/>" :
				"<ListVersionsResult><Version><Key>k</Key><VersionId>null</VersionId></Version></ListVersionsResult>");
		case "quicker":
			// somebody else puts the first two batches between the client's look and its own write
			if (request.method === "PUT" && times === 1) {
				const key = decodeURIComponent(request.url.split("?")[0].split("/").slice(2).join("/"));
				store(bucket, key, { body: Buffer.from(key.endsWith("1.ledger") ? "theirs\n" : "same\n"), etag: "0".repeat(32) });
			}
			return false;
		case "plain":
			return /[?&](uploads|versions)=/.test(request.url) && answer(501, xmlError("NotImplemented"));
		default:
			return false;
	}
}

function store(bucket, key, object) {
	bucket.objects.set(key, object);
}

function headersOf(object, wanted) {
	return {
		etag: `"${object.etag}"`,
		...(object.encryption ? { "x-amz-server-side-encryption": object.encryption } : {}),
		...(wanted && object.checksum ? { "x-amz-checksum-sha256": object.checksum } : {}),
	};
}

function putObject(bucket, key, request, body, response) {
	const object = {
		body, etag: md5(body).toString("hex"), checksum: request.headers["x-amz-checksum-sha256"],
		encryption: request.headers["x-amz-server-side-encryption"],
	};
	if (bucket.name === "wrong-etag") object.etag = "0".repeat(32);
	store(bucket, key, object);
	response.writeHead(200, headersOf(object, true)).end();
}

function complete(bucket, key, query, body, request, response) {
	const upload = bucket.uploads.get(query.get("uploadId"));
	if (!upload) return response.writeHead(404).end(xmlError("NoSuchUpload"));
	if (bucket.name === "late-error" && bucket.times({ method: "late", url: request.url }) < 3) return response.writeHead(200).end(xmlError("InternalError"));
	const listed = [...body.toString().matchAll(/<Part><PartNumber>(\d+)<\/PartNumber><ETag>&quot;([0-9a-f]+)&quot;<\/ETag>(?:<ChecksumSHA256>([^<]+)<\/ChecksumSHA256>)?<\/Part>/g)];
	const parts = listed.map(([, number, etag, checksum], i) => {
		const part = upload.parts.get(Number(number));
		if (Number(number) !== i + 1 || !part || part.etag !== etag || (checksum && part.checksum !== checksum)) throw new Error("InvalidPart");
		if (i + 1 < listed.length && part.body.length < 5 * 1024 * 1024) throw new Error("EntityTooSmall");
		return part;
	});
	if (parts.length === 0 || parts.length !== upload.parts.size) throw new Error("InvalidPart");
	store(bucket, key, {
		body: Buffer.concat(parts.map((part) => part.body)),
		etag: `${md5(Buffer.concat(parts.map((part) => md5(part.body)))).toString("hex")}-${parts.length}`,
		checksum: `${sha256(Buffer.concat(parts.map((part) => sha256(part.body)))).toString("base64")}-${parts.length}`,
		encryption: upload.encryption,
	});
	bucket.uploads.delete(query.get("uploadId"));
	if (bucket.name === "lost-complete") return request.socket.destroy();
	return response.writeHead(200).end("<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>");
}

function list(bucket, query, response) {
	const max = Math.min(Number(query.get("max-keys") ?? 1000), 3);
	const keys = [...bucket.objects.keys()].sort()
		.filter((name) => name.startsWith(query.get("prefix") ?? "") && name > (query.get("start-after") ?? ""));
	const page = keys.slice(0, max).map((name) => `<Contents><Key>${name}</Key><Size>1</Size></Contents>`).join("");
	response.writeHead(200).end(`<ListBucketResult><IsTruncated>${keys.length > max}</IsTruncated>${page}</ListBucketResult>`);
}

function answer(bucket, key, query, request, body, response) {
	const { method } = request;
	const object = bucket.objects.get(key);
	if (method === "GET" && query.get("list-type") === "2") return list(bucket, query, response);
	if (method === "POST" && query.has("uploads")) {
		const id = `upload-${bucket.uploads.size + 1}/+=`;
		bucket.uploads.set(id, { parts: new Map(), encryption: request.headers["x-amz-server-side-encryption"] });
		return response.writeHead(200).end(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
	}
	if (method === "PUT" && query.has("uploadId")) {
		const part = { body, etag: md5(body).toString("hex"), checksum: request.headers["x-amz-checksum-sha256"] };
		const upload = bucket.uploads.get(query.get("uploadId"));
		if (!upload) return response.writeHead(404).end(xmlError("NoSuchUpload"));
		upload.parts.set(Number(query.get("partNumber")), part);
		return response.writeHead(200, { etag: `"${part.etag}"` }).end();
	}
	if (method === "PUT" && request.headers["if-none-match"] === "*" && object) return response.writeHead(412).end(xmlError("PreconditionFailed"));
	if (method === "PUT") return putObject(bucket, key, request, body, response);
	if (method === "POST" && query.has("uploadId")) return complete(bucket, key, query, body, request, response);
	if (method === "DELETE") {
		if (query.has("uploadId")) bucket.uploads.delete(query.get("uploadId"));
		else bucket.objects.delete(key);
		return response.writeHead(204).end();
	}
	if (method === "GET" && query.has("uploadId")) return response.writeHead(404).end(xmlError("NoSuchUpload"));
	if (!object) return response.writeHead(404).end(method === "HEAD" ? undefined : xmlError("NoSuchKey"));
	response.writeHead(200, { "content-length": object.body.length, ...headersOf(object, request.headers["x-amz-checksum-mode"] === "ENABLED") });
	return response.end(method === "HEAD" ? undefined : object.body);
}

/** Starts the double on a free loopback port. Resolves to {endpoint, refusals, close}. */
export async function startS3Double(credentials) {
	const buckets = new Map();
	const refusals = [];
	const server = http.createServer(async (request, response) => {
		const pieces = [];
		try {
			for await (const piece of request) pieces.push(piece);
		} catch {
			return; // the client left
		}
		const body = Buffer.concat(pieces);
		const url = new URL(request.url, "http://double");
		const [, name, ...rest] = url.pathname.split("/");
		const key = decodeURIComponent(rest.join("/"));
		if (!buckets.has(name)) buckets.set(name, new Bucket(name));
		const bucket = buckets.get(name);
		try {
			verify(request, body, credentials);
			if (!misbehave(bucket, request, response)) answer(bucket, key, url.searchParams, request, body, response);
		} catch (error) {
			refusals.push(`${request.method} ${request.url}: ${error.message}`);
			response.writeHead(400).end(xmlError("InvalidRequest", `<Message>${error.message}</Message>`));
		}
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	return {
		endpoint: `http://127.0.0.1:${server.address().port}`,
		refusals,
		/** The object's bytes, or null; `change` replaces them. */
		object(name, key, change) {
			const object = buckets.get(name)?.objects.get(key);
			if (object && change) object.body = Buffer.from(change);
			return object?.body ?? null;
		},
		close: () => {
			server.closeAllConnections();
			return new Promise((resolve) => server.close(resolve));
		},
	};
}
