// One run: years of recordings in one PostgreSQL, by a clock that jumps from one event to the next.
import { INGEST, START, TRANSCODER, world as database } from "../lib/steps.mjs";
import { Agenda } from "./agenda.mjs";
import { DAY, HOUR } from "./calendar.mjs";
import { startSimulationDatabase } from "./database.mjs";
import { Judge } from "./judge.mjs";
import { Disaster } from "./restore.mjs";
import { Random } from "./random.mjs";
import { World } from "./world.mjs";

const AUDIT_EVERY = 180 * DAY;
/** Finished jobs and events are dropped as the janitor does it. */
const PARTITIONS_EVERY = 30 * DAY;
const KEEP_DAYS = 40;
const TELL_EVERY_MS = 30_000;
/** As often is the database lost. */
const RESTORE_EVERY = 800 * DAY;
/** From here on one account is large enough for a rule of its own to be braked. */
const MANY = 5000;
/** People who record at the same time, on average. */
const MOST_AT_ONCE = 20;
/** Rules that a person pauses now and then: those that nobody waits for within minutes. */
const PAUSED = ["raw-copied", "work-delivered", "failed-delivery", "failed-conversion", "lifecycle", "subscription-expired", "trial-expired"];

/** Resolves to {recordings, deletions, early, late, left, disagreements, happened}. `signal` ends it, and nothing stays behind;
 *  `tell` hears of each disagreement, and now and then how far it is. */
export async function simulate({ seed, years, recordings, signal, tell = () => {} }) {
	const db = await startSimulationDatabase();
	try {
		const random = new Random(seed);
		const agenda = new Agenda();
		const begin = Date.parse(START);
		const end = begin + years * 365 * DAY;
		const targets = new Map([[database.target, { owner: "ours" }]]);
		const judge = new Judge({ db, agenda, random, begin, end, targets, tell });
		const open = Math.min(Math.max(3, Math.round(recordings / 400)), 20);
		const world = new World({ judge, agenda, random, ours: database.target, targets, open, ...(recordings < MANY ? { largeShare: 0.1, discarded: 0.1 } : { largeShare: 0.6, discarded: 0.35 }) });
		await judge.step([
			["rushes.node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1, 1, false],
			["rushes.node_beat", TRANSCODER, "eu1", "transcoder", "https://localhost:2", 1, 1, false],
		]);
		await db.send("update rushes.node set beat_at = 'infinity';");
		const any = () => begin + Math.floor(random.next() * (end - begin));
		const every = (period, run) => {
			for (let at = begin + period; at < end + period; at += period) agenda.add(Math.min(at, end), run);
		};
		// many people at a time where there are many in all: what happens at the same moment costs less
		const party = Math.min(Math.max(recordings / 2000, 1), MOST_AT_ONCE);
		for (let left = recordings; left > 0; ) {
			const size = Math.min(random.between(1, Math.round(2 * party) - 1), left);
			left -= size;
			agenda.add(any(), () => world.party(size));
		}
		every(AUDIT_EVERY, () => judge.audit());
		every(PARTITIONS_EVERY, () => judge.step([["rushes.partitions_maintain", 0, KEEP_DAYS]]));
		every(7 * DAY, () => judge.checkLinks());
		every(100 * DAY, () => judge.jump());
		for (let i = 0; i < 6 * years; i++) agenda.add(any(), () => judge.pause(random.pick(PAUSED), random.spread(HOUR, 4 * DAY)));
		for (let i = 0; i < 10 * years; i++) agenda.add(any(), () => judge.unknown(`file-${i}`));
		for (const part of [0.35, 0.65, 0.95]) agenda.add(begin + Math.floor(part * (end - begin)), () => world.overreach());
		const disaster = new Disaster({ db, judge, world, ours: database.target, random });
		for (let at = begin + RESTORE_EVERY; at < end; at += RESTORE_EVERY) agenda.add(at + random.between(0, 48) * HOUR, () => disaster.backup(agenda));
		let steps = 0;
		let told = performance.now();
		for (let entry = agenda.take(); entry && entry.at <= end; entry = agenda.take()) {
			signal?.throwIfAborted();
			if (performance.now() > told + TELL_EVERY_MS) {
				told = performance.now();
				tell(`${((entry.at - begin) / DAY / 365).toFixed(2)} of ${years} years, ${counts(judge.counts)}`);
			}
			judge.now = entry.at;
			await entry.run();
			steps++;
		}
		return { ...judge.counts, disagreements: judge.disagreements, happened: { steps, ...world.counts, ...judge.happened, ...disaster.counts } };
	} finally {
		await db.stop();
	}
}

const counts = ({ recordings, deletions, early, late, left }) => `recordings=${recordings} deletions=${deletions} early=${early} late=${late} left=${left}`;

export const lastLine = (result) => `simulation ${counts(result)}`;
