// One seed, one sequence: mulberry32.
export class Random {
	constructor(seed) {
		this.state = seed >>> 0;
	}

	/** In [0, 1). */
	next() {
		this.state = (this.state + 0x6d2b79f5) >>> 0;
		let t = this.state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	}

	chance = (p) => this.next() < p;
	/** A whole number from `low` to `high`, both included. */
	between = (low, high) => low + Math.floor(this.next() * (high - low + 1));
	pick = (list) => list[Math.floor(this.next() * list.length)];
	/** From `low` to `high`, small ones as often as large ones. */
	spread = (low, high) => Math.round(low * (high / low) ** this.next());
}
