// Holds real answers and messages against what proto/ says of them, by a validator that is not our own.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import YAML from "yaml";
import { ROOT } from "../../scripts/lib/stack.mjs";

const PROTO = path.join(ROOT, "proto");

function validator() {
	// an OpenAPI document holds more than schemas: its other members are no keywords
	const ajv = new Ajv2020({ strict: false, allErrors: true });
	addFormats(ajv);
	return ajv;
}

const explain = (errors) => errors.map((error) => `${error.instancePath || "/"} ${error.message}`).join("; ");

/** The messages on the bus: check("job", body) throws unless the body is one. */
export function messageSchemas() {
	const ajv = validator();
	const known = new Map();
	for (const name of fs.readdirSync(path.join(PROTO, "messages"))) {
		const schema = JSON.parse(fs.readFileSync(path.join(PROTO, "messages", name), "utf8"));
		known.set(name.replace(".schema.json", ""), ajv.compile(schema));
	}
	return {
		names: [...known.keys()],
		check(name, body) {
			const validate = known.get(name);
			assert.ok(validate, `proto/messages has no ${name}`);
			assert.ok(validate(body), `${name}: ${explain(validate.errors ?? [])} in ${JSON.stringify(body)}`);
		},
	};
}

/** The REST API: check(operationId, answer) throws unless status, type and body of the answer are documented so. */
export function openApi() {
	const document = YAML.parse(fs.readFileSync(path.join(PROTO, "openapi.yaml"), "utf8"));
	const ajv = validator();
	ajv.addSchema(document, "openapi");
	const pointer = (parts) => parts.map((part) => part.replaceAll("~", "~0").replaceAll("/", "~1")).join("/");
	const operations = new Map();
	for (const [route, item] of Object.entries(document.paths))
		for (const [method, operation] of Object.entries(item))
			if (operation.operationId) operations.set(operation.operationId, { route, method, operation });

	/** Follows a $ref inside the document; resolves to [value, its place]. */
	const follow = (value, place) => {
		if (!value.$ref) return [value, place];
		const parts = value.$ref.slice(2).split("/");
		return [parts.reduce((at, part) => at[part], document), parts];
	};

	return {
		operations: [...operations.keys()],
		check(id, { status, headers, body, json }) {
			const { route, method, operation } = operations.get(id);
			const documented = operation.responses[status];
			assert.ok(documented, `${id} answered ${status}, which is not documented: ${body}`);
			const [response, place] = follow(documented, ["paths", route, method, "responses", String(status)]);
			const type = (headers["content-type"] ?? "").split(";")[0];
			for (const [name, { required }] of Object.entries(response.headers ?? {}))
				assert.ok(required === false || headers[name.toLowerCase()], `${id} ${status} has no ${name}`);
			if (!response.content) {
				assert.equal(body.length, 0, `${id} ${status} has a body`);
				return;
			}
			assert.ok(response.content[type], `${id} ${status} is ${type || "of no type"}: ${body}`);
			if (!response.content[type].schema) return;
			const $ref = `openapi#/${pointer([...place, "content", type, "schema"])}`;
			const validate = ajv.getSchema($ref) ?? ajv.compile({ $ref });
			assert.ok(validate(json), `${id} ${status}: ${explain(validate.errors ?? [])} in ${body}`);
		},
	};
}
