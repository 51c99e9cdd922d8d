// Finding words by what they begin with, or hold; the index is made when the first word is searched.

import { lineStarts } from "./tables.js";

export class Search {
  constructor(tables) {
    this.tables = tables;
    this.lowered = null;
  }

  #prepare() {
    const { text, starts, size } = this.tables;
    const lowered = text.toLowerCase();
    // Few letters change their length with their case; where one does, words begin elsewhere.
    this.starts = lowered.length === text.length ? starts : lineStarts(lowered, size);
    this.lowered = `\n${lowered}\n`;
  }

  /** Numbers of up to `limit` words: the same, spelled alike but for case, beginning so, holding it; frequent first. */
  find(asked, limit) {
    if (!asked) return [];
    if (!this.lowered) this.#prepare();
    const query = asked.toLowerCase();
    const same = [...this.#lines(`\n${query}\n`, Infinity)];
    const found = new Set(same.filter((number) => this.tables.word(number) === asked));
    for (const number of same) found.add(number);
    for (const needle of [`\n${query}`, query]) {
      if (found.size < limit) for (const number of this.#lines(needle, limit)) found.add(number);
    }
    return [...found].slice(0, limit);
  }

  /** Numbers of the first `limit` words whose line, with a break before and after it, holds `needle`. */
  *#lines(needle, limit) {
    const offset = needle.startsWith("\n") ? 0 : 1;
    let last = -1;
    for (let place = -1; limit > 0 && (place = this.lowered.indexOf(needle, place + 1)) >= 0; ) {
      const number = this.#lineOf(place - offset);
      if (number === last) continue;
      yield (last = number);
      limit--;
    }
  }

  #lineOf(place) {
    let [low, high] = [0, this.starts.length - 2];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= place) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
