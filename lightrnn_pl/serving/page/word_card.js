// The "Word" section: frequency and codes of a word, and the words that share its row or column.

import { LatestRequest } from "./api_client.js";
import { addArrowKeyNavigation, element, find } from "./dom.js";
import { formatCount, formatInteger, formatPercent } from "./number_format.js";

const card = find("word");
const wordRequest = new LatestRequest("/api/word");
const FEW = 16;
const MANY = 500;

let shownWord = null;
let context = { insert: () => {}, showError: () => {}, model: null };

export function setUpWordCard(newContext) {
  context = newContext;
}

/** Shows a word.  If the focus was inside the card, it stays there. */
export async function showWord(word, limit = FEW) {
  if (word === shownWord && limit === FEW) return;
  shownWord = word;
  let response;
  try {
    response = await wordRequest.send({ word, limit });
  } catch (error) {
    context.showError(error);
    return;
  }
  if (!response) return;
  const hadFocus = card.contains(document.activeElement);
  find("word-empty").hidden = true;
  card.replaceChildren(...(response.known ? knownWord(response, limit) : unknownWord(response)));
  for (const toolbar of card.querySelectorAll("[role=toolbar]")) addArrowKeyNavigation(toolbar);
  if (hadFocus) card.querySelector("button")?.focus();
}

function unknownWord({ word, read_as, alike }) {
  const note =
    read_as === null
      ? "Not in the vocabulary. This model has no unknown word to replace it with."
      : `Not in the vocabulary. The model reads it as ${read_as}.`;
  const children = [element("h3", {}, word), element("p", {}, note)];
  if (alike.length) {
    children.push(element("h4", {}, "Similar spellings"), wordButtons(alike, "Words with similar spellings"));
  }
  return children;
}

function knownWord({ word, rank, count, share, axes }, limit) {
  const frequency = count
    ? `${formatCount(count, "occurrence")} in the training text (${formatPercent(share)}), ` +
      `rank ${formatInteger(rank)} of ${formatInteger(context.model.vocabulary)}`
    : "Does not occur in the training text";
  const facts = [element("p", {}, frequency)];
  if (axes.length) {
    const codes = axes.map(({ name, code }) => `${readable(name)} ${code}`).join(" · ");
    facts.unshift(element("p", { class: "codes" }, codes));
  }
  const children = [
    element(
      "div",
      { class: "heading" },
      element("h3", {}, word),
      element("button", { type: "button", onclick: () => context.insert(word) }, "Insert"),
    ),
  ];
  if (axes.length === 2) {
    children.push(element("div", { class: "position" }, cellDiagram(axes), element("div", {}, ...facts)));
  } else children.push(...facts);
  for (const axis of axes) children.push(...axisWords(word, axis, limit));
  return children;
}

function axisWords(word, { name, code, others, words }, limit) {
  const label = readable(name);
  const title = element(
    "h4",
    {},
    `${capitalize(label)} ${code} `,
    element("small", {}, formatCount(others, "other word")),
  );
  if (!words.length) return [title];
  const buttons = wordButtons(words, `Words in ${label} ${code}, most frequent first`);
  if (words.length < others && limit < MANY) {
    const hidden = Math.min(MANY, others) - words.length;
    buttons.append(
      element("button", { type: "button", class: "more", onclick: () => showWord(word, MANY) }, `${hidden} more`),
    );
  }
  return [title, buttons];
}

const readable = (name) => name.replace("_", " ");
const capitalize = (text) => text[0].toUpperCase() + text.slice(1);

function wordButtons(words, label) {
  return element(
    "div",
    { class: "neighbors", role: "toolbar", "aria-label": label },
    ...words.map((word) => element("button", { type: "button", onclick: () => showWord(word) }, word)),
  );
}

/** The word table as a square, with lines for the row and the column of a word and a dot for its cell. */
function cellDiagram([row, column]) {
  const svgElement = (tag, attributes) => {
    const created = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
    return created;
  };
  const [x, y] = [(100 * (column.code + 0.5)) / column.side, (100 * (row.code + 0.5)) / row.side];
  const diagram = svgElement("svg", {
    viewBox: "-1 -1 102 102",
    role: "img",
    "aria-label": `row ${row.code} of ${row.side}, column ${column.code} of ${column.side}`,
  });
  diagram.append(
    svgElement("rect", { class: "table", x: 0, y: 0, width: 100, height: 100, rx: 2 }),
    svgElement("rect", { class: "line", x: 0, y: y - 1, width: 100, height: 2 }),
    svgElement("rect", { class: "line", x: x - 1, y: 0, width: 2, height: 100 }),
    svgElement("rect", { class: "dot", x: x - 3, y: y - 3, width: 6, height: 6, rx: 1.2 }),
  );
  return diagram;
}
