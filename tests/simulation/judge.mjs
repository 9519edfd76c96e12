// Compares what PostgreSQL did with what the model says: the sweeps, their outages, and the three counts of disagreements.
import { INGEST, TRANSCODER } from "../lib/steps.mjs";
import { DAY, HOUR, MINUTE } from "./calendar.mjs";
import { texts, uuids } from "./database.mjs";
import { SLICE, due, wholeDue } from "./model.mjs";

/** How often the services sweep. */
const PERIOD = 15 * MINUTE;
const REMOVAL_LIMIT = 5 * DAY;
const SLICES = ["ingest", "transcoder", "storage-pusher", "janitor"];
const NODES = { "node/ingest": INGEST, "node/transcoder": TRANSCODER };
const onGrid = (at) => Math.ceil(at / PERIOD) * PERIOD;

export class Judge {
	counts = { deletions: 0, early: 0, late: 0, left: 0 };
	recordings = new Map();
	copies = new Map();
	disagreements = [];
	#sweeps = new Map();
	#outages = [];

	constructor({ db, agenda, random, begin, end, targets }) {
		Object.assign(this, { db, agenda, now: begin, targets });
		// one thing is down at a time, and never so soon after another that five days could not do
		for (let at = begin + random.spread(DAY, 20 * DAY); at < end; at += random.spread(6 * DAY, 60 * DAY)) {
			this.#outages.push({ at, until: at + random.spread(2 * HOUR, 3 * DAY), what: null, roll: random.next() });
		}
	}

	#count(kind, r, text) {
		this.counts[kind]++;
		this.disagreements.push(`${kind}: ${new Date(this.now).toISOString()} recording ${r.id} ${text}`);
	}

	/** What is down now: {what, until}, or null. */
	#outage() {
		const outage = this.#outages.find(({ at, until }) => at <= this.now && this.now < until);
		if (!outage) return null;
		const things = [...SLICES, ...Object.keys(NODES), "pusher", ...this.targets.keys()];
		outage.what ??= things[Math.floor(outage.roll * things.length)];
		return outage;
	}

	#isDown = (what) => this.#outage()?.what === what;

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
		if (kind === "decided" && copy === null) this.#wholeDecided(r, rule);
		else if (kind === "decided" && c && c.decidedAt === null) {
			const expected = due(r, c);
			if (!expected || expected.at > this.now) {
				this.#count("early", r, `${c.where} ${c.kind}: decided by ${rule}, expected ${describe(expected)}`);
			}
			c.decidedAt = this.now;
		} else if (kind === "gone" && c) {
			if (c.decidedAt === null) this.#count("early", r, `${c.where} ${c.kind}: gone without a decision`);
			c.gone = true;
			this.counts.deletions++;
		}
	}

	#wholeDecided(r, rule) {
		if (!r.deletion) {
			const expected = wholeDue(r);
			if (!expected || expected.at > this.now) this.#count("early", r, `whole: decided by ${rule}, expected ${describe(expected)}`);
			r.deletion = { at: this.now, rule };
		}
		const at = onGrid(r.deletion.at + REMOVAL_LIMIT);
		if (r.deletion.isFollowed) return;
		r.deletion.isFollowed = true;
		this.agenda.add(at, () => this.#checkLeft(r));
		this.plan(r);
	}

	async #checkLeft(r) {
		await this.step([["simulation.left_of", uuids([r.id])]], ([left]) => {
			if (Number(left) > 0) this.#count("left", r, `${left} rows five days after ${r.deletion.rule}`);
			r.isRemoved = true;
		});
	}

	/** Puts the times at which something of a recording is due on the agenda: just before a midnight, and the sweep that must
	 *  take it. */
	plan(r) {
		const times = new Set([...r.copies].filter((c) => !c.gone).map((c) => (c.decidedAt === null ? due(r, c)?.at : this.now)));
		times.add(r.deletion ? r.deletion.at : wholeDue(r)?.at);
		for (const at of times) {
			if (at === undefined) continue;
			if (at > this.now + 1000 && at % MINUTE === 0) this.#planSweep(at - 1000, null);
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

	async #sweep() {
		const { now } = this;
		const expected = this.#sweeps.get(now);
		const slices = SLICES.filter((slice) => !this.#isDown(slice));
		const nodes = Object.keys(NODES).filter((node) => !this.#isDown(node));
		const down = [...this.targets.keys()].filter((target) => this.#isDown(target));
		const isPusherUp = !this.#isDown("pusher");
		await this.step([["simulation.sweep", texts(slices), uuids(nodes.map((node) => NODES[node])), isPusherUp, uuids(down)]]);
		this.#sweeps.delete(now);
		for (const r of expected) this.#judge(r);
	}

	/** After a sweep: everything of this recording that could go is gone, or its owner is down. */
	#judge(r) {
		if (!r.deletion) {
			const expected = wholeDue(r);
			if (expected?.at <= this.now) this.#mustBeDone(r, r, [SLICE[expected.rule], "janitor"], `whole: ${describe(expected)}`);
		}
		for (const c of r.copies) {
			if (c.gone) continue;
			const expected = due(r, c);
			if (c.decidedAt === null) {
				if (expected?.at <= this.now) this.#mustBeDone(r, c, [SLICE[expected.rule], "janitor"], `${c.where} ${c.kind}: ${describe(expected)}`);
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
		const failed = this.#outages.findLast(({ what, until }) => (what === c.target || what === "pusher") && until > c.decidedAt && until <= this.now);
		if (failed && this.now < failed.until + DAY) this.#planSweep(onGrid(failed.until + DAY), r);
		else this.#mustBeDone(r, c, [c.target, "pusher"], `${c.where} ${c.kind}: going, not gone`);
	}

	#mustBeDone(r, subject, needs, text) {
		const outage = this.#outage();
		if (outage && needs.includes(outage.what)) this.#planSweep(onGrid(outage.until), r);
		else if (!subject.isLate) {
			subject.isLate = true;
			this.#count("late", r, text);
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
			if (!c.gone && !c.recording.deletion && !rows[c.id]) this.#count("early", c.recording, `${c.where} ${c.kind}: its row vanished`);
			if (c.gone && rows[c.id]) this.#count("left", c.recording, `${c.where} ${c.kind}: its row stays`);
		}
		for (const [id, state] of Object.entries(rows)) {
			if ((state === "present" || state === "released") && !this.copies.has(id)) throw new Error(`copy ${id} is ${state} and unknown to the model`);
		}
		for (const r of this.recordings.values()) {
			const holds = r.copies.some((c) => !c.gone && c.where !== "client");
			if (holds && !r.deletion && !people[r.id]) this.#count("early", r, "personal metadata went before the last copy");
			if (r.isRemoved && people[r.id]) this.#count("left", r, "personal metadata");
			const last = Math.max(...r.copies.map((c) => c.decidedAt ?? 0));
			const isBusy = r.savedAt === null || r.copying || r.converting || [...r.pushes.values()].some((push) => push.state === "unfinished");
			if (!holds && !isBusy && this.now > last + REMOVAL_LIMIT && people[r.id]) this.#count("left", r, "personal metadata of what we no longer hold");
		}
	}
}

const describe = (expected) => (expected ? `${expected.rule} at ${new Date(expected.at).toISOString()}` : "nothing");
