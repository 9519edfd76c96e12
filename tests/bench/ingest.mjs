// What receiving costs: CPU for a GiB by every way in, beside the servers that people would otherwise put there and beside the
// bare primitives; acknowledgement latency; memory; handshakes. docs/benchmarks.md tells how to read it.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { stopProcess } from "../../scripts/lib/process.mjs";
import { GIB, bench, cpuSeconds, loopSeconds, measureFloor, median, rssKib, runLoad, startLoad } from "./lib/measure.mjs";
import { startNginx, startOurs, startTusServer } from "./lib/servers.mjs";

const HELP = `usage: make bench-ingest [BENCH="OPTIONS"]
  --parts LIST      of cpu, handshakes, acks, memory: all
  --runs N          of each server, alternating, for cpu: 7
  --mib N           of one run: 512
  --streams LIST    concurrent streams for acks: 100,1000,5000
  --seconds N       that acknowledgements are measured: 20
  --idle N          streams whose memory is measured: 1000
  --set NAME=VALUE  a RUSHES_* setting of ingest; may be repeated
Prints lines "bench NAME VALUE UNIT" and ends by itself; uses var/test/bench-ingest, free loopback ports and no more.`;

const PARTS = ["cpu", "handshakes", "acks", "memory"];
const CHUNK_BYTES = 8000; // a second of 64 kbit/s
const HANDSHAKES = 300;
// streams begun a second: client and server shake hands on the same cores
const OPEN_RATE = 100;

function options() {
	const string = (initial) => ({ type: "string", default: initial });
	const { values } = parseArgs({
		options: {
			help: { type: "boolean" },
			parts: string(PARTS.join(",")),
			runs: string("7"),
			mib: string("512"),
			streams: string("100,1000,5000"),
			seconds: string("20"),
			idle: string("1000"),
			set: { type: "string", multiple: true, default: [] },
		},
	});
	if (values.help) {
		console.log(HELP);
		process.exit(0);
	}
	const parts = values.parts.split(",");
	const unknown = parts.filter((part) => !PARTS.includes(part));
	if (unknown.length > 0) throw new Error(`unknown parts: ${unknown.join(", ")}; there are ${PARTS.join(", ")}`);
	return {
		parts,
		runs: Number(values.runs),
		bytes: Number(values.mib) * 1024 * 1024,
		streams: values.streams.split(",").map(Number),
		seconds: Number(values.seconds),
		idle: Number(values.idle),
		settings: Object.fromEntries(values.set.map((one) => one.split(/=(.*)/s).slice(0, 2))),
	};
}

/** CPU seconds of a server for one GiB of a load. */
async function costOf({ mode, pid, load, clear }, bytes) {
	const before = cpuSeconds(pid);
	const result = await runLoad(mode, { ...load, bytes });
	const took = cpuSeconds(pid) - before;
	clear?.();
	if (result.bytes !== bytes) throw new Error(`${mode}: ${result.bytes} of ${bytes} bytes were sent`);
	return (took * GIB) / bytes;
}

async function measureCpu(ours, o) {
	const nginx = await startNginx(ours.stack);
	const tusServer = await startTusServer(ours.stack);
	const pid = ours.pid();
	const ways = {
		"ingest.wss": { mode: "stream", pid, load: { ...ours.load, path: "/v1/stream" } },
		"nginx.put": { mode: "put", ...nginx },
		"ingest.post": { mode: "post", pid, load: { ...ours.load, path: "/v1/recordings" } },
		"ingest.tus": { mode: "tus", pid, load: { ...ours.load, path: "/v1/tus" } },
		"tus_server.tus": { mode: "tus", ...tusServer },
	};
	const costs = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
	const floors = [];
	const loops = [];
	// a run of each that does not count: files, connections and code are warm afterwards
	for (let run = 0; run <= o.runs; run++) {
		// each in another place each time: what the one before left in memory and caches is nobody's for good
		const order = Object.entries(ways);
		order.push(...order.splice(0, run % order.length));
		for (const [name, way] of order) {
			const before = loopSeconds(pid);
			const cost = await costOf(way, o.bytes);
			if (run > 0) costs[name].push(cost);
			if (run > 0 && name === "ingest.wss") loops.push(((loopSeconds(pid) - before) * GIB) / o.bytes);
		}
		const floor = measureFloor(o.bytes, path.join(ours.stack.dir, "floor"));
		if (run > 0) floors.push(floor);
	}
	const middle = Object.fromEntries(Object.entries(costs).map(([name, values]) => [name, median(values)]));
	for (const [name, values] of Object.entries(costs)) {
		bench(`${name}.cpu`, middle[name], "s/GiB");
		bench(`${name}.cpu_min`, Math.min(...values), "s/GiB");
		bench(`${name}.cpu_max`, Math.max(...values), "s/GiB");
	}
	// one thread has all sockets: a process takes at most 1 / this GiB a second
	bench("ingest.wss.loop_cpu", median(loops), "s/GiB");
	for (const primitive of Object.keys(floors[0]))
		bench(`floor.${primitive}.cpu`, median(floors.map((floor) => floor[primitive])), "s/GiB");
	const floor = median(floors.map(({ sum }) => sum));
	for (const way of ["wss", "post", "tus"].filter((one) => middle[`ingest.${one}`])) {
		const cost = middle[`ingest.${way}`];
		bench(`ingest.${way}.cpu_vs_nginx`, cost / middle["nginx.put"], "ratio");
		bench(`ingest.${way}.cpu_vs_tus_server`, cost / middle["tus_server.tus"], "ratio");
		bench(`ingest.${way}.cpu_vs_floor`, cost / floor, "ratio");
	}
}

