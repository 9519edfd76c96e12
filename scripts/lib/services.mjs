// How each service is configured on a development machine: RUSHES_* variables and nothing else.
import path from "node:path";
import { IDENTITIES, REGION, SERVICES, serviceOf } from "./identities.mjs";

/** Ports of an instance by name: two peers' listeners, two public fronts, an admin endpoint per service. */
export const SERVICE_PORTS = [
	"linkgen",
	"ingest",
	"ingest-peer",
	"transcoder-peer",
	...SERVICES.map((service) => `${service}-admin`),
];

/** Ports of a further instance of a service, such as `ingest-2`. */
export const instancePorts = (name) => [name, `${name}-peer`, `${name}-admin`];

export const binaryOf = (service) => (service === "ctl" ? "rushesctl" : `rushes-${service}`);

/** The secrets of DESIGN section 5 by purpose, made by `rushesctl key generate PURPOSE --out FILE`. */
export const KEY_PURPOSES = ["spool-root", "vault", "token-sign", "webhook-wrap", "link-pepper", "ledger-sign"];

function common(stack, name) {
	const service = serviceOf(name);
	const { certificate, key } = stack.certificates.services[name];
	return {
		RUSHES_LOG_LEVEL: stack.logLevel,
		RUSHES_REGION: REGION,
		RUSHES_ADMIN_LISTEN: `127.0.0.1:${stack.ports[`${name}-admin`]}`,
		RUSHES_DATABASE: stack.postgres.conninfo(name),
		RUSHES_NATS_URL: stack.nats.url,
		RUSHES_REDIS: stack.redis.address,
		RUSHES_REDIS_USER: IDENTITIES[service].cn,
		RUSHES_REDIS_PASSWORD_FILE: stack.redis.passwordFiles[service],
		RUSHES_TLS_CERTIFICATE: certificate,
		RUSHES_TLS_KEY: key,
		RUSHES_TLS_CA: stack.certificates.ca,
	};
}

function spool(stack, service) {
	return {
		RUSHES_PEER_LISTEN: `127.0.0.1:${stack.ports[`${service}-peer`]}`,
		RUSHES_PEER_URL: `https://localhost:${stack.ports[`${service}-peer`]}`,
		RUSHES_SPOOL_PATH: stack.spoolPath(service),
		RUSHES_SPOOL_ROOT_KEY_FILE: stack.keyFile("spool-root"),
	};
}

const OWN = {
	ingest: (stack, name) => ({
		...spool(stack, name),
		RUSHES_INGEST_LISTEN: `127.0.0.1:${stack.ports[name]}`,
		RUSHES_INGEST_CERTIFICATE: stack.certificates.public.certificate,
		RUSHES_INGEST_KEY: stack.certificates.public.key,
		RUSHES_INGEST_URL: stack.ingestUrlOf(name),
		RUSHES_INGEST_JOURNAL: "32MiB",
		RUSHES_TOKEN_PUBLIC_KEY_FILE: `${stack.keyFile("token-sign")}.pub`,
	}),
	linkgen: (stack) => ({
		RUSHES_LINKGEN_LISTEN: `127.0.0.1:${stack.ports.linkgen}`,
		RUSHES_LINKGEN_CERTIFICATE: stack.certificates.public.certificate,
		RUSHES_LINKGEN_KEY: stack.certificates.public.key,
		RUSHES_LINKGEN_URL: stack.linkgenUrl,
		RUSHES_INGEST_URL: stack.ingestUrl,
		RUSHES_RECORDER_PATH: path.join(stack.root, "services", "linkgen", "recorder"),
		RUSHES_TOKEN_SIGN_KEY_FILE: stack.keyFile("token-sign"),
		RUSHES_LINK_PEPPER_FILE: stack.keyFile("link-pepper"),
	}),
	transcoder: (stack, name) => ({ ...spool(stack, name), RUSHES_TRANSCODER_SLOTS: "2" }),
	"storage-pusher": (stack) => ({
		RUSHES_SPOOL_ROOT_KEY_FILE: stack.keyFile("spool-root"),
		RUSHES_VAULT_SECRET_KEY_FILE: stack.keyFile("vault"),
		RUSHES_PUSHER_SLOTS: "4",
	}),
	janitor: (stack) => ({
		RUSHES_LEDGER_SIGN_KEY_FILE: stack.keyFile("ledger-sign"),
		RUSHES_LEDGER_TARGET: `file:${stack.ledgerPath()}`,
	}),
};

/** The environment of a service, with what a test changes (`stack.overrides[service]`) on top. */
export function serviceEnvironment(stack, name) {
	return { ...common(stack, name), ...OWN[serviceOf(name)](stack, name), ...stack.overrides[name] };
}

/** The environment of rushesctl, for the operator's role; `migrate` alone uses the schema owner's. */
export function ctlEnvironment(stack) {
	return {
		RUSHES_DATABASE: stack.postgres.conninfo("ctl"),
		RUSHES_MIGRATE_DATABASE: stack.postgres.conninfo("migrate"),
		RUSHES_SCHEMA_PATH: path.join(stack.root, "deploy", "schema"),
		RUSHES_LINK_PEPPER_FILE: stack.keyFile("link-pepper"),
		RUSHES_VAULT_PUBLIC_KEY_FILE: `${stack.keyFile("vault")}.pub`,
		RUSHES_LINKGEN_URL: stack.linkgenUrl,
		RUSHES_LEDGER_TARGET: `file:${stack.ledgerPath()}`,
		RUSHES_LEDGER_PUBLIC_KEY_FILE: `${stack.keyFile("ledger-sign")}.pub`,
	};
}
