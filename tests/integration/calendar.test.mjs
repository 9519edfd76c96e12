// The calendar of the rules against an arithmetic of its own: the clock changes that zdump tells, and nothing of PostgreSQL's.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { generator } from "../chaos/random.mjs";
import { stack, startDatabase, value } from "../lib/steps.mjs";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SEED = Number(process.env.SEED ?? Date.now() % 100_000);
const YEARS = [2005, 2037];
// midnights that are left out (Cairo, Beirut, Santiago, Sao Paulo, Asuncion), that come twice (Havana, Azores), a day that was left
// out (Apia), half an hour (Lord Howe), quarters (Kathmandu, Chatham), a summer that is turned round (Dublin), a break in summer
// (Casablanca), and some plain ones
const ZONES = [
	"Europe/Bucharest", "Africa/Cairo", "Asia/Beirut", "America/Santiago", "America/Sao_Paulo", "America/Asuncion", "America/Havana",
	"Atlantic/Azores", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Chatham", "Europe/Dublin", "Africa/Casablanca",
	"America/New_York", "Asia/Tokyo", "Asia/Tehran", "Asia/Gaza", "Europe/Lisbon", "UTC", "Pacific/Kiritimati",
];

/** [{at, offset}]: from `at` on the zone is `offset` ahead of UTC; the first one from the beginning of time. */
function changesOf(zone) {
	const changes = [];
	const text = execFileSync("/usr/bin/zdump", ["-v", "-c", `${YEARS[0] - 4},${YEARS[1] + 3}`, zone], { encoding: "utf8" });
	for (const [, at, offset] of text.matchAll(/ {2}\w+ (\w+ +\d+ [\d:]+ \d+) UT = .*gmtoff=(-?\d+)/g))
		changes.push({ at: Date.parse(`${at} UTC`), offset: Number(offset) * SECOND });
	if (changes.length > 0) return [{ ...changes[0], at: -Infinity }, ...changes];
	const now = execFileSync("/bin/date", ["+%z"], { env: { TZ: zone }, encoding: "utf8" });
	const [, sign, hours, minutes] = /([+-])(\d\d)(\d\d)/.exec(now);
	return [{ at: -Infinity, offset: (sign === "-" ? -1 : 1) * (Number(hours) * HOUR + Number(minutes) * MINUTE) }];
}

class Zone {
	constructor(name) {
		this.name = name;
		this.changes = changesOf(name);
	}

	/** The local clock at an instant, as if it were UTC. */
	face(at) {
		let i = this.changes.length - 1;
		while (this.changes[i].at > at) i--;
		return at + this.changes[i].offset;
	}

	/** The first instant whose local clock says this or later: within some stretch between two changes, or at its beginning. */
	begins(day) {
		for (let i = 0; i < this.changes.length; i++) {
			const { at, offset } = this.changes[i];
			const end = this.changes[i + 1]?.at ?? Infinity;
			const wanted = Math.max(day - offset, at);
			if (wanted < end) return wanted;
		}
		throw new Error("no end of days");
	}

	after28Days(start) {
		return this.begins(Math.floor(this.face(start) / DAY) * DAY + 28 * DAY);
	}

	firstMidnight(start, days) {
		return this.begins(Math.ceil((this.face(start) + days * DAY) / DAY) * DAY);
	}
}

const random = generator(SEED);
const between = (low, high) => Math.floor(low + random() * (high - low));

/** Starts whose 28th day or whose age in days ends about a clock change, on both sides of it; and some of any time. */
function* cases(zone) {
	const real = zone.changes.filter(({ at }) => at > Date.UTC(YEARS[0], 2) && at < Date.UTC(YEARS[1] - 1, 6));
	for (let n = 0; n < 120; n++) {
		const days = between(1, 400);
		const near = real.length > 0 && random() < 0.8 ? real[between(0, real.length)].at : Date.UTC(between(...YEARS), between(0, 12), between(1, 32));
		const back = (random() < 0.5 ? 28 : days) * DAY;
		let start = near - back + between(-3 * DAY, 3 * DAY);
		// the edges themselves: local midnight, a second before, the instant of the change
		if (random() < 0.3) start = zone.begins(Math.floor(zone.face(start) / DAY) * DAY) - (random() < 0.5 ? 0 : SECOND);
		else if (random() < 0.2) start = near - back;
		yield [Math.floor(start / SECOND) * SECOND, days];
	}
	for (const year of [2008, 2024, 2028, 2036])
		for (const day of [1, 28, 29]) yield [Date.UTC(year, 1, day, between(0, 24), between(0, 60)), between(1, 3)];
}

before(startDatabase);
after(() => stack.remove());

test(`midnights in ${ZONES.length} zones are where zdump says that the clocks are (SEED=${SEED})`, async () => {
	for (const name of ZONES) {
		const zone = new Zone(name);
		const all = [...cases(zone)];
		const rows = await stack.postgres.query(`select extract(epoch from rushes.midnight_after_28_days(c.start, '${name}'))::bigint as later,
			extract(epoch from rushes.lifecycle_due(c.start, c.days, '${name}'))::bigint as old
			from (values ${all.map(([start, days], i) => `(${i}, '${new Date(start).toISOString()}'::timestamptz, ${days})`).join(", ")}) c(i, start, days) order by c.i`);
		all.forEach(([start, days], i) => {
			const words = `${name}: ${new Date(start).toISOString()}`;
			const iso = (seconds) => new Date(Number(seconds) * SECOND).toISOString();
			assert.equal(iso(rows[i].later), new Date(zone.after28Days(start)).toISOString(), `${words}, 28 days`);
			assert.equal(iso(rows[i].old), new Date(zone.firstMidnight(start, days)).toISOString(), `${words}, ${days} days`);
			// nothing goes before it is old enough by the local clock, nor more than a local day after
			const age = zone.face(Number(rows[i].old) * SECOND) - zone.face(start) - days * DAY;
			assert.ok(age >= 0 && age < 2 * DAY, `${words} goes ${age / HOUR} hours after ${days} days`);
		});
	}
});

test("days without a midnight, with two, and days that never were", async () => {
	for (const [day, zone, at] of [
		["2023-04-28", "Africa/Cairo", "2023-04-27 22:00:00"], // began at 01:00
		["2023-10-27", "Africa/Cairo", "2023-10-26 22:00:00"], // 23:00 to midnight came twice before it
		["2022-03-27", "Asia/Beirut", "2022-03-26 22:00:00"],
		["2022-09-11", "America/Santiago", "2022-09-11 04:00:00"],
		["2024-03-10", "America/Havana", "2024-03-10 05:00:00"],
		["2024-11-03", "America/Havana", "2024-11-03 04:00:00"], // the first of its two midnights
		["2025-10-26", "Atlantic/Azores", "2025-10-26 00:00:00"],
		["2011-12-30", "Pacific/Apia", "2011-12-30 10:00:00"], // was left out
		["2019-12-02", "Europe/Bucharest", "2019-12-01 22:00:00"],
	]) {
		assert.equal(await value(`select rushes.day_begins('${day}', '${zone}') at time zone 'UTC'`), at, `${day} ${zone}`);
	}
});
