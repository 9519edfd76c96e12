// Ends and removes the instances that killed runs left below a folder: node scripts/lib/clean.mjs FOLDER
import fs from "node:fs";
import path from "node:path";
import { removeInstance } from "./stack.mjs";

const folder = path.resolve(process.argv[2]);
for (const name of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
	const dir = path.join(folder, name);
	if (!fs.existsSync(path.join(dir, "run"))) continue;
	await removeInstance(dir);
	fs.rmSync(dir, { recursive: true, force: true });
}
