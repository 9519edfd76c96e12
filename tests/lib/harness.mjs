// What the tests share: a stack of their own per file, and the steps of a recording's way.
import fs from "node:fs";
import path from "node:path";
import { ROOT, Stack } from "../../scripts/lib/stack.mjs";

export const FIXTURES = path.join(ROOT, "tests/fixtures");

const stacks = new Set();

// A test file that ends early, by whatever way, leaves no process behind.
process.on("exit", () => {
	for (const stack of stacks) stack.killAll();
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/**
 * A stack in var/test/NAME on free ports, not started. `stack.remove()` in an after hook ends it; the logs go with it
 * unless a test failed. `options` as Stack's.
 */
export function testStack(name, options = {}) {
	const dir = path.join(ROOT, "var/test", name);
	fs.rmSync(dir, { recursive: true, force: true });
	const stack = new Stack({ dir, durable: false, logLevel: "debug", ...options });
	stacks.add(stack);
	return stack;
}

/** Path, bytes of a fixture. */
export function fixture(name) {
	const file = path.join(FIXTURES, name);
	return { name, file, bytes: fs.readFileSync(file) };
}
