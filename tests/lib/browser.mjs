// Debian's Chromium, headless, with devices that need no hardware and no way to reach beyond this machine.
import { chromium } from "playwright-core";

const ARGUMENTS = [
	"--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
	"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];
const DEVICES = {
	fake: ["--use-fake-device-for-media-stream=fps=20", "--use-fake-ui-for-media-stream"],
	refused: ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"],
	none: [],
};

/** Launch options; `devices` is "fake", "refused" or "none". */
export const browserOptions = (devices = "fake") => ({
	executablePath: "/usr/bin/chromium",
	headless: true,
	args: [...ARGUMENTS, ...DEVICES[devices]],
});

export const startBrowser = (devices) => chromium.launch(browserOptions(devices));
