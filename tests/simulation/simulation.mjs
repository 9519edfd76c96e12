// One run: years of recordings in one PostgreSQL, by a clock that jumps from one event to the next.
import { INGEST, START, TRANSCODER, world as database } from "../lib/steps.mjs";
import { Agenda } from "./agenda.mjs";
import { DAY, HOUR } from "./calendar.mjs";
import { startSimulationDatabase } from "./database.mjs";
import { Judge } from "./judge.mjs";
import { Random } from "./random.mjs";
import { World } from "./world.mjs";

const AUDIT_EVERY = 180 * DAY;
/** Finished jobs and events are dropped as the janitor does it. */
const PARTITIONS_EVERY = 30 * DAY;
const KEEP_DAYS = 40;
/** Rules that a person pauses now and then: those that nobody waits for within minutes. */
const PAUSED = ["raw-copied", "work-delivered", "failed-delivery", "failed-conversion", "lifecycle", "subscription-expired", "trial-expired"];

/** Resolves to {recordings, deletions, early, late, left, disagreements, happened}. */
export async function simulate({ seed, years, recordings }) {
	const db = await startSimulationDatabase();
	try {
		const random = new Random(seed);
		const agenda = new Agenda();
		const begin = Date.parse(START);
		const end = begin + years * 365 * DAY;
		const targets = new Map([[database.target, { owner: "ours" }]]);
		const judge = new Judge({ db, agenda, random, begin, end, targets });
		const open = Math.min(Math.max(3, Math.round(recordings / 400)), 20);
		const world = new World({ judge, agenda, random, ours: database.target, targets, open });
		await judge.step([
			["rushes.node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1, 1, false],
			["rushes.node_beat", TRANSCODER, "eu1", "transcoder", "https://localhost:2", 1, 1, false],
		]);
		await db.send("update rushes.node set beat_at = 'infinity';");
		const any = () => begin + Math.floor(random.next() * (end - begin));
		const every = (period, run) => {
			for (let at = begin + period; at < end + period; at += period) agenda.add(Math.min(at, end), run);
		};
		for (let i = 0; i < recordings; i++) agenda.add(any(), () => world.record());
		every(AUDIT_EVERY, () => judge.audit());
		every(PARTITIONS_EVERY, () => judge.step([["rushes.partitions_maintain", 0, KEEP_DAYS]]));
		every(7 * DAY, () => judge.checkLinks());
		every(100 * DAY, () => judge.jump());
		for (let i = 0; i < 6 * years; i++) agenda.add(any(), () => judge.pause(random.pick(PAUSED), random.spread(HOUR, 4 * DAY)));
		for (let i = 0; i < 10 * years; i++) agenda.add(any(), () => judge.unknown(`file-${i}`));
		let steps = 0;
		for (let entry = agenda.take(); entry && entry.at <= end; entry = agenda.take()) {
			judge.now = entry.at;
			await entry.run();
			steps++;
		}
		return { ...judge.counts, disagreements: judge.disagreements, happened: { steps, ...world.counts, ...judge.happened } };
	} finally {
		await db.stop();
	}
}

export const lastLine = (seed, { recordings, deletions, early, late, left }) =>
	`simulation seed=${seed} recordings=${recordings} deletions=${deletions} early=${early} late=${late} left=${left}`;
