// Answers the page: each message is a question with a number, each answer has that number.

import { moveOf, paint, rangeOf } from "./painter.js";
import { Search } from "./search.js";
import { Tables } from "./tables.js";

const LINE_WORDS = 24;

let tables = null;
let search = null;
let opened = null; // all other questions wait for it
const waiting = new Map(); // parts that were asked of the page, by name

/** A part of the packed tables; the page hands it over when it is needed. */
function part(name) {
  return new Promise((resolve) => {
    waiting.set(name, resolve);
    postMessage({ part: name });
  });
}

const summary = (number) => ({ number, word: tables.word(number), count: tables.counts[number] });

const questions = {
  async open({ about }) {
    tables = await Tables.open(about, part);
    search = new Search(tables);
    return { rows: tables.rows, columns: tables.columns, total: tables.total };
  },

  async picture({ place, mode, ordered, colors }) {
    const round = await tables.round(place);
    const before = place > 0 && mode === "moved" ? await tables.round(place - 1) : null;
    const rounds = mode === "loss" ? await Promise.all(tables.about.rounds.map((_, other) => tables.round(other))) : [];
    const range = rangeOf(tables, rounds, mode);
    const { pixels, kinds } = paint(tables, round, before, { mode, ordered, range, colors });
    const image = new ImageData(new Uint8ClampedArray(pixels.buffer), tables.columns, tables.rows);
    const bitmap = await createImageBitmap(image);
    return { bitmap, kinds, range, measured: round.losses !== null };
  },

  search: ({ text, limit }) => search.find(text, limit).map(summary),

  /** All about a word: its cell, those who share it, and where it was in the other rounds. */
  async word({ number, place, ordered }) {
    const round = await tables.round(place);
    const all = await Promise.all(tables.about.rounds.map((_, other) => tables.round(other)));
    const codes = [0, 1].map((axis) => tables.code(round.cells[number], axis));
    return {
      ...summary(number),
      share: tables.counts[number] / tables.total,
      shown: codes.map((code, axis) => tables.shownAt(round, axis, code, ordered)),
      lines: codes.map((code, axis) => tables.line(round, axis, code, LINE_WORDS)),
      path: all.map((other, index) => ({
        number: tables.about.rounds[index].number,
        row: tables.code(other.cells[number], 0),
        column: tables.code(other.cells[number], 1),
        loss: tables.loss(other, number),
        moved: index > 0 && moveOf(tables, all[index - 1], other, number) > 0,
      })),
    };
  },

  async line({ axis, code, place, ordered }) {
    const round = await tables.round(place);
    return { ...tables.line(round, axis, code, 200), shown: tables.shownAt(round, axis, code, ordered) };
  },

  /** The word of a cell as it is shown, null if the cell is empty. */
  async cell({ row, column, place, ordered }) {
    const round = await tables.round(place);
    const number = tables.wordAt(round, row, column, ordered);
    if (number < 0) return null;
    return {
      ...summary(number),
      loss: tables.loss(round, number),
      codes: [0, 1].map((axis) => tables.code(round.cells[number], axis)),
    };
  },

  /** The words of a stretch of the table as it is shown, row by row; empty texts for empty cells. */
  async window({ top, left, height, width, place, ordered }) {
    const round = await tables.round(place);
    const words = [];
    for (let row = top; row < top + height; row++) {
      for (let column = left; column < left + width; column++) {
        const number = tables.wordAt(round, row, column, ordered);
        words.push(number < 0 ? "" : tables.word(number));
      }
    }
    return { top, left, height, width, words };
  },

  /** The rows or columns that are most of the text, with their most frequent words. */
  async heaviest({ axis, place, limit, words }) {
    const round = await tables.round(place);
    const codes = tables.axis(round, axis).heaviest.subarray(0, limit);
    return Array.from(codes, (code) => tables.line(round, axis, code, words)).filter((line) => line.size > 0);
  },
};

self.addEventListener("message", async ({ data }) => {
  if (data.part) {
    waiting.get(data.part)(data.content);
    waiting.delete(data.part);
    return;
  }
  try {
    if (data.question === "open") opened = questions.open(data);
    const shape = await opened;
    const answer = data.question === "open" ? shape : await questions[data.question](data);
    postMessage({ id: data.id, answer }, answer?.bitmap ? [answer.bitmap] : []);
  } catch (error) {
    postMessage({ id: data.id, error: `${error.name}: ${error.message}` });
  }
});
