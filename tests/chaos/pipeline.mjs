// Recordings go through the whole stack while its processes are killed at random moments; then each must have arrived, byte for
// byte. Bounded in number and time, and stops by itself.
//
//	node tests/chaos/pipeline.mjs        CHAOS_RECORDINGS=30 CHAOS_KILLS=20 CHAOS_KILL_EVERY_MS=3000 CHAOS_SEED=1
//
// Ends with: chaos pipeline seed=N recordings=N kills=N lost=N mismatched=N
import fs from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { SERVICES } from "../../scripts/lib/identities.mjs";
import { makeAccount, waitDelivered } from "../../scripts/lib/journey.mjs";
import { verifyRecording } from "../../scripts/lib/verify.mjs";
import { FIXTURES, sendFixture, testStack } from "../lib/harness.mjs";

const RECORDINGS = Number(process.env.CHAOS_RECORDINGS ?? 30);
const KILLS = Number(process.env.CHAOS_KILLS ?? 20);
const KILL_EVERY_MS = Number(process.env.CHAOS_KILL_EVERY_MS ?? 3000);
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 100_000);
const PARALLEL = 3;
const SEND_TRIES = 40;
// between two chunks of a stream, at most
const PAUSE_MS = 1000;
const DELIVERY_LIMIT_MS = 300_000;
const VICTIMS = [...SERVICES, ...SERVICES, "nats", "redis", "postgres"];
const fixtures = fs.readdirSync(FIXTURES).filter((name) => /^(cam|tab|firefox|phone|synthetic).*\.(webm|mp4|mkv)$/.test(name) && !/broken/.test(name));

/** mulberry32: the same seed gives the same run, as far as the machine's timing allows. */
function generator(seed) {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}

const random = generator(SEED);
const pick = (list) => list[Math.floor(random() * list.length)];
const stack = testStack("chaos", { logLevel: "info", durable: true });
let kills = 0;
let lost = 0;
let mismatched = 0;

async function killAround() {
	while (kills < KILLS) {
		await delay(KILL_EVERY_MS * (0.5 + random()));
		const victim = pick(VICTIMS);
		await stack.kill(victim);
		kills++;
		await delay(random() * 1500);
		await stack.restart(victim);
	}
}

/** At the pace of a recording, about. A page would try again too: a link or session that could not be had is asked for again. */
async function send(account, name) {
	const progress = () => delay(random() * PAUSE_MS);
	for (let n = 1; ; n++) {
		try {
			return await sendFixture(stack, account, name, { stream: { progress } });
		} catch (error) {
			if (n === SEND_TRIES) throw error;
			await delay(500);
		}
	}
}

async function sender(account, names, sent) {
	for (let name; (name = names.pop()); ) {
		try {
			sent.push(await send(account, name));
		} catch (error) {
			lost++;
			console.error(`${name} could not be sent: ${error.message}`);
		}
	}
}

await stack.start();
try {
	const account = await makeAccount(stack);
	const names = Array.from({ length: RECORDINGS }, () => pick(fixtures));
	const sent = [];
	const killing = killAround();
	await Promise.all(Array.from({ length: PARALLEL }, () => sender(account, names, sent)));
	await killing;
	for (const one of sent) {
		try {
			const shown = await waitDelivered(stack, one.recording, DELIVERY_LIMIT_MS);
			const { problems } = await verifyRecording(stack, shown, one);
			if (problems.length > 0) {
				mismatched++;
				console.error(`${one.name} ${one.recording}: ${problems.join("; ")}`);
			}
		} catch (error) {
			lost++;
			console.error(`${one.name} ${one.recording}: ${error.message}`);
		}
	}
} finally {
	await stack.remove();
}
console.log(`chaos pipeline seed=${SEED} recordings=${RECORDINGS} kills=${kills} lost=${lost} mismatched=${mismatched}`);
process.exitCode = lost + mismatched > 0 ? 1 : 0;
