// A service on a disk that forgets what was not flushed, or fails when it is told to (tests/lib/disk_shim.c).
import fs from "node:fs";
import path from "node:path";

/**
 * Puts `service` on such a disk, before it is started. `leak`: percent of the unflushed blocks that a power cut leaves all the
 * same; `seed` of their choice. `shadow: false`: nothing is forgotten, only rules count.
 */
export function shimDisk(stack, service, { leak = 0, seed = 1, shadow = true } = {}) {
	const root = stack.spoolPath(service);
	const kept = path.join(stack.dir, `shadow-${service}`);
	const rules = path.join(stack.dir, `disk-rules-${service}`);
	stack.overrides[service] = {
		...stack.overrides[service],
		LD_PRELOAD: path.join(stack.build, "tests/lib/disk_shim.so"),
		DISK_SHIM_ROOT: root,
		DISK_SHIM_RULES: rules,
		DISK_SHIM_LEAK: String(leak),
		DISK_SHIM_SEED: String(seed),
		...(shadow ? { DISK_SHIM_SHADOW: kept } : {}),
	};
	return {
		/** Lines such as "sync EIO journal/generation-?": from now on, instead of the former ones. */
		rule(...lines) {
			fs.writeFileSync(`${rules}.new`, lines.map((line) => `${line}\n`).join(""));
			fs.renameSync(`${rules}.new`, rules);
		},
		/** The machine loses its power: the process is gone, and what was not flushed. The service is not started again. */
		async cut() {
			await stack.kill(service);
			fs.rmSync(root, { recursive: true, force: true });
			fs.cpSync(path.join(kept, "tree"), root, { recursive: true });
			fs.rmSync(kept, { recursive: true, force: true });
		},
	};
}
