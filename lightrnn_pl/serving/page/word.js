// A word's cell in the word table, and the words that share its row and its column.

import { element, find, percent, rove, whole } from "./parts.js";
import { Latest } from "./server.js";

const card = find("word");
const questions = new Latest("/api/word");
const FEW = 16;
const MANY = 500;

let shown = null;
let use = { insert: () => {}, fail: () => {}, model: null };

export function setUpWord(handlers) {
  use = handlers;
}

/** Shows a word's card; a focus within the old card goes to the new one. */
export async function showWord(word, limit = FEW) {
  if (word === shown && limit === FEW) return;
  shown = word;
  let answer;
  try {
    answer = await questions.ask({ word, limit });
  } catch (error) {
    use.fail(error);
    return;
  }
  if (!answer) return;
  const hadFocus = card.contains(document.activeElement);
  find("word-empty").hidden = true;
  card.replaceChildren(...(answer.known ? knownWord(answer, limit) : unknownWord(answer)));
  for (const group of card.querySelectorAll("[role=toolbar]")) rove(group);
  if (hadFocus) card.querySelector("button")?.focus();
}

function title(word) {
  return element(
    "div",
    { class: "heading" },
    element("h3", {}, word),
    element("button", { type: "button", onclick: () => use.insert(word) }, "Insert"),
  );
}

function unknownWord({ word, read_as, alike }) {
  const parts = [
    element("h3", {}, word),
    element("p", {}, `Not in the vocabulary; read as ${read_as ?? "nothing"}.`),
  ];
  if (alike.length) {
    parts.push(element("h4", {}, "Spelled alike"), neighbourhood(alike, "Words spelled alike"));
  }
  return parts;
}

function knownWord(answer, limit) {
  const { word, rank, count, share, axes } = answer;
  const often = count
    ? `${whole.format(count)} times in the training text (${percent(share)}), ` +
      `place ${whole.format(rank)} of ${whole.format(use.model.vocabulary)}`
    : "not once in the training text";
  const facts = [element("p", {}, often)];
  if (axes.length) {
    facts.unshift(element("p", { class: "cell" }, axes.map(({ name, code }) => `${label(name)} ${code}`).join(" · ")));
  }
  const parts = [title(word)];
  if (axes.length === 2) parts.push(element("div", { class: "place" }, picture(axes), element("div", {}, ...facts)));
  else parts.push(...facts);
  for (const { name, code, others, words } of axes) {
    const count = others === 1 ? "1 other word" : `${whole.format(others)} other words`;
    parts.push(element("h4", {}, `${capital(label(name))} ${code} `, element("small", {}, count)));
    if (!words.length) continue;
    const group = neighbourhood(words, `Words of ${label(name)} ${code}, the most frequent first`);
    if (words.length < others && limit < MANY) {
      const more = Math.min(MANY, others) - words.length;
      group.append(
        element("button", { type: "button", class: "more", onclick: () => showWord(word, MANY) }, `${more} more`),
      );
    }
    parts.push(group);
  }
  return parts;
}

const label = (name) => name.replace("_", " ");
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function neighbourhood(words, name) {
  return element(
    "div",
    { class: "neighbours", role: "toolbar", "aria-label": name },
    ...words.map((word) => element("button", { type: "button", onclick: () => showWord(word) }, word)),
  );
}

/** The table as a square: a line for the row, one for the column, and the cell where they meet. */
function picture([row, column]) {
  const svg = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const [x, y] = [(100 * (column.code + 0.5)) / column.side, (100 * (row.code + 0.5)) / row.side];
  const made = svg("svg", {
    viewBox: "-1 -1 102 102",
    role: "img",
    "aria-label": `row ${row.code} of ${row.side}, column ${column.code} of ${column.side}`,
  });
  made.append(
    svg("rect", { class: "table", x: 0, y: 0, width: 100, height: 100, rx: 2 }),
    svg("rect", { class: "line", x: 0, y: y - 1, width: 100, height: 2 }),
    svg("rect", { class: "line", x: x - 1, y: 0, width: 2, height: 100 }),
    svg("rect", { class: "dot", x: x - 3, y: y - 3, width: 6, height: 6, rx: 1.2 }),
  );
  return made;
}
