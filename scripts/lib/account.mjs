// The account that the servers of an instance run as. PostgreSQL refuses to run as root, so root hands the three servers
// to a system account of their own; an ordinary user runs them as himself.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

export const ACCOUNT_NAME = "rushes-dev";
// A Unix socket's path holds 107 bytes, and "/socket/.s.PGSQL.5432" comes behind the folder.
const FOLDER_BYTES_MAX = 80;

function lookUp() {
	const line = fs
		.readFileSync("/etc/passwd", "utf8")
		.split("\n")
		.find((entry) => entry.startsWith(`${ACCOUNT_NAME}:`));
	if (!line) return null;
	const [, , uid, gid] = line.split(":");
	return { name: ACCOUNT_NAME, uid: Number(uid), gid: Number(gid) };
}

/** {name, uid, gid} of the servers' account, made when root has none yet; null when the caller's own account does. */
export function serverAccount() {
	if (process.getuid() !== 0) return null;
	const account = lookUp();
	if (account) return account;
	execFileSync("useradd", [
		"--system",
		"--user-group",
		"--no-create-home",
		"--home-dir",
		"/nonexistent",
		"--shell",
		"/usr/sbin/nologin",
		ACCOUNT_NAME,
	]);
	return lookUp();
}

function canReach(account, dir) {
	try {
		execFileSync("ls", ["-d", `${dir}/.`], { uid: account.uid, gid: account.gid, stdio: "ignore" });
		return true;
	} catch {
		return false;
	}
}

/**
 * Makes the folder of an instance that its servers own. When the account cannot reach the instance (a checkout below
 * /root) or its path is too long for a socket, the folder lies below /var/tmp and the instance holds a link to it.
 */
export function makeServerFolder(instance, account) {
	const inside = path.join(instance, "servers");
	if (Buffer.byteLength(inside) <= FOLDER_BYTES_MAX && (!account || canReach(account, instance))) {
		fs.mkdirSync(inside, { mode: 0o700 });
		if (account) fs.chownSync(inside, account.uid, account.gid);
		return inside;
	}
	const outside = fs.mkdtempSync("/var/tmp/rushes-");
	if (account) fs.chownSync(outside, account.uid, account.gid);
	fs.symlinkSync(outside, inside);
	return outside;
}

/** Removes what makeServerFolder made. */
export function removeServerFolder(instance) {
	const inside = path.join(instance, "servers");
	let target;
	try {
		target = fs.readlinkSync(inside);
	} catch {
		fs.rmSync(inside, { recursive: true, force: true });
		return;
	}
	if (target.startsWith("/var/tmp/rushes-")) fs.rmSync(target, { recursive: true, force: true });
	fs.unlinkSync(inside);
}

/** A folder or file that the account owns, private to it. */
export function ownedFolder(dir, account) {
	fs.mkdirSync(dir, { mode: 0o700 });
	if (account) fs.chownSync(dir, account.uid, account.gid);
	return dir;
}

export function ownedFile(file, content, account) {
	fs.writeFileSync(file, content, { mode: 0o600 });
	if (account) fs.chownSync(file, account.uid, account.gid);
	return file;
}
