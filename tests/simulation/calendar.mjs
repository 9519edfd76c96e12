// Midnights of time zones, from the zone data of Node alone: the simulation's own arithmetic, apart from PostgreSQL's.
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** The zone of the installation. */
export const INSTALLATION = "Europe/Bucharest";

const formats = new Map();

/** Local date and time of an instant, as the instant that the same clock face would be in UTC. */
function face(zone, at) {
	if (!formats.has(zone)) {
		formats.set(
			zone,
			new Intl.DateTimeFormat("en-US", {
				timeZone: zone,
				hourCycle: "h23",
				year: "numeric",
				month: "numeric",
				day: "numeric",
				hour: "numeric",
				minute: "numeric",
				second: "numeric",
			}),
		);
	}
	const part = Object.fromEntries(formats.get(zone).formatToParts(at).map(({ type, value }) => [type, Number(value)]));
	return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) + (at % SECOND);
}

/** The first instant of a local day, `day` counted from 1970-01-01; where midnight is left out, the first one after it. */
function dayBegins(zone, day) {
	let low = day * DAY - 20 * HOUR;
	let high = day * DAY + 20 * HOUR;
	// the offsets of these years are of whole minutes
	while (high - low > MINUTE) {
		const middle = low + Math.floor((high - low) / MINUTE / 2) * MINUTE;
		if (face(zone, middle) < day * DAY) low = middle;
		else high = middle;
	}
	return high;
}

/** Asked again and again for the same few arguments, and slow. */
function remembered(compute) {
	const zones = new Map();
	return (zone, value) => {
		let known = zones.get(zone);
		if (!known) zones.set(zone, (known = new Map()));
		let result = known.get(value);
		if (result === undefined) known.set(value, (result = compute(zone, value)));
		return result;
	};
}

const midnight = remembered(dayBegins);
// clocks change on a quarter of an hour
const offset = remembered((zone, quarter) => face(zone, quarter * 15 * MINUTE) - quarter * 15 * MINUTE);
const localTime = (zone, at) => at + offset(zone, Math.floor(at / (15 * MINUTE)));

/** "28 days at midnight": the starting day is day 1, the midnight that closes day 28 is the end. */
export const after28Days = (start) => midnight(INSTALLATION, Math.floor(localTime(INSTALLATION, start) / DAY) + 28);

/** The first local midnight at which something is at least `days` old. */
export const firstMidnightOfAge = (start, days, zone) => midnight(zone, Math.ceil(localTime(zone, start) / DAY) + days);
