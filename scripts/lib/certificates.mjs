// A development certificate authority and the certificates of servers, services and the public front, by openssl.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { IDENTITIES, REGION, serviceOf } from "./identities.mjs";

const DAYS = "30";

function issue({ name, dir, subject, extensions, issuer }) {
	const certificate = path.join(dir, `${name}.crt`);
	const key = path.join(dir, `${name}.key`);
	const config = path.join(dir, `${name}.cnf`);
	fs.writeFileSync(
		config,
		`[req]\ndistinguished_name = dn\nx509_extensions = ext\n[dn]\n[ext]\n${extensions.join("\n")}\n`,
	);
	const sign = issuer ? ["-CA", issuer.certificate, "-CAkey", issuer.key] : [];
	execFileSync(
		"openssl",
		[
			"req",
			"-x509",
			"-config",
			config,
			"-newkey",
			"ec",
			"-pkeyopt",
			"ec_paramgen_curve:prime256v1",
			"-noenc",
			"-days",
			DAYS,
			"-subj",
			subject,
			"-keyout",
			key,
			"-out",
			certificate,
			...sign,
		],
		{ stdio: ["ignore", "ignore", "pipe"] },
	);
	fs.chmodSync(key, 0o600);
	fs.unlinkSync(config);
	return { certificate, key };
}

const LOCAL_NAMES = "DNS:localhost,IP:127.0.0.1";

function leaf(usage, names) {
	return [
		"basicConstraints = critical,CA:FALSE",
		"keyUsage = critical,digitalSignature",
		`extendedKeyUsage = ${usage}`,
		`subjectAltName = ${names}`,
		"authorityKeyIdentifier = keyid",
	];
}

/**
 * Makes the authority and all certificates in `dir`. Returns {ca, public, server, services}: `services` by the names of
 * IDENTITIES and of `instances` (`ingest-2`), `server` for PostgreSQL, NATS and Redis, `public` for what browsers reach.
 */
export function makeCertificates(dir, instances = []) {
	fs.mkdirSync(dir, { mode: 0o700 });
	const issuer = issue({
		name: "ca",
		dir,
		subject: "/O=rushes/CN=rushes development authority",
		extensions: [
			"basicConstraints = critical,CA:TRUE,pathlen:0",
			"keyUsage = critical,keyCertSign,cRLSign",
			"subjectKeyIdentifier = hash",
		],
	});
	const make = (name, subject, extensions) => issue({ name, dir, subject, extensions, issuer });
	const services = {};
	for (const name of [...Object.keys(IDENTITIES), ...instances]) {
		const service = serviceOf(name);
		const { cn } = IDENTITIES[service];
		services[name] = make(
			name === service ? cn : `rushes-${name}`,
			`/O=rushes/CN=${cn}`,
			leaf("clientAuth,serverAuth", `URI:rushes://${REGION}/${service}/${name === service ? `${name}-1` : name},${LOCAL_NAMES}`),
		);
	}
	const result = {
		ca: issuer.certificate,
		public: make("public", "/CN=localhost", leaf("serverAuth", LOCAL_NAMES)),
		server: make("server", "/O=rushes/CN=server", leaf("serverAuth", LOCAL_NAMES)),
		services,
	};
	// nothing is signed after this: the authority's key is not kept
	fs.unlinkSync(issuer.key);
	return result;
}
