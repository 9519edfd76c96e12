// Every look that the services take again and again, as each of them calls it.
const NODE = "bench.fixed(3, 0)";
const TRANSCODER = "bench.fixed(3, 8)";
const gate = ["sweep_gate", "rushes.sweep_gate('bench', 1, false)"];
const slice = (name) => [
	gate,
	["sweep_brakes", `rushes.sweep_brakes('${name}')`],
	["sweep_decide", `rushes.sweep_decide('${name}', 500)`],
];
const jobs = (...kinds) =>
	kinds.flatMap((kind) => [
		[`job_claim ${kind}`, `rushes.job_claim(null, '${kind}', 'eu1', 'bench', ${TRANSCODER}, '30 s')`],
		[`job_publish_due ${kind}`, `rushes.job_publish_due('${kind}', '30 s', 500)`],
		[`job_watch_nodes ${kind}`, `rushes.job_watch_nodes('${kind}')`],
		[`job_expire_leases ${kind}`, `rushes.job_expire_leases('${kind}', 100)`],
	]);

export const SWEEPS = {
	ingest: [
		...slice("ingest"),
		["copies_going", `rushes.copies_going(${NODE}, 500)`],
		["recordings_open", `rushes.recordings_open(${NODE}, 1000)`],
		["recordings_empty", "rushes.recordings_empty('eu1', 100)"],
		["copies_on_node", `rushes.copies_on_node(${NODE}, null, 1000)`],
	],
	transcoder: [
		...slice("transcoder"),
		["copies_going", `rushes.copies_going(${TRANSCODER}, 500)`],
		["converts_waiting", `rushes.converts_waiting(${TRANSCODER})`],
		...jobs("copy", "convert"),
	],
	"storage-pusher": [
		...slice("storage-pusher"),
		...jobs("push", "delete"),
		["second_look_take", "rushes.second_look_take('eu1', 'bench', '30 s')"],
		["second_look_backlog", "rushes.second_look_backlog()"],
	],
	linkgen: [gate, ["link_sweep", "rushes.link_sweep(500)"]],
	janitor: [
		["gate_waits", "rushes.gate_waits()"],
		...slice("janitor"),
		["personal_sweep", "rushes.personal_sweep(100)"],
		["rules_change_work", "rushes.rules_change_work(500)"],
		["account_keys_sweep", "rushes.account_keys_sweep(100)"],
		["deletion_overdue", "rushes.deletion_overdue('4 days')"],
		["retention_paused", "rushes.retention_paused()"],
		["lease_take", "rushes.lease_take('ledger-seal', 'bench', '20 s')"],
		["ledger_unsealed", "rushes.ledger_unsealed(10000)"],
		["ledger_backlog", "rushes.ledger_backlog()"],
		["ledger_unpublished", "rushes.ledger_unpublished(1)"],
		["event_unpublished", "rushes.event_unpublished(500)"],
	],
};
