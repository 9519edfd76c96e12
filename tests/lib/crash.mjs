// Kills a service at an exact point of its work (tests/lib/crash_at.c).
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { ROOT } from "../../scripts/lib/stack.mjs";

/** What a service needs in its environment to be killed by crashAt(). */
export function crashEnvironment(folder) {
	fs.mkdirSync(folder, { recursive: true });
	const library = path.join(folder, "crash_at.so");
	execFileSync("cc", ["-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", library, path.join(ROOT, "tests/lib/crash_at.c"), "-ldl"]);
	return { LD_PRELOAD: library, CRASH_FILE: path.join(folder, "crash") };
}

/** Arms it: `point` is "CALL TEXT COUNT before|after". */
export function crashAt({ CRASH_FILE: file }, point) {
	fs.writeFileSync(`${file}.new`, point);
	fs.renameSync(`${file}.new`, file);
}

export function crashNowhere({ CRASH_FILE: file }) {
	fs.rmSync(file, { force: true });
}
