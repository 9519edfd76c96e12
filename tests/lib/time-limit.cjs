// Preloaded into each test file: one that hangs says what it waits for and ends, before the whole run hangs with it.
const LIMIT_S = 600;

// not into the runner, which lives as long as all files together
if (!process.execArgv.includes("--test")) {
	setTimeout(() => {
		console.error(`${process.argv[1]}: not done after ${LIMIT_S} s; waits for: ${process.getActiveResourcesInfo().join(", ")}`);
		process.exit(1);
	}, LIMIT_S * 1000).unref();
}
