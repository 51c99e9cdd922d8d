// Colors of the cells of a word table, one pixel per cell.  Pixels are 32-bit values as stored in `ImageData`.

const MAX_STEP = 255; // the last color of a scale

/** The values at both ends of the color scale. */
export function valueRange(tables, rounds, mode) {
  if (mode === "frequency") {
    // Words are sorted by descending count.
    const low = Math.max(1, tables.counts.at(-1));
    return { low, high: Math.max(low + 1, tables.counts[0]) };
  }
  // All rounds share one scale so that they can be compared.  It ends at the 99th percentile of the losses.
  const histogram = new Uint32Array(256);
  for (const round of rounds) if (round?.losses) for (const step of round.losses) histogram[step]++;
  const total = histogram.reduce((sum, count, step) => (step ? sum + count : 0), 0);
  let [step, seen] = [1, 0];
  while (step < 255 && (seen += histogram[step]) < 0.99 * total) step++;
  return { low: 0, high: Math.max(1, Math.ceil((step - 1) * tables.info.step)) };
}

/** How a word was reallocated at the start of a round: 0 not at all, 1 within its row, 2 to another row. */
export function moveKind(tables, previous, round, word) {
  if (!previous || previous.cells[word] === round.cells[word]) return 0;
  return tables.code(previous.cells[word], 0) === tables.code(round.cells[word], 0) ? 1 : 2;
}

/** Returns the pixels of a round and, in mode "moved", the number of words of each kind of move. */
export function paint(tables, round, previous, { mode, sorted, range, colors }) {
  const { rows, columns, size, counts } = tables;
  const pixels = new Uint32Array(rows * columns).fill(colors.empty);
  const [rowRanks, columnRanks] = [0, 1].map((axis) => (sorted ? tables.axis(round, axis).rank : null));
  const moveCounts = [0, 0, 0];
  const logFactor = MAX_STEP / Math.log(range.high / Math.max(1, range.low));
  for (let word = 0; word < size; word++) {
    const cell = round.cells[word];
    let color;
    if (mode === "frequency") {
      color = colors.scale[Math.round(logFactor * Math.log(Math.max(1, counts[word] / range.low)))];
    } else if (mode === "loss") {
      const step = round.losses ? round.losses[word] : 0;
      const fraction = ((step - 1) * tables.info.step) / range.high;
      color = step ? colors.scale[Math.round(MAX_STEP * Math.min(1, fraction))] : colors.unknown;
    } else {
      const kind = moveKind(tables, previous, round, word);
      moveCounts[kind]++;
      color = colors.moves[kind];
    }
    const position = sorted ? rowRanks[Math.floor(cell / columns)] * columns + columnRanks[cell % columns] : cell;
    pixels[position] = color;
  }
  return { pixels, moveCounts };
}
