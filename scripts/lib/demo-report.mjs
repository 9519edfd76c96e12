// The demonstration's table, for people.

const PLACES = { ingest: "spool of ingest", transcoder: "spool of transcoder" };

const clock = (time) =>
	time
		.replace(/^.*T/, "")
		.replace(/\+00:00$|Z$/, "")
		.slice(0, 12);

function states({ times }) {
	const entries = Object.entries(times).sort(([, a], [, b]) => Date.parse(a) - Date.parse(b));
	const first = Date.parse(entries[0]?.[1]);
	return entries
		.map(([state, time], i) =>
			i === 0 ? `${state} ${clock(time)}` : `${state} +${((Date.parse(time) - first) / 1000).toFixed(2)} s`,
		)
		.join(" · ");
}

function table(rows) {
	const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
	return rows
		.map((row) => `    ${row.map((cell, column) => String(cell).padEnd(widths[column])).join("  ")}`.trimEnd())
		.join("\n");
}

function fates(copies) {
	return copies.map((copy) => {
		const what = copy.kind ?? `raw (segment ${copy.segment})`;
		const where = copy.node_service ? PLACES[copy.node_service] : `target ${copy.target}`;
		const when = copy.due_at
			? `${copy.due_at.slice(0, 19).replace("T", " ")} UTC by ${copy.rule}`
			: "stays: no rule takes it";
		return [what, where, when];
	});
}

function printOne({
	fixture,
	recording,
	state,
	seconds_to_ready: ready,
	files,
	shown,
	take,
	checks,
	problems,
	deleted,
}) {
	console.log(
		`\n${fixture} → ${recording}: ${state}${ready === null ? "" : `, stored ${ready.toFixed(1)} s after it was saved`}`,
	);
	if (take.connections > 1)
		console.log(`  connections: ${take.connections}, resumed at ${take.resumed.slice(1).join(" and ")}`);
	console.log(`  states: ${states(shown)}`);
	console.log("  files:");
	console.log(
		table([
			["kind", "bytes", "SHA-256", "codec", "duration", "stored at"],
			...files.map((file) => [
				file.kind,
				file.bytes,
				`${file.sha256.slice(0, 16)}…`,
				file.codec,
				file.duration_s === null ? "" : `${file.duration_s.toFixed(2)} s`,
				`${file.target}: ${file.location}`,
			]),
		]),
	);
	console.log("  when each copy goes:");
	console.log(table(fates(shown.copies)));
	console.log(`  checked, ${checks.length} times true:`);
	for (const check of checks) console.log(`    ${check}`);
	for (const problem of problems) console.log(`  WRONG: ${problem}`);
	if (deleted)
		console.log(
			`  then deleted: ledger entry ${deleted.certificate}, ${deleted.left.length === 0 ? "nothing left" : deleted.left.join(", ")}`,
		);
}

export function printReport(stack, reports) {
	for (const one of reports) printOne(one);
	const wrong = reports.filter(({ state, problems }) => state !== "delivered" || problems.length > 0).length;
	console.log(
		`\n${reports.length - wrong} of ${reports.length} recordings went the whole way${wrong > 0 ? `, ${wrong} did not` : ""}`,
	);
}
