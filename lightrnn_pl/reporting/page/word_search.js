// Search for words by prefix or substring.  The index is built on the first search.

import { lineStarts } from "./word_tables.js";

export class WordSearch {
  constructor(tables) {
    this.tables = tables;
    this.lowercase = null;
  }

  #buildIndex() {
    const { text, starts, size } = this.tables;
    const lowercase = text.toLowerCase();
    // A few characters change their length in lower case, which shifts the start offsets.
    this.starts = lowercase.length === text.length ? starts : lineStarts(lowercase, size);
    this.lowercase = `\n${lowercase}\n`;
  }

  /**
   * Returns the indices of up to `limit` words: exact matches first, then matches that differ in case, words that start
   * with the query, and words that contain it; each group by descending frequency.
   */
  find(query, limit) {
    if (!query) return [];
    if (!this.lowercase) this.#buildIndex();
    const lowercase = query.toLowerCase();
    const same = [...this.#matches(`\n${lowercase}\n`, Infinity)];
    const found = new Set(same.filter((word) => this.tables.word(word) === query));
    for (const word of same) found.add(word);
    for (const pattern of [`\n${lowercase}`, lowercase]) {
      if (found.size < limit) for (const word of this.#matches(pattern, limit)) found.add(word);
    }
    return [...found].slice(0, limit);
  }

  /** Yields the indices of the first `limit` words that contain `pattern`; line breaks match the ends of a word. */
  *#matches(pattern, limit) {
    const shift = pattern.startsWith("\n") ? 0 : 1;
    let last = -1;
    for (let offset = -1; limit > 0 && (offset = this.lowercase.indexOf(pattern, offset + 1)) >= 0; ) {
      const word = this.#wordAt(offset - shift);
      if (word === last) continue;
      yield (last = word);
      limit--;
    }
  }

  #wordAt(offset) {
    let [low, high] = [0, this.starts.length - 2];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
