// The word tables of a run: the word in each cell, the cell of each word, and the words of each row and column.
// This code runs in a worker so that unpacking never blocks the page.
//
// Words are identified by their index in descending order of frequency.  An axis is 0 for rows and 1 for columns.  A
// line is a row or a column, and its number is the code of its words on that axis.

const textDecoder = new TextDecoder();

function decodeBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

async function unpack(text) {
  const stream = new Blob([decodeBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Decodes 32-bit integers stored as byte planes: the low bytes of all integers, then all second bytes, and so on. */
function decodePlanes(planes) {
  const size = planes.length / 4;
  const integers = new Uint32Array(size);
  for (let index = 0; index < size; index++) {
    integers[index] =
      (planes[index] |
        (planes[size + index] << 8) |
        (planes[2 * size + index] << 16) |
        (planes[3 * size + index] << 24)) >>>
      0;
  }
  return integers;
}

/** The start offset of each line of a text, followed by the offset after the last line. */
export function lineStarts(text, numLines) {
  const starts = new Uint32Array(numLines + 1);
  for (let line = 1, offset = -1; line < numLines; line++) {
    offset = text.indexOf("\n", offset + 1);
    starts[line] = offset + 1;
  }
  starts[numLines] = text.length + 1;
  return starts;
}

export class WordTables {
  /** `info` describes the run.  `loadPart(name)` resolves with a part of the packed data, or null if it is missing. */
  static async open(info, loadPart) {
    const tables = new WordTables();
    Object.assign(tables, { info, loadPart, size: info.words });
    tables.rows = info.sides[0];
    tables.columns = info.sides.slice(1).reduce((product, side) => product * side, 1);
    const [words, counts] = await Promise.all([loadPart("words").then(unpack), loadPart("counts").then(unpack)]);
    tables.text = textDecoder.decode(words);
    tables.starts = lineStarts(tables.text, tables.size);
    tables.counts = decodePlanes(counts);
    tables.total = Math.max(1, tables.counts.reduce((sum, count) => sum + count, 0));
    tables.rounds = info.rounds.map(() => null);
    return tables;
  }

  word(index) {
    return this.text.slice(this.starts[index], this.starts[index + 1] - 1);
  }

  /** The table of a round, by index: the cell of each word, the word in each cell (or -1), and the quantized losses. */
  async round(index) {
    this.rounds[index] ??= this.#unpackRound(index);
    return this.rounds[index];
  }

  async #unpackRound(index) {
    const { number } = this.info.rounds[index];
    const [packedCells, packedLosses] = await Promise.all([
      this.loadPart(`cells_${number}`),
      this.loadPart(`losses_${number}`),
    ]);
    const cells = decodePlanes(await unpack(packedCells));
    const words = new Int32Array(this.rows * this.columns).fill(-1);
    for (let word = 0; word < this.size; word++) words[cells[word]] = word;
    const losses = packedLosses ? await unpack(packedLosses) : null;
    return { cells, words, losses, axes: [null, null] };
  }

  code(cell, axis) {
    return axis === 0 ? Math.floor(cell / this.columns) : cell % this.columns;
  }

  /** For each line of an axis: its words by descending frequency, and its number of occurrences in the text. */
  axis(round, axis) {
    round.axes[axis] ??= this.#groupByLine(round, axis);
    return round.axes[axis];
  }

  #groupByLine({ cells }, axis) {
    const side = axis === 0 ? this.rows : this.columns;
    const starts = new Uint32Array(side + 1);
    const occurrences = new Float64Array(side);
    for (let word = 0; word < this.size; word++) {
      const code = this.code(cells[word], axis);
      starts[code + 1]++;
      occurrences[code] += this.counts[word];
    }
    for (let code = 0; code < side; code++) starts[code + 1] += starts[code];
    const next = starts.slice();
    const members = new Uint32Array(this.size);
    for (let word = 0; word < this.size; word++) members[next[this.code(cells[word], axis)]++] = word;
    const byFrequency = Uint32Array.from({ length: side }, (_, code) => code).sort(
      (a, b) => occurrences[b] - occurrences[a] || a - b,
    );
    const rank = new Uint32Array(side); // inverse of byFrequency
    byFrequency.forEach((code, position) => (rank[code] = position));
    return { starts, members, occurrences, byFrequency, rank };
  }

  /** Summarizes a line: its number of words, its share of the text, and its `limit` most frequent words. */
  line(round, axis, code, limit) {
    const { starts, members, occurrences } = this.axis(round, axis);
    const words = members.subarray(starts[code], starts[code + 1]);
    return {
      axis,
      code,
      size: words.length,
      share: occurrences[code] / this.total,
      words: Array.from(words.subarray(0, limit), (index) => ({ index, word: this.word(index) })),
    };
  }

  /** The position at which a line is displayed; differs from its code if lines are sorted by frequency. */
  positionOf(round, axis, code, sorted) {
    return sorted ? this.axis(round, axis).rank[code] : code;
  }

  /** The code of the line displayed at a position. */
  codeAt(round, axis, position, sorted) {
    return sorted ? this.axis(round, axis).byFrequency[position] : position;
  }

  /** The index of the word displayed in a cell, or -1 if the cell is empty. */
  wordAt(round, row, column, sorted) {
    const [rowCode, columnCode] = [this.codeAt(round, 0, row, sorted), this.codeAt(round, 1, column, sorted)];
    return round.words[rowCode * this.columns + columnCode];
  }

  /** The mean loss of a word in nats, or null if it was not measured. */
  loss(round, word) {
    const step = round.losses ? round.losses[word] : 0;
    return step ? (step - 1) * this.info.step : null;
  }
}
