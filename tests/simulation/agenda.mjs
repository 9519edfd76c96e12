// What happens when: the virtual clock jumps from one entry to the next.
export class Agenda {
	#heap = [];
	#count = 0;

	add(at, run) {
		const heap = this.#heap;
		heap.push({ at, order: this.#count++, run });
		for (let i = heap.length - 1; i > 0; ) {
			const up = (i - 1) >> 1;
			if (!before(heap[i], heap[up])) break;
			[heap[i], heap[up]] = [heap[up], heap[i]];
			i = up;
		}
	}

	/** The next entry, or undefined. */
	take() {
		const heap = this.#heap;
		const first = heap[0];
		const last = heap.pop();
		if (heap.length === 0) return first;
		heap[0] = last;
		for (let i = 0; ; ) {
			let least = i;
			for (const down of [2 * i + 1, 2 * i + 2]) if (down < heap.length && before(heap[down], heap[least])) least = down;
			if (least === i) return first;
			[heap[i], heap[least]] = [heap[least], heap[i]];
			i = least;
		}
	}
}

const before = (a, b) => a.at < b.at || (a.at === b.at && a.order < b.order);
