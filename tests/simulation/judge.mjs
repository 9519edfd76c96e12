// Compares what PostgreSQL did with what the model says: the sweeps, their outages, and the three counts of disagreements.
import { INGEST, TRANSCODER } from "../lib/steps.mjs";
import { DAY, HOUR, MINUTE } from "./calendar.mjs";
import { texts, uuids } from "./database.mjs";
import { SLICE, due, wholeDue } from "./model.mjs";

/** How often the services sweep. */
const PERIOD = 15 * MINUTE;
const REMOVAL_LIMIT = 5 * DAY;
/** An outage of up to this leaves time to end each deletion in its five days; a longer one has to raise the alarm. */
const SHORT = 3 * DAY;
const SLICES = ["ingest", "transcoder", "storage-pusher", "janitor"];
const NODES = { "node/ingest": INGEST, "node/transcoder": TRANSCODER };
/** Above this, and this part of all recordings, a rule whose dates moved earlier lately is braked. */
const BRAKE_FLOOR = 1000;
const BRAKE_SHARE = 0.05;
const onGrid = (at) => Math.ceil(at / PERIOD) * PERIOD;

export class Judge {
	counts = { recordings: 0, deletions: 0, early: 0, late: 0, left: 0 };
	happened = { sweeps: 0, concurrent: 0, outages: 0, alarms: 0, paused: 0, braked: 0, jumps: 0, links: 0, lost: 0, unknown: 0 };
	recordings = new Map();
	copies = new Map();
	disagreements = [];
	/** When somebody will confirm what is paused, by rule. `all`: paused on every place, so nothing may go by it. */
	pauses = new Map();
	/** When the links expire that nobody has removed yet, in order. */
	links = [];
	#sweeps = new Map();
	#checks = new Map();
	/** When somebody last confirmed a rule. */
	#confirmed = new Map();
	/** What a brake has to stop in the next sweep: {rule, wanted}. */
	#braking = null;
	#restores = 0;
	#outages = [];
	#past = [];

	constructor({ db, agenda, random, begin, end, targets, tell }) {
		Object.assign(this, { db, agenda, random, begin, now: begin, targets, tell });
		// one thing is down at a time, and never so soon after another that five days could not do
		for (let at = begin + random.spread(DAY, 20 * DAY); at < end; ) {
			const until = at + (random.chance(0.15) ? random.between(5, 9) * DAY : random.spread(2 * HOUR, SHORT));
			this.#outages.push({ at, until, what: null, roll: random.next() });
			at = until + random.spread(3 * DAY, 60 * DAY);
		}
	}

	count(kind, r, text) {
		this.counts[kind]++;
		this.disagreements.push(`${kind}: ${new Date(this.now).toISOString()} recording ${r.id} ${text}`);
		this.tell(this.disagreements.at(-1));
	}

	/** What is down now: {what, until}, or null. */
	#outage() {
		while (this.#outages[1]?.at <= this.now) this.#past.push(this.#outages.shift());
		const outage = this.#outages[0];
		if (!outage || this.now < outage.at || outage.until <= this.now) return null;
		if (outage.what === null) {
			this.happened.outages++;
			outage.what = this.#anyThing(outage);
			// who is back sweeps at once, whether something of the model waits for it or not
			this.#planSweep(onGrid(outage.until), null);
		}
		return outage;
	}

