// Kills a service, or makes its disk fail, at an exact point of its work (tests/lib/faults.c).
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { ROOT } from "../../scripts/lib/stack.mjs";

export class Faults {
	/** `folder`: for the library and what arms it. `environment` goes into the service's. */
	constructor(folder) {
		fs.mkdirSync(folder, { recursive: true });
		this.folder = folder;
		this.file = path.join(folder, "fault");
		const library = path.join(folder, "faults.so");
		const source = path.join(ROOT, "tests/lib/faults.c");
		execFileSync("cc", ["-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"]);
		this.environment = { LD_PRELOAD: library, FAULT_FILE: this.file };
	}

	/** Arms it: `point` is "CALL TEXT COUNT before|after|ENOSPC|EIO". */
	at(point) {
		fs.writeFileSync(`${this.file}.new`, point);
		fs.renameSync(`${this.file}.new`, this.file);
	}

	/** So many bytes are free on the disk. */
	room(bytes) {
		fs.writeFileSync(`${this.file}.room.new`, String(bytes));
		fs.renameSync(`${this.file}.room.new`, `${this.file}.room`);
	}

	/** No fault any more. */
	heal() {
		fs.rmSync(this.file, { force: true });
		fs.rmSync(`${this.file}.room`, { force: true });
	}

	remove() {
		fs.rmSync(this.folder, { recursive: true, force: true });
	}
}
