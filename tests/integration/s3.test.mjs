// Our S3 client against Ceph's gateway and a double; what it stored is read again by curl, which signs with its own code.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { makeCertificates } from "../../scripts/lib/certificates.mjs";
import { Radosgw } from "../../scripts/lib/radosgw.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { startS3Double } from "../lib/s3-double.mjs";

const run = promisify(execFile);
const dir = path.join(ROOT, "var/test/s3");

describe("the S3 client", () => {
	let certificates, gateway, double, output;

	/** A request by curl's own signer. */
	const curl = (route, ...options) => run("curl", [
		"-sS", "--fail", "--cacert", certificates.ca, "--aws-sigv4", "aws:amz:us-east-1:s3",
		"-u", `${gateway.accessKey}:${gateway.secretKey}`, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", ...options,
		`${gateway.endpoint}${route}`,
	], { encoding: "buffer", maxBuffer: 64 * 1024 * 1024 });

	before(async () => {
		fs.rmSync(dir, { recursive: true, force: true });
		fs.mkdirSync(dir, { recursive: true });
		certificates = makeCertificates(path.join(dir, "certificates"));
		gateway = new Radosgw({ instance: dir, certificate: certificates.server });
		await gateway.start();
		double = await startS3Double(gateway);
		await curl("/takes", "-X", "PUT");
		await curl("/versions", "-X", "PUT");
		await curl("/versions?versioning=", "-X", "PUT", "--data-binary",
			'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>');
	});
	after(async () => {
		await double?.close();
		await gateway?.stop();
	});

	it("passes its tests", { timeout: 240_000 }, async () => {
		const result = await run(path.join(ROOT, process.env.RUSHES_BUILD ?? "build/gcc", "tests/integration/test_s3"), [], {
			env: {
				TEST_S3_ENDPOINT: gateway.endpoint, TEST_S3_PLAIN_ENDPOINT: gateway.plainEndpoint, TEST_S3_CA: certificates.ca,
				TEST_S3_ACCESS_KEY: gateway.accessKey, TEST_S3_SECRET_KEY: gateway.secretKey, TEST_S3_DOUBLE: double.endpoint,
				// a proxy of the environment must not see what we send
				http_proxy: "http://127.0.0.1:1", https_proxy: "http://127.0.0.1:1", HTTPS_PROXY: "http://127.0.0.1:1",
			},
			maxBuffer: 16 * 1024 * 1024,
		}).catch((error) => error);
		assert.equal(result.code ?? 0, 0, `${result.stdout}\n${result.stderr}`);
		output = result.stdout;
	});

	it("keeps the ledger, and lets nothing take its place", { timeout: 120_000 }, async () => {
		const file = path.join(dir, "ledger-credential.json");
		fs.writeFileSync(file, JSON.stringify({ access_key: gateway.accessKey, secret_key: gateway.secretKey }), { mode: 0o600 });
		await curl("/ledger", "-X", "PUT");
		await curl("/ledger/holes/notes.txt", "-X", "PUT", "--data-binary", "not a batch");
		const result = await run(path.join(ROOT, process.env.RUSHES_BUILD ?? "build/gcc", "tests/integration/test_ledger_target"), [], {
			env: { TEST_S3_ENDPOINT: gateway.endpoint, TEST_S3_CA: certificates.ca, TEST_S3_DOUBLE: double.endpoint, TEST_S3_CREDENTIAL_FILE: file },
		}).catch((error) => error);
		assert.equal(result.code ?? 0, 0, `${result.stdout}\n${result.stderr}`);
		// the gateway itself refuses what would take an object's place
		await assert.rejects(curl("/ledger/a/b/000000000001.ledger", "-X", "PUT", "--data-binary", "another", "-H", "If-None-Match: *"), /412/);
		assert.equal((await curl("/ledger/a/b/000000000001.ledger")).stdout.toString(), "one\n");
	});

	it("signs every request as the strict double demands", () => assert.deepEqual(double.refusals, []));

	it("stores what curl reads", async () => {
		const { stdout } = await curl("/takes/virtual/main.mp4");
		assert.equal(stdout.length, 4242);
	});

	it("presigns what anybody reads for a while, and nobody with a changed name", async () => {
		const [, digest, url] = /^presigned ([0-9a-f]{64}) (\S+)$/m.exec(output);
		const { stdout } = await run("curl", ["-sS", "--fail", "--cacert", certificates.ca, url], { encoding: "buffer", maxBuffer: 64 * 1024 * 1024 });
		assert.equal(createHash("sha256").update(stdout).digest("hex"), digest);
		await assert.rejects(run("curl", ["-sS", "--fail", "--cacert", certificates.ca, url.replace("plus", "minus")]));
	});

	it("leaves no unfinished upload behind", async () => {
		const { stdout } = await curl("/takes?uploads=");
		assert.ok(!stdout.toString().includes("<Upload>"), stdout.toString());
	});
});
