// The table as pixels, one a cell.  A colour is a 32-bit number as a picture holds it; `scale` has 256 of them.

const steps = 255;

/** What the colours of a round can say, and where their scale ends. */
export function rangeOf(tables, rounds, mode) {
  if (mode === "frequency") {
    // They come in descending order.
    const low = Math.max(1, tables.counts.at(-1));
    return { low, high: Math.max(low + 1, tables.counts[0]) };
  }
  // The same scale for all rounds, so that they can be compared; the few dearest words do not stretch it.
  const times = new Uint32Array(256);
  for (const round of rounds) if (round?.losses) for (const step of round.losses) times[step]++;
  const known = times.reduce((sum, count, step) => (step ? sum + count : 0), 0);
  let [step, seen] = [1, 0];
  while (step < 255 && (seen += times[step]) < 0.99 * known) step++;
  return { low: 0, high: Math.max(1, Math.ceil((step - 1) * tables.about.step)) };
}

/** How a word came to its cell at the beginning of a round: 0 it stayed, 1 within its row, 2 from another row. */
export function moveOf(tables, before, round, word) {
  if (!before || before.cells[word] === round.cells[word]) return 0;
  return tables.code(before.cells[word], 0) === tables.code(round.cells[word], 0) ? 1 : 2;
}

/** Pixels of a round, and for moves how many words there are of each kind. */
export function paint(tables, round, before, { mode, ordered, range, colors }) {
  const { rows, columns, size, counts } = tables;
  const pixels = new Uint32Array(rows * columns).fill(colors.empty);
  const places = [0, 1].map((axis) => (ordered ? tables.axis(round, axis).rank : null));
  const kinds = [0, 0, 0];
  const stretch = steps / Math.log(range.high / Math.max(1, range.low));
  for (let word = 0; word < size; word++) {
    const cell = round.cells[word];
    let color;
    if (mode === "frequency") {
      color = colors.scale[Math.round(stretch * Math.log(Math.max(1, counts[word] / range.low)))];
    } else if (mode === "loss") {
      const step = round.losses ? round.losses[word] : 0;
      const share = ((step - 1) * tables.about.step) / range.high;
      color = step ? colors.scale[Math.round(steps * Math.min(1, share))] : colors.unknown;
    } else {
      const kind = moveOf(tables, before, round, word);
      kinds[kind]++;
      color = colors.kinds[kind];
    }
    const place = ordered
      ? places[0][Math.floor(cell / columns)] * columns + places[1][cell % columns]
      : cell;
    pixels[place] = color;
  }
  return { pixels, kinds };
}