async function measureHandshakes(ours) {
	for (const resume of [false, true]) {
		const before = cpuSeconds(ours.pid());
		const result = await runLoad("handshake", { ...ours.load, streams: HANDSHAKES, resume });
		const each = (cpuSeconds(ours.pid()) - before) / HANDSHAKES;
		const name = resume ? "resumed" : "full";
		bench(`ingest.handshake_${name}`, each * 1e6, "us");
		if (result.resumed !== (resume ? HANDSHAKES : 0))
			throw new Error(`${result.resumed} of ${HANDSHAKES} handshakes were resumed where resume is ${resume}`);
	}
}

/** Streams of 64 kbit/s, a chunk a second each, spread evenly. */
async function measureAcks(ours, streams, seconds) {
	const pid = ours.pid();
	let before, used;
	const result = await runLoad(
		"stream",
		{ ...ours.load, path: "/v1/stream", streams, message: CHUNK_BYTES, interval: 1000, seconds, "open-rate": OPEN_RATE },
		{
			seconds,
			mayFail: true,
			at: ({ event }) => {
				if (event === "measuring") before = cpuSeconds(pid);
				if (event === "measured") used = cpuSeconds(pid) - before;
			},
		},
	);
	bench(`ingest.ack_p50_ms.${streams}`, result.p50_ms, "ms");
	bench(`ingest.ack_p99_ms.${streams}`, result.p99_ms, "ms");
	bench(`ingest.ack_max_ms.${streams}`, result.max_ms, "ms");
	bench(`ingest.acks.${streams}`, result.acks, "acknowledgements");
	bench(`ingest.dropped.${streams}`, result.failed + result.unacknowledged, "streams");
	bench(`ingest.cores.${streams}`, used / seconds, "cores");
	if (result.said) console.error(result.said);
}

/** What each of `streams` streams holds while all do nothing, after `bytes` of each. */
async function idleKib(ours, streams, bytes) {
	const before = rssKib(ours.pid());
	let kib = 0;
	const held = startLoad(
		"stream",
		{ ...ours.load, path: "/v1/stream", streams, bytes, hold: true, "open-rate": OPEN_RATE },
		{
			at: ({ event }) => {
				if (event !== "holding") return;
				// what was allocated for the opening alone is given back by then
				setTimeout(() => {
					kib = (rssKib(ours.pid()) - before) / streams;
					held.release();
				}, 2000);
			},
		},
	);
	await held.end;
	return kib;
}

async function measureMemory(ours, streams, seconds) {
	const fresh = async () => {
		await stopProcess(ours.stack.dir, ours.stack.services.ingest);
		await ours.stack.restart("ingest");
		// code and pools that every process comes to hold
		await runLoad("stream", { ...ours.load, path: "/v1/stream", streams: 20, bytes: 4 * 1024 * 1024 });
	};
	await fresh();
	bench("ingest.rss_base_kib", rssKib(ours.pid()), "KiB");
	bench("ingest.rss_idle_kib", await idleKib(ours, streams, 0), "KiB");
	await fresh();
	bench("ingest.rss_idle_after_bytes_kib", await idleKib(ours, streams, 256 * 1024), "KiB");
	await fresh();
	const before = rssKib(ours.pid());
	let most = 0;
	await runLoad(
		"stream",
		{ ...ours.load, path: "/v1/stream", streams, message: CHUNK_BYTES, interval: 1000, seconds, "open-rate": OPEN_RATE },
		{ seconds, at: ({ event }) => (most = event.startsWith("meas") ? Math.max(most, rssKib(ours.pid())) : most) },
	);
	bench("ingest.rss_active_kib", (most - before) / streams, "KiB");
}

const o = options();
const ours = await startOurs("bench-ingest", o.settings);
try {
	console.log(`# ${os.cpus().length} x ${os.cpus()[0].model}, ${os.release()}, Node ${process.version}`);
	if (o.parts.includes("cpu")) await measureCpu(ours, o);
	if (o.parts.includes("handshakes")) await measureHandshakes(ours);
	for (const streams of o.parts.includes("acks") ? o.streams : []) await measureAcks(ours, streams, o.seconds);
	if (o.parts.includes("memory")) await measureMemory(ours, o.idle, o.seconds);
} finally {
	await ours.stack.remove();
	fs.rmSync(ours.stack.dir, { recursive: true, force: true });
}
