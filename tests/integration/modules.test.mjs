// The C tests of tests/integration: modules of libcommon against a real, migrated PostgreSQL and a real NATS and Redis.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { IDENTITIES } from "../../scripts/lib/identities.mjs";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { testStack } from "../lib/harness.mjs";

const run = promisify(execFile);
const BINARIES = path.join(ROOT, "build/gcc/tests/integration");

/** What a C test is told of the servers; `TEST_SERVICE` in a name stands for each service in upper case with "_". */
function environment(stack) {
	const result = {
		TEST_DIR: stack.dir,
		TEST_NATS_URL: stack.nats.url,
		TEST_REDIS: stack.redis.address,
		TEST_CA: stack.certificates.ca,
		TEST_SUPERUSER_DATABASE: stack.postgres.superuserConninfo(),
		TEST_SCHEMA: path.join(ROOT, "deploy/schema"),
		TEST_NATS_PID: String(stack.nats.record.pid),
		TEST_REDIS_PID: String(stack.redis.record.pid),
	};
	for (const service of Object.keys(IDENTITIES)) {
		const name = service.toUpperCase().replaceAll("-", "_");
		result[`TEST_DATABASE_${name}`] = stack.postgres.conninfo(service);
		result[`TEST_CERTIFICATE_${name}`] = stack.certificates.services[service].certificate;
		result[`TEST_KEY_${name}`] = stack.certificates.services[service].key;
		if (stack.redis.passwordFiles[service])
			result[`TEST_REDIS_PASSWORD_FILE_${name}`] = stack.redis.passwordFiles[service];
	}
	return result;
}

// what needs other servers is started by another file here
const folder = path.join(ROOT, "tests/integration");
const others = fs.readdirSync(folder).filter((file) => file.endsWith(".test.mjs")).map((file) => fs.readFileSync(path.join(folder, file), "utf8"));
const hasOwn = (name) => others.some((text) => text.includes(`"tests/integration/${name}"`));
const names = fs.existsSync(BINARIES) ? fs.readdirSync(BINARIES).filter((name) => /^test_[a-z0-9_]+$/.test(name) && !hasOwn(name)) : [];

for (const name of names.sort()) {
	describe(name, () => {
		let stack;
		before(async () => {
			stack = testStack(name);
			await stack.prepare();
		});
		after(() => stack.remove());

		it("passes", { timeout: 120_000 }, async () => {
			const result = await run(path.join(BINARIES, name), [], {
				env: { PATH: process.env.PATH, ...environment(stack) },
				cwd: ROOT,
				maxBuffer: 16 * 1024 * 1024,
			}).catch((error) => error);
			assert.equal(result.code ?? 0, 0, `${result.stdout}\n${result.stderr}`);
		});
	});
}
