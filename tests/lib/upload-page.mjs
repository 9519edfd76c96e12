// A page of another origin with the upload clients that helpdesks use, bundled from npm: window.tus and window.uppy.
import http from "node:http";
import path from "node:path";
import { build } from "esbuild";
import { ROOT } from "../../scripts/lib/stack.mjs";

const SOURCE = `
	import * as tus from "tus-js-client";
	import Uppy from "@uppy/core";
	import Tus from "@uppy/tus";
	Object.assign(window, { tus, Uppy, Tus });
`;

async function bundle() {
	const { outputFiles } = await build({
		stdin: { contents: SOURCE, resolveDir: path.join(ROOT, "tests") },
		bundle: true,
		write: false,
		format: "iife",
		platform: "browser",
		define: { "process.env.NODE_ENV": '"production"' },
		logLevel: "silent",
	});
	return outputFiles[0].text;
}

/** Opens the page in a new context of the browser. Resolves to {page, close}. */
export async function openUploadPage(browser) {
	const script = await bundle();
	const server = http.createServer((request, response) => {
		const isScript = request.url.endsWith(".js");
		response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
		response.end(isScript ? script : '<!doctype html><title>desk</title><script src="/clients.js"></script>');
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	const context = await browser.newContext({ ignoreHTTPSErrors: true });
	const page = await context.newPage();
	await page.goto(`http://127.0.0.1:${server.address().port}/`);
	return {
		page,
		close: async () => {
			await context.close();
			server.close();
		},
	};
}
