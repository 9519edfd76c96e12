// What happens in the simulated years: accounts come, pay and leave, people record, delete, hold and edit rules, jobs fail.
import { DAY, HOUR, MINUTE, after28Days } from "./calendar.mjs";

const ZONES = ["Europe/Bucharest", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "America/Sao_Paulo", "UTC"];
const FILES = ["main", "raw", "snapshot", "filmstrip"];
const REASON = "a reason";
/** As many failures as stand for an input that can never work. */
const NEVER = 99;
const GIVES_UP = 13;

const iso = (at) => (at === null ? null : new Date(at).toISOString());
const minutes = (ms) => `${ms / MINUTE} min`;

export class World {
	accounts = [];
	counts = { accounts: 0, held: 0, closed: 0, expired: 0, gaveUp: 0, retried: 0, edits: 0, replaced: 0 };
	#number = 0;

	/** `open`: how many accounts are there at the same time. */
	constructor({ judge, agenda, random, ours, targets, open }) {
		Object.assign(this, { judge, agenda, random, ours, targets, open });
	}

	#uuid = () => `77777777-0000-4000-8000-${String(++this.#number).padStart(12, "0")}`;
	#later = (wait, run) => this.agenda.add(this.judge.now + wait, run);

	// Accounts.

	#isOpen = (account) => account.closedAt === null && (account.expires === null || account.expires > this.judge.now + 6 * HOUR);

	async #openAccount() {
		const { random, judge } = this;
		const open = this.accounts.filter(this.#isOpen);
		if (open.length >= this.open) return random.pick(open);
		const isTrial = random.chance(0.5);
		const account = {
			zone: random.pick(ZONES),
			plan: isTrial ? "trial" : "paid",
			expires: isTrial ? judge.now + random.between(10, 30) * DAY : judge.now + 365 * DAY,
			closedAt: null,
			environments: [],
			recordings: new Set(),
		};
		this.counts.accounts++;
		if (!isTrial && random.chance(0.2)) account.expires = null;
		const hash = `s${String(++this.#number).padStart(21, "0")}`;
		await judge.step([["rushes.account_create", "test", "An account", "eu1", hash, account.zone, account.plan, iso(account.expires)]], ([id]) => {
			account.id = id;
		});
		for (let i = random.between(1, 3); i > 0; i--) await this.#openEnvironment(account);
		this.accounts.push(account);
		this.#planRenewal(account);
		if (random.chance(0.2)) this.#later(random.spread(5 * DAY, 800 * DAY), () => this.#closeAccount(account));
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

	async #openEnvironment(account) {
		const { random } = this;
		const storesOurs = random.chance(0.75);
		const environment = {
			account,
			name: `environment-${++this.#number}`,
			storesOurs,
			conversion: random.chance(0.7) ? "always" : "never",
			doNotStore: !storesOurs && random.chance(0.5),
			backup: random.chance(0.3) ? "until-delivered" : "keep",
			playbackWindow: random.pick([0, 5, 60, 300]) * MINUTE,
			reconnectWindow: random.pick([10, 90, 180]) * MINUTE,
			pushes: new Set(["main", ...FILES.slice(1).filter(() => random.chance(0.4))]),
			rules: new Map(),
			targets: new Map(),
			recordings: new Set(),
		};
		await this.#setEnvironment(environment);
		for (let i = random.pick(storesOurs ? [0, 0, 0, 1, 2] : [1, 1, 2]); i > 0; i--) {
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

	// Recordings.

	/** A person records. */
	async record(replaces = null) {
		const { random, judge } = this;
		const environment = replaces?.environment ?? random.pick((await this.#openAccount()).environments);
		if (!this.#isOpen(environment.account)) return;
		const isRecovered = replaces === null && random.chance(0.08);
		const r = {
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
			segments: random.pick([1, 1, 1, 1, 2, 3]),
			files: new Map(),
			pushes: new Map(),
			fates: { copy: this.#fate(), convert: this.#fate(), pushes: random.chance(0.1) },
		};
		const take = ["simulation.take", r.id, r.account.id, environment.id, replaces?.id ?? null, r.segments];
		const segments = Array.from({ length: r.segments }, (_, i) => ["simulation.copy_id", r.id, `segment${i}`]);
		await judge.step([take, ...segments], ([verdict, ...ids]) => {
			if (verdict !== "new") throw new Error(`recording ${r.id}: ${verdict}`);
			for (const id of ids.slice(0, r.segments)) this.#arrived(r, { id, kind: "raw", target: null, where: "ingest" });
		});
		judge.counts.recordings++;
		judge.recordings.set(r.id, r);
		environment.recordings.add(r);
		r.account.recordings.add(r);
		if (!replaces) judge.links.push(judge.now + DAY);
		this.#later(r.sent ? random.between(1, 90) * 997 : environment.reconnectWindow, () => this.#save(r));
		if (random.chance(0.06)) this.#later(random.spread(30_000, 500 * DAY), () => this.#remove(r, random.pick(["deleted-by-user", "deleted-by-api"])));
		if (random.chance(0.06)) this.#later(random.spread(10 * MINUTE, 200 * DAY), () => this.#hold(r));
	}

	/** How often a job fails before it succeeds. */
	#fate() {
		const { random } = this;
		if (!random.chance(0.12)) return 0;
		return random.pick([1, 2, random.between(3, 12), GIVES_UP, NEVER]);
	}

	async #save(r) {
		const { random, judge } = this;
		if (r.deletion) return;
		if (r.sent && random.chance(0.05)) {
			await this.#remove(r, "discarded");
			return;
		}
		r.savedAt = judge.now;
		await judge.step([["rushes.recording_saved", r.id, r.isRecovered ? "lost" : "user", r.sent, r.isRecovered, false, 100 * r.segments, null]]);
		judge.plan(r);
		this.#later(random.between(0, 60) * 1009, () => this.#work(r));
		if (r.isRecovered && random.chance(0.6)) this.#later(random.between(1, 120) * MINUTE, () => this.record(r));
	}

	#fatesOf(r) {
		const fates = { copy: r.fates.copy, convert: r.fates.convert };
		if (!r.fates.pushes) return fates;
		for (const target of [this.ours, ...r.environment.targets.keys()]) {
			for (const kind of FILES) fates[`push/${kind}/${target}`] = r.fates[`${kind}/${target}`] ??= this.#fate();
		}
		return fates;
	}

	/** The services do what is due for a recording. */
	async #work(r) {
		const { judge } = this;
		if (r.deletion) return;
		const conversion = r.environment.conversion;
		await judge.step([["simulation.work", r.id, this.#fatesOf(r), conversion === "never"]], ([text]) => {
			const { events, next, pushes, copies } = JSON.parse(text);
			const wasProcessed = r.processedAt !== null;
			for (const event of events) this.#worked(r, event);
			for (const { file, target } of pushes) this.#pushed(r, file, target, "unfinished");
			if (!wasProcessed && r.processedAt !== null) this.#checkPushes(r);
			for (const { id, kind, segment, target } of copies) {
				if (judge.copies.has(id)) continue;
				const where = target !== null ? (target === this.ours ? "ours" : "client") : segment !== null ? "ingest" : "work";
				this.#arrived(r, { id, kind, target, where });
			}
			if (next !== null) this.agenda.add(Math.ceil(next), () => this.#work(r));
		});
		judge.plan(r);
		if (r.replaces && r.processedAt !== null) judge.plan(r.replaces);
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
		this.#later(1000, () => this.#work(r));
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
