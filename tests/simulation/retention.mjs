// Years of recordings under the real rules of retention, against a model of docs/retention.md that shares nothing with them.
//
//	node tests/simulation/retention.mjs        SEED=1 YEARS=10 RECORDINGS=2000
//
// Ends with: simulation seed=S recordings=N deletions=N early=N late=N left=N
import { lastLine, simulate } from "./simulation.mjs";

const number = (name, fallback) => Number(process.env[name] || fallback);
const seed = number("SEED", Date.now() % 100_000);
const years = number("YEARS", 10);
const recordings = number("RECORDINGS", 2000);

console.log(`simulation seed=${seed} years=${years} recordings=${recordings}`);
const result = await simulate({ seed, years, recordings });
for (const text of result.disagreements.slice(0, 50)) console.log(text);
console.log(JSON.stringify(result.happened));
console.log(lastLine(seed, result));
process.exit(result.early + result.late + result.left === 0 ? 0 : 1);
