// A small simulation of the rules of retention; `make simulation` runs large ones.
import assert from "node:assert/strict";
import { test } from "node:test";
import { lastLine, simulate } from "../simulation/simulation.mjs";

test("three simulated years: nothing goes early, nothing late, nothing is left", async () => {
	const seed = 11;
	const result = await simulate({ seed, years: 3, recordings: 200 });
	const text = [...result.disagreements, JSON.stringify(result.happened), lastLine(result)].join("\n");
	assert.deepEqual({ early: result.early, late: result.late, left: result.left }, { early: 0, late: 0, left: 0 }, text);
	// it simulated what it is for
	assert.ok(result.recordings >= 200 && result.deletions > 300, text);
	const rare = ["closed", "expired", "alarms", "braked", "lost", "undone", "deletedAgain", "knownAgain"];
	for (const [what, count] of Object.entries(result.happened)) if (!rare.includes(what)) assert.ok(count > 0, `no ${what} in ${text}`);
});
