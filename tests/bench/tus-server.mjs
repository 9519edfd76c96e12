// @tus/server with its file store over TLS: what people put before their storage today. Reads {port, certificate, key,
// directory} from its only argument.
import fs from "node:fs";
import https from "node:https";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const { port, certificate, key, directory } = JSON.parse(process.argv[2]);
const tus = new Server({ path: "/files", datastore: new FileStore({ directory }) });
https
	.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key), minVersion: "TLSv1.3" }, (request, answer) =>
		tus.handle(request, answer),
	)
	.listen(port, "127.0.0.1");
