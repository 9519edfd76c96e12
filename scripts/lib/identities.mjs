// Who there is on a development machine: one identity per service (certificate, database role, broker user, cache user),
// with the least each of them needs.

export const REGION = "eu1";

/**
 * service → certificate name, PostgreSQL role, Redis user. `pulls` and `publishes` are the broker's subjects:
 * `pulls` names the durable consumers of JOBS that the service works off, `publishes` the kinds of jobs it may hint at.
 */
export const IDENTITIES = {
	ingest: { cn: "rushes-ingest", role: "rushes_ingest" },
	linkgen: { cn: "rushes-linkgen", role: "rushes_linkgen" },
	transcoder: { cn: "rushes-transcoder", role: "rushes_transcoder" },
	"storage-pusher": { cn: "rushes-storage-pusher", role: "rushes_pusher" },
	janitor: { cn: "rushes-janitor", role: "rushes_janitor" },
	ctl: { cn: "rushes-ctl", role: "rushes_ctl" },
	migrate: { cn: "rushes-migrate", role: "rushes_migrate" },
};

/** The service of an instance's name: `ingest-2` is a second ingest. */
export const serviceOf = (name) => (name in IDENTITIES ? name : name.replace(/-[0-9]+$/, ""));

/** The long-running services, in the order in which they are started. */
export const SERVICES = ["ingest", "linkgen", "transcoder", "storage-pusher", "janitor"];
