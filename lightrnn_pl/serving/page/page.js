// The page: the text box asks, the panels show.

import { setUpContinuation } from "./continuation.js";
import { beforeCaret, box, insert, mark, wordAtCaret, words } from "./editor.js";
import { describe, find, short, whole } from "./parts.js";
import { onWord, showSentence } from "./sentence.js";
import { askOnce, Latest } from "./server.js";
import { awaitNext, onChoice, showNext } from "./suggestions.js";
import { setUpWord, showWord } from "./word.js";

const PAUSE = 30; // milliseconds without a keystroke before the model is asked
const WORDS = 10;

const nextWords = new Latest("/api/next");
const scores = new Latest("/api/score");
let model = null;
let answered = null; // the answer that the list shows
let asked = null; // what stood before the caret then
let scored = null; // the text whose scores are shown
let timer = 0;

function problem(error) {
  find("error").textContent = error ? error.message : "";
  find("error").hidden = !error;
}

function soon() {
  if (!model) return;
  clearTimeout(timer);
  nextWords.drop();
  awaitNext(beforeCaret() !== asked);
  timer = setTimeout(update, PAUSE);
}

async function update() {
  const before = beforeCaret();
  try {
    if (before !== asked) {
      const answer = await nextWords.ask({ text: before, k: WORDS, complete: true });
      if (!answer) return;
      [asked, answered] = [before, answer];
      showNext(answer, model);
      problem(null);
    }
    await score();
  } catch (error) {
    problem(error);
  }
  followCaret();
}

/** The word that is being typed at the end of the text; it is not judged before it is one. */
const unfinished = () => answered?.begins && !answered.whole && asked === box.value;

async function score() {
  const text = unfinished() ? box.value.slice(0, box.value.length - answered.begins.length) : box.value;
  if (text === scored) {
    scores.drop();
    return;
  }
  const answer = await scores.ask({ text });
  if (!answer) return;
  scored = text;
  showSentence(answer);
  const unknown = new Set(answer.words.filter(({ known }) => !known).map(({ word }) => word));
  mark(unknown);
  find("unknown").textContent = unknown.size
    ? `Not in the vocabulary, read as ${model.unknown}: ${[...unknown].join(", ")}`
    : "";
}

function followCaret() {
  let at = wordAtCaret();
  if (at && unfinished()) at = words().at(-2) ?? null;
  if (at) showWord(at.word);
}

function showModel() {
  const { table, perplexity, parts, name } = model;
  const sides = table?.sides.map((side) => whole.format(side)).join(" × ");
  const figures = (value) => (value ? value.toFixed(1) : null);
  const corpus = model.corpus && model.corpus !== "text" ? model.corpus : null;
  document.title = name;
  find("name").textContent = name;
  find("summary").textContent = [
    `${whole.format(model.vocabulary)} words` + (table ? ` in a table of ${sides}` : ""),
    `${short(model.parameters)} parameters`,
    perplexity.test ? `test perplexity ${figures(perplexity.test)}` : null,
  ]
    .filter(Boolean)
    .join(" · ");
  describe(find("model"), [
    ["vocabulary", `${whole.format(model.vocabulary)} words`],
    ["word table", table ? `${sides}, ${whole.format(table.empty_cells)} cells empty` : "none: a word has one code"],
    ["parameters", whole.format(model.parameters)],
    ["size", `${short(model.bytes / 1e6)} MB`],
    ["test perplexity", figures(perplexity.test)],
    ["validation perplexity", figures(perplexity.validation)],
    ["corpus", corpus],
    ["training text", model.tokens ? `${whole.format(model.tokens)} words` : null],
    ["input", parts.embedding],
    ["core", `${parts.core}, ${whole.format(model.hidden_dim)} units`],
    ["output", parts.output],
    ["unknown word", model.unknown],
    ["end marker", model.end],
    ["table’s fingerprint", table?.fingerprint.slice(0, 12)],
  ]);
}

box.addEventListener("input", () => {
  mark();
  soon();
});
document.addEventListener("selectionchange", () => document.activeElement === box && soon());
onChoice((word) => insert(word, Boolean(answered?.begins)));
onWord((word) => showWord(word));

try {
  model = await askOnce("/api/model");
  box.maxLength = model.limits.characters;
  showModel();
  setUpContinuation(model);
  setUpWord({ insert: (word) => insert(word), fail: problem, model });
  mark();
  await update();
} catch (error) {
  problem(error);
}
