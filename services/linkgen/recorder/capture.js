/* The browser's devices, and the recorder that hands out bytes. */

const VIDEO = ["video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/mp4;codecs=avc3.42E01F,opus", "video/mp4"];
const AUDIO = ["audio/webm;codecs=opus", "audio/mp4"];
const RATE = { ideal: 30, max: 30 };
const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: RATE };

/* Shorter slices give broken or empty chunks in some browsers. */
const SLICE_MS = 1000;

/** `missing`: what is in the way, or ''. */
export function abilities() {
	const devices = navigator.mediaDevices;
	const able = devices?.getUserMedia && window.MediaRecorder && window.indexedDB;
	return { missing: !isSecureContext ? "insecure" : able ? "" : "browser", screen: !!devices?.getDisplayMedia };
}

const end = (stream) => stream.getTracks().forEach((track) => track.stop());

/** Opens 'screen', 'camera' or 'microphone', or throws the browser's error. Must run in the turn of a click.
 * `withoutVoice` tells that the screen came but the microphone was refused. */
export async function openCapture(source, voice) {
	const devices = navigator.mediaDevices;
	if (source !== "screen") {
		const camera = source === "camera";
		return new Capture(source, [await devices.getUserMedia({ video: camera && PICTURE, audio: voice || !camera })]);
	}
	const asked = { video: { frameRate: RATE }, audio: true, selfBrowserSurface: "exclude" };
	const streams = [await devices.getDisplayMedia(asked)];
	const spoken = voice && (await devices.getUserMedia({ audio: true }).catch(() => null));
	if (spoken) streams.push(spoken);
	return new Capture(source, streams, spoken === null);
}

class Capture {
	constructor(source, streams, withoutVoice) {
		Object.assign(this, { source, streams, withoutVoice });
		const video = streams[0].getVideoTracks();
		let audio = streams.flatMap((stream) => stream.getAudioTracks());
		(video[0] ?? audio[0]).onended = () => this.onended?.();
		if (audio.length && window.AudioContext) audio = this.listen(audio);
		this.stream = new MediaStream([...video, ...audio.slice(0, 1)]);
	}

	/* Feeds the meter. Browsers record one audio track: the screen's sound and the voice become one. */
	listen(tracks) {
		const context = (this.context = new AudioContext());
		context.resume().catch(() => {});
		const mix = context.createMediaStreamDestination();
		this.meter = context.createAnalyser();
		this.samples = new Uint8Array(512);
		for (const track of tracks) {
			const node = context.createMediaStreamSource(new MediaStream([track]));
			node.connect(this.meter);
			node.connect(mix);
		}
		return tracks.length > 1 ? mix.stream.getAudioTracks() : tracks;
	}

	/** Loudness now, 0 to 1; null without a meter. */
	level() {
		if (!this.meter) return null;
		this.meter.getByteTimeDomainData(this.samples);
		return Math.min(1, this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample - 128)), 0) / 100);
	}

	close() {
		this.onended = null;
		this.streams.forEach(end);
		this.context?.close();
	}
}

/** Records a capture: waits for each `chunk(buffer)`. After an error, told to `failed`, none follows. */
export class Recorder {
	constructor(capture, chunk, failed) {
		const types = capture.source === "microphone" ? AUDIO : VIDEO;
		const mimeType = types.find((type) => MediaRecorder.isTypeSupported?.(type)) ?? "";
		const options = { mimeType, videoBitsPerSecond: 2500000, audioBitsPerSecond: 96000 };
		/* In MP4 a chunk is a run between key frames: without this seconds would hang on a crash. */
		if (mimeType.includes("mp4")) options.videoKeyFrameIntervalDuration = SLICE_MS;
		const media = (this.media = new MediaRecorder(capture.stream, options));
		let broken = false;
		this.chain = Promise.resolve();
		media.ondataavailable = ({ data }) => {
			if (!data.size) return;
			this.chain = this.chain.then(() => broken || data.arrayBuffer().then(chunk)).catch((error) => {
				broken = true;
				failed(error);
			});
		};
		media.onerror = ({ error }) => failed(error);
		/* The first picture may come late. */
		media.onstart = () => (this.since = performance.now());
		this.stopped = new Promise((resolve) => (media.onstop = resolve));
	}

	start() {
		this.before = this.since = 0;
		this.media.start(SLICE_MS);
	}

	/** What the browser really records. */
	get mime() {
		return this.media.mimeType;
	}

	/** Milliseconds recorded, pauses left out. */
	get ms() {
		return this.before + (this.since && performance.now() - this.since);
	}

	halt() {
		this.before = this.ms;
		this.since = 0;
	}

	pause() {
		this.halt();
		this.media.pause();
		this.media.requestData();
	}

	resume() {
		this.since = performance.now();
		this.media.resume();
	}

	async stop() {
		this.halt();
		if (this.media.state !== "inactive") this.media.stop();
		await this.stopped;
		await this.chain;
	}
}
