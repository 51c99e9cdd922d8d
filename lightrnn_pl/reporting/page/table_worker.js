// Worker that answers queries of the page.  Each result carries the id of its query.

import { moveKind, paint, valueRange } from "./table_pixels.js";
import { WordSearch } from "./word_search.js";
import { WordTables } from "./word_tables.js";

const MAX_LINE_WORDS = 200; // words of a row or column that is displayed on its own
const FEW_LINE_WORDS = 24; // words of the row and column of a displayed word

let tables = null;
let search = null;
let opening = null; // the promise of the first query, which all other queries await
const pendingParts = new Map(); // functions that resolve the parts requested from the page, by name

/** Requests a part of the packed tables from the page. */
function loadPart(name) {
  return new Promise((resolve) => {
    pendingParts.set(name, resolve);
    postMessage({ part: name });
  });
}

const allRounds = () => Promise.all(tables.info.rounds.map((_, index) => tables.round(index)));
const wordSummary = (index) => ({ index, word: tables.word(index), count: tables.counts[index] });

const queries = {
  async open({ info }) {
    tables = await WordTables.open(info, loadPart);
    search = new WordSearch(tables);
    return { rows: tables.rows, columns: tables.columns };
  },

  async bitmap({ roundIndex, mode, sorted, colors }) {
    const round = await tables.round(roundIndex);
    const previous = roundIndex > 0 && mode === "moved" ? await tables.round(roundIndex - 1) : null;
    const range = valueRange(tables, mode === "loss" ? await allRounds() : [], mode);
    const { pixels, moveCounts } = paint(tables, round, previous, { mode, sorted, range, colors });
    const image = new ImageData(new Uint8ClampedArray(pixels.buffer), tables.columns, tables.rows);
    const bitmap = await createImageBitmap(image);
    return { bitmap, moveCounts, range, hasLosses: round.losses !== null };
  },

  search: ({ text, limit }) => search.find(text, limit).map(wordSummary),

  /** A word with its row, its column, the words that share them, and its cell in every round. */
  async word({ index, roundIndex, sorted }) {
    const round = await tables.round(roundIndex);
    const rounds = await allRounds();
    const codes = [0, 1].map((axis) => tables.code(round.cells[index], axis));
    return {
      ...wordSummary(index),
      share: tables.counts[index] / tables.total,
      position: codes.map((code, axis) => tables.positionOf(round, axis, code, sorted)),
      lines: codes.map((code, axis) => tables.line(round, axis, code, FEW_LINE_WORDS)),
      history: rounds.map((other, otherIndex) => ({
        round: tables.info.rounds[otherIndex].number,
        row: tables.code(other.cells[index], 0),
        column: tables.code(other.cells[index], 1),
        loss: tables.loss(other, index),
        moved: otherIndex > 0 && moveKind(tables, rounds[otherIndex - 1], other, index) > 0,
      })),
    };
  },

  async line({ axis, code, roundIndex, sorted }) {
    const round = await tables.round(roundIndex);
    const position = tables.positionOf(round, axis, code, sorted);
    return { ...tables.line(round, axis, code, MAX_LINE_WORDS), position };
  },

  /** The word displayed in a cell, or null if the cell is empty. */
  async cell({ row, column, roundIndex, sorted }) {
    const round = await tables.round(roundIndex);
    const index = tables.wordAt(round, row, column, sorted);
    if (index < 0) return null;
    return {
      ...wordSummary(index),
      loss: tables.loss(round, index),
      codes: [0, 1].map((axis) => tables.code(round.cells[index], axis)),
    };
  },

  /** The words displayed in a region of the table, row by row; empty strings for empty cells. */
  async regionWords({ top, left, height, width, roundIndex, sorted }) {
    const round = await tables.round(roundIndex);
    const words = [];
    for (let row = top; row < top + height; row++) {
      for (let column = left; column < left + width; column++) {
        const index = tables.wordAt(round, row, column, sorted);
        words.push(index < 0 ? "" : tables.word(index));
      }
    }
    return { top, left, height, width, words };
  },

  /** The rows or columns with the largest share of the text, and their most frequent words. */
  async frequentLines({ axis, roundIndex, limit, numWords }) {
    const round = await tables.round(roundIndex);
    const codes = tables.axis(round, axis).byFrequency.subarray(0, limit);
    return Array.from(codes, (code) => tables.line(round, axis, code, numWords)).filter((line) => line.size > 0);
  },
};

self.addEventListener("message", async ({ data }) => {
  if (data.part) {
    pendingParts.get(data.part)(data.content);
    pendingParts.delete(data.part);
    return;
  }
  try {
    if (data.query === "open") opening = queries.open(data);
    const shape = await opening;
    const result = data.query === "open" ? shape : await queries[data.query](data);
    postMessage({ id: data.id, result }, result?.bitmap ? [result.bitmap] : []);
  } catch (error) {
    postMessage({ id: data.id, error: `${error.name}: ${error.message}` });
  }
});
