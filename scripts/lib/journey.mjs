// The steps that people and programs take around a recording: account, link, session, waiting for delivery, deletion.
import { execFile } from "node:child_process";
import https from "node:https";
import { promisify } from "node:util";
import { waitFor } from "./process.mjs";

const run = promisify(execFile);

/**
 * An HTTPS request to a public front. `body`: an object (sent as JSON), a Buffer or nothing. Resolves to
 * {status, headers, body (Buffer), json}: `json` is null when the answer is none.
 */
export function request(stack, { url, method = "GET", headers = {}, body, limitMs = 15_000 }) {
	return new Promise((resolve, reject) => {
		const isJson = body !== undefined && !Buffer.isBuffer(body);
		const payload = isJson ? Buffer.from(JSON.stringify(body)) : body;
		const outgoing = https.request(url, {
			method,
			ca: stack.ca,
			agent: false,
			timeout: limitMs,
			headers: {
				...(isJson ? { "content-type": "application/json" } : {}),
				...(payload ? { "content-length": payload.length } : {}),
				...headers,
			},
		});
		outgoing.on("timeout", () => outgoing.destroy(new Error(`${method} ${url}: no answer within ${limitMs} ms`)));
		outgoing.on("error", reject);
		outgoing.on("response", (response) => {
			const parts = [];
			response.on("data", (part) => parts.push(part));
			response.on("error", reject);
			response.on("end", () => {
				const content = Buffer.concat(parts);
				let json = null;
				try {
					json = JSON.parse(content.toString("utf8"));
				} catch {
					// an answer that is no JSON
				}
				resolve({ status: response.statusCode, headers: response.headers, body: content, json });
			});
		});
		outgoing.end(payload);
	});
}

/**
 * An account with an environment, an API key and our `file` target in the stack's storage folder.
 * `settings`: further options of `rushesctl env create`. Resolves to {account, environment, key, target}.
 */
export async function makeAccount(stack, { name = "Demo Support", settings = [] } = {}) {
	const account = await stack.ctl(["account", "create", name]);
	const target = await stack.ctl(["target", "create", "storage", "--kind", "file", "--path", stack.storage]);
	const environment = await stack.ctl(["env", "create", account.id, "support", ...settings]);
	const key = await stack.ctl(["apikey", "create", account.id, "helpdesk"]);
	return { account: account.id, environment: environment.id, key: key.key, target: target.id };
}

/** A link by the REST API, as a helpdesk asks for it. Resolves to its JSON: {id, url, ...}. */
export async function makeLink(stack, { environment, key }, fields = {}) {
	const answer = await request(stack, {
		url: `${stack.linkgenUrl}/v1/links`,
		method: "POST",
		headers: { authorization: `Bearer ${key}` },
		body: { environment, ...fields },
	});
	if (answer.status !== 201)
		throw new Error(`POST /v1/links answered ${answer.status}: ${answer.body.toString("utf8").slice(0, 400)}`);
	return answer.json;
}

/** Exchanges a link for a session, as the recorder page does: reads what is asked, accepts it. Resolves to its JSON. */
export async function openSession(stack, link) {
	const asked = await request(stack, { url: `${link.url}/request` });
	if (asked.status !== 200)
		throw new Error(`GET ${link.url}/request answered ${asked.status}: ${asked.body.toString("utf8")}`);
	const { consent } = asked.json;
	const answer = await request(stack, { url: `${link.url}/session`, method: "POST", body: { consent } });
	if (answer.status !== 200 && answer.status !== 201)
		throw new Error(
			`POST ${link.url}/session answered ${answer.status}: ${answer.body.toString("utf8").slice(0, 400)}`,
		);
	return answer.json;
}

/** What `rushesctl recording show` says of a recording. */
export function showRecording(stack, recording) {
	return stack.ctl(["recording", "show", recording]);
}

/** True when every delivery of a recording that was asked for is done. */
export function isDelivered(shown) {
	return (
		shown.state === "closed" &&
		shown.deliveries.length > 0 &&
		shown.deliveries.every(({ state }) => state === "delivered")
	);
}

/** True when nothing more will happen to a recording by itself, whether it went well or not. */
export function isSettled(shown) {
	return ["closed", "failed-copy", "failed-conversion", "deleted"].includes(shown.state);
}

/** Waits until a recording is delivered; fails with its state and the errors of its jobs when it settles otherwise. */
export async function waitDelivered(stack, recording, limitMs = 120_000) {
	let shown;
	try {
		await waitFor(
			`recording ${recording} is delivered`,
			async () => {
				shown = await showRecording(stack, recording);
				return isSettled(shown);
			},
			{ limitMs, pollMs: 200 },
		);
	} catch (error) {
		throw new Error(`${error.message}; it is ${shown?.state}, its jobs: ${JSON.stringify(shown?.jobs)}`);
	}
	if (!isDelivered(shown))
		throw new Error(`recording ${recording} is ${shown.state}, its jobs: ${JSON.stringify(shown.jobs)}`);
	return shown;
}

/** Deletes a recording by rushesctl and waits until everything of it is confirmed gone. Resolves to what it printed. */
export function deleteRecording(stack, recording) {
	const reason = "end of the demonstration";
	return stack.ctl(["recording", "delete", recording, "--reason", reason, "--yes", "--wait", "--timeout", "60s"]);
}

/** The output of a program that we did not write. */
export async function tool(command, args) {
	return (await run(command, args, { maxBuffer: 16 * 1024 * 1024 })).stdout;
}
