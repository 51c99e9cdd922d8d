// A run's word tables, unpacked: what is in a cell, where a word is, which words are typical of a row.
// This runs in a worker, so that the page never waits for it.

const decoder = new TextDecoder();

function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const made = new Uint8Array(characters.length);
  for (let place = 0; place < made.length; place++) made[place] = characters.charCodeAt(place);
  return made;
}

async function unpack(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** 32-bit numbers whose low bytes all come first, then all second bytes, ... */
function numbers(planes) {
  const size = planes.length / 4;
  const made = new Uint32Array(size);
  for (let place = 0; place < size; place++) {
    made[place] =
      (planes[place] |
        (planes[size + place] << 8) |
        (planes[2 * size + place] << 16) |
        (planes[3 * size + place] << 24)) >>>
      0;
  }
  return made;
}

/** Where each line of a text begins, and where one after the last would. */
export function lineStarts(text, size) {
  const starts = new Uint32Array(size + 1);
  for (let line = 1, place = -1; line < size; line++) {
    place = text.indexOf("\n", place + 1);
    starts[line] = place + 1;
  }
  starts[size] = text.length + 1;
  return starts;
}

export class Tables {
  /** `about` is what the page says of the run, `part` answers with a part by its name, null where there is none. */
  static async open(about, part) {
    const made = new Tables();
    Object.assign(made, { about, part, size: about.words });
    made.rows = about.sides[0];
    made.columns = about.sides.slice(1).reduce((one, other) => one * other, 1);
    const [words, counts] = await Promise.all([part("words").then(unpack), part("counts").then(unpack)]);
    made.text = decoder.decode(words);
    made.starts = lineStarts(made.text, made.size);
    made.counts = numbers(counts);
    made.total = Math.max(1, made.counts.reduce((sum, count) => sum + count, 0));
    made.rounds = about.rounds.map(() => null);
    return made;
  }

  word(number) {
    return this.text.slice(this.starts[number], this.starts[number + 1] - 1);
  }

  /** The table of a round by its place among them: cell of each word, word of each cell, losses in steps. */
  async round(place) {
    this.rounds[place] ??= this.#unpackRound(place);
    return this.rounds[place];
  }

  async #unpackRound(place) {
    const { number } = this.about.rounds[place];
    const [packedCells, packedLosses] = await Promise.all([this.part(`cells_${number}`), this.part(`losses_${number}`)]);
    const cells = numbers(await unpack(packedCells));
    const words = new Int32Array(this.rows * this.columns).fill(-1);
    for (let word = 0; word < this.size; word++) words[cells[word]] = word;
    const losses = packedLosses ? await unpack(packedLosses) : null;
    return { cells, words, losses, axes: [null, null] };
  }

  code(cell, axis) {
    return axis === 0 ? Math.floor(cell / this.columns) : cell % this.columns;
  }

  /** Of every row (axis 0) or column: its words, the most frequent first, and which part of the text they are. */
  axis(round, axis) {
    round.axes[axis] ??= this.#sortedOut(round, axis);
    return round.axes[axis];
  }

  #sortedOut({ cells }, axis) {
    const side = axis === 0 ? this.rows : this.columns;
    const starts = new Uint32Array(side + 1);
    const mass = new Float64Array(side);
    for (let word = 0; word < this.size; word++) {
      const code = this.code(cells[word], axis);
      starts[code + 1]++;
      mass[code] += this.counts[word];
    }
    for (let code = 0; code < side; code++) starts[code + 1] += starts[code];
    const next = starts.slice();
    const members = new Uint32Array(this.size);
    for (let word = 0; word < this.size; word++) members[next[this.code(cells[word], axis)]++] = word;
    // The heaviest first, and where each code comes in that order.
    const heaviest = Uint32Array.from({ length: side }, (_, code) => code).sort(
      (one, other) => mass[other] - mass[one] || one - other,
    );
    const rank = new Uint32Array(side);
    heaviest.forEach((code, place) => (rank[code] = place));
    return { starts, members, mass, heaviest, rank };
  }

  /** A row's or column's facts, with its `limit` most frequent words. */
  line(round, axis, code, limit) {
    const { starts, members, mass } = this.axis(round, axis);
    const words = members.subarray(starts[code], starts[code + 1]);
    return {
      axis,
      code,
      size: words.length,
      share: mass[code] / this.total,
      words: Array.from(words.subarray(0, limit), (word) => ({ number: word, word: this.word(word) })),
    };
  }

  /** Where the code of an axis is shown, and which code is shown at a place. */
  shownAt(round, axis, code, ordered) {
    return ordered ? this.axis(round, axis).rank[code] : code;
  }

  codeAt(round, axis, place, ordered) {
    return ordered ? this.axis(round, axis).heaviest[place] : place;
  }

  wordAt(round, row, column, ordered) {
    const [r, c] = [this.codeAt(round, 0, row, ordered), this.codeAt(round, 1, column, ordered)];
    return round.words[r * this.columns + c];
  }

  loss(round, word) {
    const step = round.losses ? round.losses[word] : 0;
    return step ? (step - 1) * this.about.step : null;
  }
}
