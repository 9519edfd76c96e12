// One run: years of recordings in one PostgreSQL, by a clock that jumps from one event to the next.
import { INGEST, START, TRANSCODER, world as database } from "../lib/steps.mjs";
import { Agenda } from "./agenda.mjs";
import { DAY } from "./calendar.mjs";
import { startSimulationDatabase } from "./database.mjs";
import { Judge } from "./judge.mjs";
import { Random } from "./random.mjs";
import { World } from "./world.mjs";

const AUDIT_EVERY = 60 * DAY;

/** Resolves to {recordings, deletions, early, late, left, disagreements, world}. */
export async function simulate({ seed, years, recordings }) {
	const db = await startSimulationDatabase();
	try {
		const random = new Random(seed);
		const agenda = new Agenda();
		const begin = Date.parse(START);
		const end = begin + years * 365 * DAY;
		const targets = new Map([[database.target, { owner: "ours" }]]);
		const judge = new Judge({ db, agenda, random, begin, end, targets });
		const world = new World({ judge, agenda, random, ours: database.target, targets });
		await judge.step([
			["rushes.node_beat", INGEST, "eu1", "ingest", "https://localhost:1", 1, 1, false],
			["rushes.node_beat", TRANSCODER, "eu1", "transcoder", "https://localhost:2", 1, 1, false],
		]);
		for (let i = 0; i < recordings; i++) agenda.add(begin + Math.floor(random.next() * (end - begin)), () => world.record());
		for (let at = begin + AUDIT_EVERY; at < end + AUDIT_EVERY; at += AUDIT_EVERY) agenda.add(Math.min(at, end), () => judge.audit());
		let steps = 0;
		for (let entry = agenda.take(); entry && entry.at <= end; entry = agenda.take()) {
			judge.now = entry.at;
			await entry.run();
			steps++;
		}
		return { ...judge.counts, recordings: judge.recordings.size, disagreements: judge.disagreements, happened: { steps, ...world.counts } };
	} finally {
		await db.stop();
	}
}

export const lastLine = (seed, { recordings, deletions, early, late, left }) =>
	`simulation seed=${seed} recordings=${recordings} deletions=${deletions} early=${early} late=${late} left=${left}`;