	/** What an outage is of: a sweep, the owner of a spool, what removes at targets, our target, or one of those that clients
	 *  brought last. */
	#anyThing({ at, until, roll }) {
		const theirs = [...this.targets.keys()].slice(1).slice(-20);
		const owners = [...Object.keys(NODES), "pusher", this.targets.keys().next().value];
		const kinds = until - at > SHORT ? [owners, owners, theirs, SLICES] : [SLICES, SLICES, owners, theirs];
		const kind = kinds[Math.floor(roll * kinds.length)];
		const things = kind.length > 0 ? kind : owners;
		return things[Math.floor(roll * 1009) % things.length];
	}

	isDown = (what) => this.#outage()?.what === what;

	/** One step in PostgreSQL; `apply` tells the model what the answers mean before the ledger is looked at. */
	async step(calls, apply = () => {}) {
		const lines = await this.db.step(this.now, [...calls, ["simulation.observe"]]);
		apply(lines);
		for (const entry of JSON.parse(lines.at(-1))) this.#observe(entry);
	}

	#observe({ kind, recording, copy, rule }) {
		const r = this.recordings.get(recording);
		if (!r) return;
		const c = this.copies.get(copy);
		// while it is there, or is being removed, it stands for the one that it replaces
		if (kind === "complete") {
			r.isComplete = true;
			if (r.replaces) r.replaces.replacedAt = null;
		}
		const pause = this.pauses.get(rule);
		if (kind === "decided" && (pause?.all || (pause?.place === "recordings" && copy === null)) && r.deletion?.rule !== rule) this.count("early", r, `decided by ${rule}, which is paused`);
		if (kind === "decided" && copy === null) this.#wholeDecided(r, rule);
		else if (kind === "decided" && c && c.decidedAt === null) {
			const expected = due(r, c);
			if (!expected || expected.at > this.now) {
				this.count("early", r, `${c.where} ${c.kind}: decided by ${rule}, expected ${describe(expected)}`);
			}
			c.decidedAt = this.now;
		} else if (kind === "gone" && c) {
			if (c.decidedAt === null) this.count("early", r, `${c.where} ${c.kind}: gone without a decision`);
			c.gone = true;
			this.counts.deletions++;
		}
	}

	/** Whether a brake would look at a rule: nobody has just paused or confirmed it. */
	wouldBrake = (rule) => !this.pauses.has(rule) && !(this.now - this.#confirmed.get(rule) < 25 * HOUR);

	/** A rule wants these recordings since a moment ago: where they are too many, none may go before a person said so. */
	expectBrake(rule, recordings) {
		const wanted = recordings.filter((r) => !r.deletion && wholeDue(r)?.rule === rule && wholeDue(r).at <= this.now);
		if (wanted.length > 1.1 * Math.max(BRAKE_FLOOR, BRAKE_SHARE * this.recordings.size)) this.#braking = { rule, wanted: new Set(wanted) };
	}

	#wholeDecided(r, rule) {
		if (this.#braking?.rule === rule && this.#braking.wanted.has(r)) this.count("early", r, `whole: decided by ${rule}, which had to be braked`);
		if (!r.deletion) {
			const expected = wholeDue(r);
			if (!expected || expected.at > this.now) this.count("early", r, `whole: decided by ${rule}, expected ${describe(expected)}`);
			r.deletion = { at: this.now, rule };
		}
		if (r.deletion.isFollowed) return;
		r.deletion.isFollowed = true;
		this.#planCheck(onGrid(r.deletion.at + REMOVAL_LIMIT), r);
		this.plan(r);
	}

	/** Five days after the decision nothing may be left. */
	#planCheck(at, r) {
		const list = this.#checks.get(at);
		if (list) {
			list.push(r);
			return;
		}
		this.#checks.set(at, [r]);
		this.agenda.add(at, async () => {
			const all = this.#checks.get(at);
			this.#checks.delete(at);
			let left;
			await this.step([["simulation.left_of", uuids(all.map(({ id }) => id))]], ([text]) => (left = JSON.parse(text)));
			for (const r of all) {
				if (left[r.id] === undefined) this.forget(r);
				else await this.#isLeft(r, left[r.id]);
			}
		});
	}

	/** An owner that is away for longer than the promise can bear has to be told of. */
	async #isLeft(r, rows) {
		let isAlarmed;
		await this.step([["simulation.is_alarmed", r.id]], ([text]) => (isAlarmed = text === "true"));
		const outage = this.#longOutage(r);
		if (!outage || !isAlarmed) {
			this.count("left", r, `${rows} rows five days after ${r.deletion.rule} (${this.#lately()})${outage ? ", and no alarm" : ""}`);
			return;
		}
		this.happened.alarms++;
		this.#planCheck(onGrid(Math.max(outage.until, this.now) + 2 * DAY), r);
	}

	/** The outage that explains why a recording is not gone after five days. */
	#longOutage(r) {
		this.#outage();
		const all = [...this.#past.slice(-2), ...this.#outages.slice(0, 1)];
		return all.find(({ at, until, what }) => what !== null && until - at > SHORT && at < this.now && until > r.deletion.at && until + 2 * DAY > this.now);
	}

	/** What was away lately, for whoever looks at a disagreement. */
	#lately() {
		const names = [...this.#past.slice(-3), ...this.#outages.slice(0, 1)].filter(({ at, what }) => what !== null && at <= this.now);
		return names.map(({ what, at, until }) => `${what} ${new Date(at).toISOString()} to ${new Date(until).toISOString()}`).join(", ");
	}

	/** Nothing is left of it: neither in the database nor here. */
	forget(r) {
		for (const c of r.copies) this.copies.delete(c.id);
		this.recordings.delete(r.id);
		r.account.recordings.delete(r);
		r.environment.recordings.delete(r);
	}

	/** Puts the times at which something of a recording is due on the agenda: just before a midnight, and the sweep that must
	 *  take it. */
	plan(r) {
		const times = new Set([...r.copies].filter((c) => !c.gone).map((c) => (c.decidedAt === null ? due(r, c)?.at : this.now)));
		times.add(r.deletion ? r.deletion.at : wholeDue(r)?.at);
		for (const at of times) {
			if (at === undefined) continue;
			if (at > this.now + 1000 && at % MINUTE === 0 && this.random.chance(0.3)) this.#planSweep(at - 1000, null);
			this.#planSweep(onGrid(Math.max(at, this.now)), r);
		}
	}

	#planSweep(at, r) {
		if (!this.#sweeps.has(at)) {
			this.#sweeps.set(at, new Set());
			this.agenda.add(at, () => this.#sweep());
		}
		if (r) this.#sweeps.get(at).add(r);
	}

	/** What the machine has counted since the beginning. */
	#counted = () => (this.now - this.begin) * 1000;

	#sweepCall() {
		const slices = SLICES.filter((slice) => !this.isDown(slice));
		const nodes = Object.keys(NODES).filter((node) => !this.isDown(node));
		const down = [...this.targets.keys()].filter((target) => this.isDown(target));
		return ["simulation.sweep", texts(slices), uuids(nodes.map((node) => NODES[node])), !this.isDown("pusher"), uuids(down), { sql: `${this.#counted()}::bigint` }];
	}

	async #sweep() {
		const { now, random, happened } = this;
		const expected = this.#sweeps.get(now);
		const call = this.#sweepCall();
		happened.sweeps++;
		if (random.chance(0.05)) {
			// another replica works at the same time
			happened.concurrent++;
			const [lines] = await Promise.all([
				this.db.step(now, [call]),
				this.db.beside(now, SLICES.filter((slice) => !this.isDown(slice)).map((slice) => ["rushes.sweep_decide", slice, 500])),
			]);
			this.#swept(lines);
			await this.step([]);
			// what the other one decided, the owners remove now
			await this.step([call], (answers) => this.#swept(answers));
		} else await this.step([call], (answers) => this.#swept(answers));
		this.#sweeps.delete(now);
		for (const r of expected) this.#judge(r);
	}

	#swept([text]) {
		const { clock, paused } = JSON.parse(text);
		if (clock !== "steady") throw new Error(`the gate says that the clock is ${clock}`);
		for (const { rule, place } of paused) {
			this.happened.braked++;
			if (rule === this.#braking?.rule && place === "recordings") this.#braking = null;
			this.#confirmLater(rule, place, false, this.random.between(1, 30) * HOUR);
		}
	}

	/** The database's clock stands wrong for a while: nothing may be deleted by it. */
	async jump() {
		const { now, random } = this;
		this.happened.jumps++;
		const wrong = now + random.pick([-40, -1, 1, 40, 400]) * DAY;
		const lines = await this.db.step(wrong, [this.#sweepCall(), ["simulation.observe"]]);
		const { clock } = JSON.parse(lines[0]);
		const deleted = JSON.parse(lines.at(-1)).filter(({ kind }) => kind !== "hold-set").length;
		if (clock === "steady" || deleted > 0) this.count("early", { id: "-" }, `a sweep with the clock at ${new Date(wrong).toISOString()}: ${clock}, ${deleted} entries`);
		await this.step([this.#sweepCall()], (answers) => this.#swept(answers));
	}

	// Pauses.

	#confirmLater(rule, place, all, wait) {
		const pause = { until: this.now + wait, all, place };
		this.pauses.set(rule, pause);
		this.agenda.add(this.now + wait, async () => {
			if (this.pauses.get(rule) !== pause) return;
			this.pauses.delete(rule);
			this.#confirmed.set(rule, this.now);
			await this.step([["rushes.retention_pause_confirm", "person", rule, place, "it is right"]]);
		});
	}

	/** A person pauses a rule everywhere, for up to so long. */
	async pause(rule, wait) {
		if (this.pauses.has(rule) || this.#braking?.rule === rule) return;
		this.happened.paused++;
		await this.step([["rushes.retention_pause_set", "person", rule, "*", "let us look at it"]]);
		this.#confirmLater(rule, "*", true, wait);
	}

	/** A restored database has the pauses and links that it had. */
	restored(pauses, links) {
		this.#restores++;
		this.#braking = null;
		this.links = links;
		this.pauses.clear();
		this.#confirmed.clear();
		for (const { rule, place, confirmed } of pauses) {
			if (confirmed !== null) this.#confirmed.set(rule, Math.max(confirmed, this.#confirmed.get(rule) ?? confirmed));
			else this.#confirmLater(rule, place, place === "*", this.random.between(1, 30) * HOUR);
		}
	}

	// Links, unknown and lost files.

	/** linkgen's sweep: links stay for 30 days behind their end, and no longer. */
	async checkLinks() {
		await this.step([["simulation.links"]], ([text]) => {
			let gone = 0;
			while (gone < this.links.length && this.links[gone] < this.now - 30 * DAY) gone++;
			this.links.splice(0, gone);
			this.happened.links += gone;
			const excess = Number(text) - this.links.length;
			if (excess !== 0) this.count(excess > 0 ? "late" : "early", { id: "-" }, `${text} links are left, expected ${this.links.length}`);
		});
	}

	/** A file without a row appears on a spool: it may go 6 hours after the first answer, and then must. */
	async unknown(name) {
		this.happened.unknown++;
		const first = this.now;
		const restores = this.#restores;
		for (const wait of [0, 3 * HOUR, 6 * HOUR - 1000, 6 * HOUR]) {
			this.agenda.add(first + wait, () =>
				// a restored database has forgotten it, and counts anew
				restores === this.#restores &&
				this.step([["rushes.unknown_file_seen", INGEST, name], ...(wait === 6 * HOUR ? [["rushes.unknown_file_gone", INGEST, name]] : [])], ([text]) => {
					if ((text === "true") !== (wait === 6 * HOUR)) this.count(text === "true" ? "early" : "late", { id: name }, `unknown file after ${wait / HOUR} h`);
				}),
			);
		}
	}

	/** A spool finds that a copy's file is not there. */
	async lose(r) {
		const c = r.copies.find(({ where, kind, decidedAt, gone, isLost }) => !gone && !isLost && decidedAt === null && (where === "work" || where === "ingest") && kind === "raw");
		if (!c || r.deletion || !r.failed) return;
		this.happened.lost++;
		c.isLost = true;
		await this.step([["rushes.copy_lost", c.id, c.where === "ingest" ? INGEST : TRANSCODER]]);
	}

	/** After a sweep: everything of this recording that could go is gone, or its owner is down. */
	#judge(r) {
		if (!r.deletion) {
			const expected = wholeDue(r);
			if (expected?.at <= this.now) this.#mustBeDone(r, r, [SLICE[expected.rule], "janitor"], `whole: ${describe(expected)}`, expected.rule);
		}
		for (const c of r.copies) {
			if (c.gone) continue;
			const expected = due(r, c);
			if (c.decidedAt === null) {
				if (expected?.at <= this.now) this.#mustBeDone(r, c, [SLICE[expected.rule], "janitor"], `${c.where} ${c.kind}: ${describe(expected)}`, expected.rule);
				continue;
			}
			this.#mustBeGone(r, c);
		}
	}

	#mustBeGone(r, c) {
		if (c.target === null) {
			this.#mustBeDone(r, c, [c.where === "ingest" ? "node/ingest" : "node/transcoder"], `${c.where} ${c.kind}: going, not gone`);
			return;
		}
		// a target that was down is asked again within a day
		const failed = [...this.#past.slice(-3), ...this.#outages.slice(0, 1)].findLast(({ what, until }) => (what === c.target || what === "pusher") && until > c.decidedAt && until <= this.now);
		if (failed && this.now < failed.until + DAY) this.#planSweep(onGrid(failed.until + DAY), r);
		else this.#mustBeDone(r, c, [c.target, "pusher"], `${c.where} ${c.kind}: going, not gone`);
	}

	#mustBeDone(r, subject, needs, text, rule = null) {
		const outage = this.#outage();
		const pause = this.pauses.get(rule);
		if (outage && needs.includes(outage.what)) this.#planSweep(onGrid(outage.until), r);
		else if (pause) this.#planSweep(onGrid(pause.until + 1), r);
		else if (!subject.isLate) {
			subject.isLate = true;
			this.count("late", r, text);
		}
	}

	/** Everything at once: rows that vanished without a word, rows that nobody knows of, personal data. */
	async audit() {
		const [copies, personal] = await this.db.send(`
			select coalesce(jsonb_object_agg(id, state), '{}') from rushes.copy;
			select coalesce(jsonb_object_agg(recording, 1), '{}') from rushes.recording_personal;`);
		const rows = JSON.parse(copies);
		const people = JSON.parse(personal);
		for (const c of this.copies.values()) {
			if (!c.gone && !c.recording.deletion && !rows[c.id]) this.count("early", c.recording, `${c.where} ${c.kind}: its row vanished`);
			if (c.gone && rows[c.id]) this.count("left", c.recording, `${c.where} ${c.kind}: its row stays`);
		}
		for (const [id, state] of Object.entries(rows)) {
			if ((state === "present" || state === "released") && !this.copies.has(id)) throw new Error(`copy ${id} is ${state} and unknown to the model`);
		}
		for (const id of Object.keys(people)) if (!this.recordings.has(id)) this.count("left", { id }, "personal metadata of a removed recording");
		for (const r of this.recordings.values()) {
			const holds = r.copies.some((c) => !c.gone && c.where !== "client");
			if (holds && !r.deletion && !people[r.id]) this.count("early", r, "personal metadata went before the last copy");
			const last = Math.max(...r.copies.map((c) => c.decidedAt ?? 0));
			const isBusy = r.savedAt === null || r.copying || r.converting || [...r.pushes.values()].some((push) => push.state === "unfinished");
			if (!holds && !isBusy && this.now > last + REMOVAL_LIMIT && people[r.id]) this.count("left", r, "personal metadata of what we no longer hold");
		}
	}
}

const describe = (expected) => (expected ? `${expected.rule} at ${new Date(expected.at).toISOString()}` : "nothing");
