// What happens in the simulated years: accounts come, pay and leave, people record, delete, hold and edit rules, jobs fail.
import { createHash } from "node:crypto";
import { DAY, HOUR, MINUTE, after28Days } from "./calendar.mjs";

const ZONES = ["Europe/Bucharest", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "America/Sao_Paulo", "UTC"];
const FILES = ["main", "raw", "snapshot", "filmstrip"];
const REASON = "a reason";
/** As many failures as stand for an input that can never work. */
const NEVER = 99;
const GIVES_UP = 13;

const iso = (at) => (at === null ? null : new Date(at).toISOString());
const minutes = (ms) => `${ms / MINUTE} min`;
/** As simulation.copy_id makes it. */
const copyId = (recording, name) => createHash("md5").update(recording + name).digest("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

export class World {
	accounts = [];
	counts = { accounts: 0, held: 0, closed: 0, expired: 0, gaveUp: 0, retried: 0, edits: 0, replaced: 0 };
	#number = 0;
	#groups = new Map();
	#large = null;

	/** `open`: how many accounts are there at the same time; `largeShare`: how much is recorded for the largest one;
	 *  `discarded`: how much is recorded again at once. */
	constructor({ judge, agenda, random, ours, targets, open, largeShare, discarded }) {
		Object.assign(this, { judge, agenda, random, ours, targets, open, largeShare, discarded });
	}

	#uuid = () => `77777777-0000-4000-8000-${String(++this.#number).padStart(12, "0")}`;
	#later = (wait, run) => this.agenda.add(this.judge.now + wait, run);

	// After a restore.

	/** Its work goes on, as far as the database knows of it. */
	resume(r) {
		if (r.savedAt === null) this.#together("save", this.judge.now + MINUTE, r, (list) => this.#save(list));
		else this.#workAt(r, this.judge.now + MINUTE);
	}

	/** Its plan was changed, and the database has lost it: somebody changes it again. */
	renewAgain(account) {
		this.#later(HOUR, () => this.#renew(account));
	}

	/** The database never knew of it. */
	vanish(r) {
		r.deletion = { at: this.judge.now, rule: "vanished" };
		r.copies = [];
		this.judge.forget(r);
	}

	forgetAccount(account) {
		account.closedAt = this.judge.now;
		this.accounts.splice(this.accounts.indexOf(account), 1);
		for (const e of account.environments) for (const id of e.targets.keys()) this.targets.delete(id);
	}

	/** The same for several recordings at the same moment, in one step. */
	#together(name, at, r, run) {
		const key = `${name} ${at}`;
		const list = this.#groups.get(key);
		if (list) {
			list.add(r);
			return;
		}
		this.#groups.set(key, new Set([r]));
		this.agenda.add(at, () => {
			const all = this.#groups.get(key);
			this.#groups.delete(key);
			return run([...all]);
		});
	}

	// Accounts.

	#isOpen = (account) => account.closedAt === null && (account.expires === null || account.expires > this.judge.now + 6 * HOUR);

	async #openAccount() {
		const { random, judge } = this;
		if (random.chance(this.largeShare)) return this.#large ?? (await this.#openLarge());
		const open = this.accounts.filter((account) => account !== this.#large && this.#isOpen(account));
		if (open.length >= this.open) return random.pick(open);
		const isTrial = random.chance(0.5);
		const expires = isTrial ? judge.now + random.between(10, 30) * DAY : random.chance(0.2) ? null : judge.now + 365 * DAY;
		const account = await this.#createAccount(isTrial ? "trial" : "paid", expires);
		for (let i = random.between(1, 3); i > 0; i--) await this.#openEnvironment(account);
		this.#planRenewal(account);
		if (random.chance(0.2)) this.#later(random.spread(5 * DAY, 800 * DAY), () => this.#closeAccount(account));
		return account;
	}

	/** One that stays, and keeps much: what a mistaken rule could take. */
	async #openLarge() {
		this.#large = await this.#createAccount("paid", null);
		const environment = { ...this.#settings(this.#large), storesOurs: true, conversion: "never", doNotStore: false, backup: "keep", pushes: new Set(["main"]) };
		await this.#setEnvironment(environment);
		this.#large.environments.push(environment);
		return this.#large;
	}

	async #createAccount(plan, expires) {
		const account = { zone: this.random.pick(ZONES), plan, expires, closedAt: null, environments: [], recordings: new Set() };
		this.counts.accounts++;
		const hash = `s${String(++this.#number).padStart(21, "0")}`;
		await this.judge.step([["rushes.account_create", "test", "An account", "eu1", hash, account.zone, plan, iso(expires)]], ([id]) => {
			account.id = id;
		});
		this.accounts.push(account);
		return account;
	}

	#planRenewal(account) {
		const { random } = this;
		if (account.expires === null) return;
		if (random.chance(0.75)) {
			// before the end, within the 28 days after it, and sometimes in their last hour or too late
			const last = after28Days(account.expires);
			const at = random.pick([account.expires - random.between(1, 5) * DAY, account.expires + random.between(0, 26) * DAY, last - HOUR, last + 2 * DAY]);
			this.agenda.add(Math.max(at, this.judge.now + HOUR), () => this.#renew(account));
		} else this.counts.expired++;
	}

	async #renew(account) {
		if (account.closedAt !== null) return;
		account.plan = "paid";
		account.expires = this.random.chance(0.1) ? null : this.judge.now + this.random.pick([31, 365]) * DAY;
		await this.judge.step([["rushes.account_plan_set", "test", account.id, "paid", iso(account.expires)]]);
		account.recordings.forEach((r) => this.judge.plan(r));
		this.#planRenewal(account);
	}

	async #closeAccount(account) {
		if (account.closedAt !== null) return;
		this.counts.closed++;
		account.closedAt = this.judge.now;
		await this.judge.step([["rushes.account_close", "test", account.id, REASON]]);
		account.recordings.forEach((r) => this.judge.plan(r));
	}

	// Environments and their rules.

	#settings(account) {
		const { random } = this;
		const storesOurs = random.chance(0.75);
		return {
			account,
			name: `environment-${++this.#number}`,
			storesOurs,
			conversion: random.chance(0.3) ? "always" : "never",
			doNotStore: !storesOurs && random.chance(0.5),
			backup: random.chance(0.3) ? "until-delivered" : "keep",
			playbackWindow: random.pick([0, 5, 60, 300]) * MINUTE,
			reconnectWindow: random.pick([10, 90, 180]) * MINUTE,
			pushes: new Set(["main", ...FILES.slice(1).filter(() => random.chance(0.2))]),
			rules: new Map(),
			targets: new Map(),
			recordings: new Set(),
		};
	}

	async #openEnvironment(account) {
		const { random } = this;
		const environment = this.#settings(account);
		await this.#setEnvironment(environment);
		for (let i = random.pick(environment.storesOurs ? [0, 0, 0, 1] : [1, 1, 2]); i > 0; i--) {
			const id = this.#uuid();
			const deleteThere = random.chance(0.5);
			environment.targets.set(id, { deleteThere });
			this.targets.set(id, { owner: "client", deleteThere });
			await this.judge.step([
				["rushes.target_create", "test", id, "client", account.id, "eu1", `bucket-${++this.#number}`, "file", { path: "/c" }, null, deleteThere],
				["rushes.environment_target_set", "test", account.id, environment.id, id, true],
			]);
		}
		account.environments.push(environment);
		for (let i = random.between(0, 5); i > 0; i--) this.#later(random.spread(HOUR, 1000 * DAY), () => this.#edit(environment));
	}

	async #setEnvironment(e) {
		const settings = {
			conversion: e.conversion,
			store_ours: e.storesOurs,
			do_not_store: e.doNotStore,
			backup: e.backup,
			playback_window: minutes(e.playbackWindow),
			reconnect_window: minutes(e.reconnectWindow),
			...Object.fromEntries(FILES.slice(1).map((kind) => [`push_${kind}`, e.pushes.has(kind)])),
		};
		await this.judge.step([["rushes.environment_set", "test", e.account.id, e.name, settings]], ([id]) => (e.id = id));
	}

	async #edit(e) {
		const { random, judge } = this;
		if (e.account.closedAt !== null) return;
		this.counts.edits++;
		if (random.chance(0.6)) await this.#editLifecycle(e);
		else {
			if (random.chance(0.5)) e.backup = e.backup === "keep" ? "until-delivered" : "keep";
			if (!e.storesOurs && random.chance(0.5)) e.doNotStore = !e.doNotStore;
			e.playbackWindow = random.pick([0, 5, 60, 300]) * MINUTE;
			e.reconnectWindow = random.pick([10, 90, 180]) * MINUTE;
			for (const kind of FILES.slice(1)) if (random.chance(0.2) && !e.pushes.delete(kind)) e.pushes.add(kind);
			await this.#setEnvironment(e);
		}
		e.recordings.forEach((r) => judge.plan(r));
	}

	async #editLifecycle(e) {
		const { random, judge } = this;
		const name = random.pick(["a", "b", "c"]);
		if (e.rules.has(name) && random.chance(0.4)) {
			e.rules.delete(name);
			await judge.step([["rushes.lifecycle_remove", "test", e.account.id, e.id, name]]);
			return;
		}
		const rule = {
			days: random.pick([1, 7, 30, 90, 365, 730]),
			recordingKind: random.pick([null, null, "received", "call"]),
			fileKind: random.pick([null, ...FILES]),
			enabled: random.chance(0.8),
		};
		e.rules.set(name, rule);
		await judge.step([["rushes.lifecycle_set", "test", e.account.id, e.id, name, rule.days, rule.recordingKind, rule.fileKind, rule.enabled]]);
	}

	/** Somebody makes a rule that takes far more than was meant, and takes it back in time or too late. */
	async overreach() {
		const { random, judge } = this;
		const e = this.#large?.environments[0];
		if (!e) return;
		if (!judge.wouldBrake("lifecycle")) {
			this.#later(2 * DAY, () => this.overreach());
			return;
		}
		e.rules.set("all", { days: 30, recordingKind: null, fileKind: null, enabled: true });
		await judge.step([["rushes.lifecycle_set", "test", e.account.id, e.id, "all", 30, null, null, true]]);
		judge.expectBrake("lifecycle", [...e.recordings]);
		e.recordings.forEach((r) => judge.plan(r));
		this.#later(random.pick([HOUR, 5 * DAY]), async () => {
			e.rules.delete("all");
			await judge.step([["rushes.lifecycle_remove", "test", e.account.id, e.id, "all"]]);
			e.recordings.forEach((r) => judge.plan(r));
		});
	}

	// Recordings.

	/** So many people record for one environment, within a few minutes. */
	async party(size) {
		const environment = this.random.pick((await this.#openAccount()).environments);
		await this.#record(Array.from({ length: size }, () => environment), null);
	}

	/** A recording begins in each of these environments. `replaces`: a broken-off take that is sent again. */
	async #record(environments, replaces) {
		const { random, judge } = this;
		const all = environments.filter((environment) => this.#isOpen(environment.account)).map((environment) => this.#take(environment, replaces));
		// some of them are takes of one person, by one link
		const beside = all.map((_, i) => replaces ?? (i > 0 && random.chance(0.6) ? all[0] : null));
		const takes = all.map((r, i) => ["simulation.take", r.id, r.account.id, r.environment.id, beside[i]?.id ?? null, replaces?.id ?? null, r.segments]);
		await judge.step(takes, (verdicts) => {
			for (const [i, r] of all.entries()) {
				if (verdicts[i] !== "new") throw new Error(`recording ${r.id}: ${verdicts[i]}`);
				for (let segment = 0; segment < r.segments; segment++) {
					this.#arrived(r, { id: copyId(r.id, `segment${segment}`), kind: "raw", target: null, where: "ingest" });
				}
			}
		});
		const lengths = [0, 0, 0].map(() => random.between(1, 90) * 997);
		for (const [i, r] of all.entries()) {
			judge.counts.recordings++;
			judge.recordings.set(r.id, r);
			r.environment.recordings.add(r);
			r.account.recordings.add(r);
			if (!beside[i]) judge.links.push(judge.now + DAY);
			this.#together("save", judge.now + (r.sent ? random.pick(lengths) : r.environment.reconnectWindow), r, (list) => this.#save(list));
			if (random.chance(0.06)) this.#later(random.spread(30_000, 500 * DAY), () => this.#remove(r, random.pick(["deleted-by-user", "deleted-by-api"])));
			if (random.chance(0.06)) this.#later(random.spread(10 * MINUTE, 200 * DAY), () => this.#hold(r));
		}
	}

	#take(environment, replaces) {
		const { random, judge } = this;
		const isRecovered = replaces === null && random.chance(0.08);
		return {
			id: this.#uuid(),
			environment,
			account: environment.account,
			savedAt: null,
			copiedAt: null,
			processedAt: null,
			replacedAt: null,
			lastByteAt: judge.now,
			sent: !isRecovered && random.chance(0.9),
			isRecovered,
			replaces,
			held: false,
			failed: null,
			copying: true,
			converting: false,
			deletion: null,
			copies: [],
			segments: random.chance(0.9) ? 1 : random.between(2, 3),
			files: new Map(),
			pushes: new Map(),
			fates: { copy: this.#fate(), convert: this.#fate(), pushes: random.chance(0.1) },
		};
	}

	/** How often a job fails before it succeeds. */
	#fate() {
		const { random } = this;
		if (!random.chance(0.1)) return 0;
		return random.pick([1, 2, random.between(3, 12), GIVES_UP, NEVER]);
	}

	async #save(all) {
		const { random, judge } = this;
		const list = [];
		for (const r of all) {
			if (r.deletion || r.savedAt !== null) continue;
			if (r.sent && random.chance(this.discarded)) await this.#remove(r, "discarded");
			else list.push(r);
		}
		for (const r of list) r.savedAt = judge.now;
		await judge.step(list.map((r) => ["rushes.recording_saved", r.id, r.isRecovered ? "lost" : "user", r.sent, r.isRecovered, false, 100 * r.segments, null]));
		const wait = random.between(0, 60) * 1009;
		for (const r of list) {
			judge.plan(r);
			this.#workAt(r, judge.now + wait);
			if (r.isRecovered && random.chance(0.6)) this.#later(random.between(1, 120) * MINUTE, () => this.#sendAgain(r));
		}
	}

	/** The page still had the whole of a broken-off take. */
	async #sendAgain(r) {
		if (r.savedAt !== null && !r.deletion) await this.#record([r.environment], r);
	}

	#fatesOf(r) {
		const fates = { copy: r.fates.copy, convert: r.fates.convert };
		if (!r.fates.pushes) return fates;
		for (const target of [this.ours, ...r.environment.targets.keys()]) {
			for (const kind of FILES) fates[`push/${kind}/${target}`] = r.fates[`${kind}/${target}`] ??= this.#fate();
		}
		return fates;
	}

	#workAt = (r, at) => this.#together("work", at, r, (list) => this.#work(list));

	/** The services do what is due for these recordings. */
	async #work(all) {
		const { judge } = this;
		const list = all.filter((r) => !r.deletion && r.savedAt !== null);
		const calls = list.map((r) => ["simulation.work", r.id, this.#fatesOf(r), r.environment.conversion === "never"]);
		await judge.step(calls, (lines) => list.forEach((r, i) => this.#workDone(r, JSON.parse(lines[i]))));
		for (const r of list) {
			judge.plan(r);
			if (r.replaces && r.processedAt !== null) judge.plan(r.replaces);
		}
	}

	#workDone(r, { events, next, pushes, copies }) {
		const wasProcessed = r.processedAt !== null;
		for (const event of events) this.#worked(r, event);
		for (const { file, target } of pushes) this.#pushed(r, file, target, "unfinished");
		if (!wasProcessed && r.processedAt !== null) this.#checkPushes(r);
		for (const { id, kind, segment, target } of copies) {
			if (this.judge.copies.has(id)) continue;
			const where = target !== null ? (target === this.ours ? "ours" : "client") : segment !== null ? "ingest" : "work";
			this.#arrived(r, { id, kind, target, where });
		}
		if (next !== null) this.#workAt(r, Math.ceil(next));
	}

	#arrived(r, facts) {
		const copy = { ...facts, recording: r, decidedAt: null, gone: false };
		this.judge.copies.set(copy.id, copy);
		r.copies.push(copy);
	}

	#pushed(r, kind, target, state) {
		r.pushes.set(`${kind}/${target}`, { kind, state, at: this.judge.now, owner: target === this.ours ? "ours" : "client" });
	}

	#worked(r, { job, kind, file, target, state }) {
		const { now } = this.judge;
		if (state === "failed") {
			this.counts.gaveUp++;
			if (kind !== "push" && this.random.chance(0.2)) this.#later(this.random.spread(HOUR, 20 * DAY), () => this.judge.lose(r));
			if (this.random.chance(0.5)) this.#later(this.random.spread(HOUR, 20 * DAY), () => this.#retry(r, { job, kind, file, target }));
		}
		if (kind === "push") this.#pushed(r, file, target, state === "queued" ? "unfinished" : state);
		else if (state === "failed") {
			r.failed = kind;
			r.copying = r.converting = false;
		} else if (state === "done") {
			const isAll = kind === "convert" || r.environment.conversion === "never";
			for (const made of kind === "copy" ? [isAll ? "main" : "raw"] : ["main", "snapshot", "filmstrip"]) r.files.set(made, now);
			if (kind === "copy") r.copiedAt = now;
			r.copying = false;
			r.converting = !isAll;
			if (isAll) this.#processed(r);
		}
	}

	#processed(r) {
		r.processedAt = this.judge.now;
		if (!r.replaces || r.replaces.deletion) return;
		this.counts.replaced++;
		r.replaces.replacedAt = r.processedAt;
	}

	/** Each file of its own that the environment pushes goes to each of its targets. */
	#checkPushes(r) {
		const e = r.environment;
		const targets = [...(e.storesOurs ? [this.ours] : []), ...e.targets.keys()];
		const expected = [...r.files.keys()].filter((kind) => e.pushes.has(kind)).flatMap((kind) => targets.map((target) => `${kind}/${target}`));
		if (expected.sort().join() !== [...r.pushes.keys()].sort().join()) throw new Error(`recording ${r.id} is pushed as ${[...r.pushes.keys()]}, not ${expected}`);
	}

	/** A person sends a failed job on its way again, while there is something to work on. */
	async #retry(r, { job, kind, file, target }) {
		const { judge } = this;
		const source = kind === "copy" ? "ingest" : "work";
		const wanted = kind === "push" ? file : "raw";
		const input = r.copies.find((c) => c.where === source && (kind === "copy" || c.kind === wanted) && c.decidedAt === null && !c.isLost);
		if (r.copies.some((c) => c.isLost)) return;
		if (r.deletion || !input) return;
		this.counts.retried++;
		await judge.step([["simulation.retry", job]]);
		if (kind === "push") {
			this.#pushed(r, file, target, "unfinished");
			r.fates[`${file}/${target}`] = this.random.pick([0, 0, 2, GIVES_UP]);
		} else {
			r.failed = null;
			r.fates[kind] = this.random.pick([0, 0, 2, GIVES_UP]);
			if (kind === "copy") r.copying = true;
			else r.converting = true;
		}
		this.#workAt(r, judge.now + 1000);
	}

	// People.

	async #remove(r, rule) {
		if (r.deletion || (r.savedAt === null && rule !== "discarded")) return;
		r.deletion = { at: this.judge.now, rule };
		await this.judge.step([["rushes.recording_delete", r.id, rule, "person", REASON]]);
	}

	async #hold(r) {
		const { random, judge } = this;
		if (r.deletion || r.savedAt === null) return;
		this.counts.held++;
		r.held = true;
		await judge.step([["rushes.hold_set", "person", r.id, true, REASON]]);
		if (random.chance(0.85)) this.#later(random.spread(HOUR, 700 * DAY), () => this.#release(r));
	}

	async #release(r) {
		if (r.deletion) return;
		r.held = false;
		await this.judge.step([["rushes.hold_set", "person", r.id, false, REASON]]);
		this.judge.plan(r);
	}
}
