// Ten minutes of mixed load: streams of 64 kbit/s that come and go, whole files by POST, handshakes. Memory that grows with
// time rather than with load is a leak.
import fs from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { bench, median, rssKib, runLoad } from "./lib/measure.mjs";
import { startOurs } from "./lib/servers.mjs";

const HELP = `usage: make bench-soak [BENCH="OPTIONS"]
  --minutes N   10
  --streams N   of 64 kbit/s at once: 200
Prints what the service holds every minute and "bench ingest.soak_growth_kib", the median of the last quarter against that
of the second.`;

const CHUNK_BYTES = 8000;
// how long one stream lasts before another takes its place
const GENERATION_S = 20;
const SAMPLE_MS = 2000;

const { values } = parseArgs({
	options: {
		help: { type: "boolean" },
		minutes: { type: "string", default: "10" },
		streams: { type: "string", default: "200" },
	},
});
if (values.help) {
	console.log(HELP);
	process.exit(0);
}
const minutes = Number(values.minutes);
const streams = Number(values.streams);
const ours = await startOurs("bench-soak");
const end = Date.now() + minutes * 60_000;
const samples = [];
const counts = { generations: 0, files: 0, handshakes: 0 };

async function until(work) {
	while (Date.now() < end) await work();
}

/** Half of the streams at a time, so that one half is always in the middle. */
function streamsComeAndGo() {
	const load = { ...ours.load, path: "/v1/stream", streams: streams / 2, message: CHUNK_BYTES, interval: 1000 };
	return until(async () => {
		await runLoad("stream", { ...load, warm: 1, seconds: GENERATION_S }, { seconds: GENERATION_S });
		counts.generations++;
	});
}

try {
	await Promise.all([
		streamsComeAndGo(),
		delay((GENERATION_S * 1000) / 2).then(streamsComeAndGo),
		until(async () => {
			await runLoad("post", { ...ours.load, path: "/v1/recordings", bytes: 16 * 1024 * 1024 });
			counts.files++;
			await delay(1000);
		}),
		until(async () => {
			await runLoad("handshake", { ...ours.load, streams: 20, resume: counts.handshakes % 2 === 1 });
			counts.handshakes++;
			await delay(1000);
		}),
		until(async () => {
			samples.push(rssKib(ours.pid()));
			if (samples.length % Math.round(60_000 / SAMPLE_MS) === 0)
				console.log(`# ${samples.at(-1)} KiB after ${(samples.length * SAMPLE_MS) / 60_000} minutes`);
			await delay(SAMPLE_MS);
		}),
	]);
	const quarter = Math.floor(samples.length / 4);
	bench("ingest.soak_rss_kib", median(samples.slice(-quarter)), "KiB");
	bench("ingest.soak_growth_kib", median(samples.slice(-quarter)) - median(samples.slice(quarter, 2 * quarter)), "KiB");
	bench("ingest.soak_streams", counts.generations * (streams / 2), "streams");
	bench("ingest.soak_files", counts.files, "files");
	bench("ingest.soak_handshakes", counts.handshakes * 20, "handshakes");
} finally {
	await ours.stack.remove();
	fs.rmSync(ours.stack.dir, { recursive: true, force: true });
}
