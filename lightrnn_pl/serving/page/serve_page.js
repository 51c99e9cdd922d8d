// Entry point: sends the text to the model while it is edited and updates all sections of the page.

import { get, LatestRequest } from "./api_client.js";
import { setUpContinuation } from "./continuation.js";
import { fillDescriptionList, find } from "./dom.js";
import { onChoice, setPending, showNextWords } from "./next_word_list.js";
import { formatCompact, formatCount, formatInteger } from "./number_format.js";
import { insert, textBeforeCaret, textBox, updateMirror, wordAtCaret, wordsWithOffsets } from "./text_editor.js";
import { setUpWordCard, showWord } from "./word_card.js";
import { onWordClick, showScores } from "./word_scores.js";

const DELAY = 30; // milliseconds without input before the model is queried
const NUM_NEXT_WORDS = 10;

const nextRequest = new LatestRequest("/api/next");
const scoreRequest = new LatestRequest("/api/score");
let model = null;
let shownNext = null; // the response of /api/next on display
let shownBefore = null; // the text before the caret for which it was requested
let scoredText = null; // the text whose scores are on display
let timer = 0;

function showError(error) {
  find("error").textContent = error ? error.message : "";
  find("error").hidden = !error;
}

function scheduleUpdate() {
  if (!model) return;
  clearTimeout(timer);
  nextRequest.cancel();
  setPending(textBeforeCaret() !== shownBefore);
  timer = setTimeout(update, DELAY);
}

async function update() {
  const before = textBeforeCaret();
  try {
    if (before !== shownBefore) {
      const response = await nextRequest.send({ text: before, k: NUM_NEXT_WORDS, complete: true });
      if (!response) return;
      [shownBefore, shownNext] = [before, response];
      showNextWords(response, model);
      showError(null);
    }
    await updateScores();
  } catch (error) {
    showError(error);
  }
  showWordAtCaret();
}

/** Whether the text ends with a partial word, which is not scored until it is complete. */
const endsWithPartialWord = () => shownNext?.begins && !shownNext.whole && shownBefore === textBox.value;

async function updateScores() {
  const { value } = textBox;
  const text = endsWithPartialWord() ? value.slice(0, value.length - shownNext.begins.length) : value;
  if (text === scoredText) {
    scoreRequest.cancel();
    return;
  }
  const response = await scoreRequest.send({ text });
  if (!response) return;
  scoredText = text;
  showScores(response);
  const unknown = new Set(response.words.filter(({ known }) => !known).map(({ word }) => word));
  updateMirror(unknown);
  find("unknown").textContent = unknown.size
    ? `Not in the vocabulary, read as ${model.unknown}: ${[...unknown].join(", ")}`
    : "";
}

function showWordAtCaret() {
  const found = endsWithPartialWord() ? wordsWithOffsets().at(-2) : wordAtCaret();
  if (found) showWord(found.word);
}

function showModel() {
  const { table, perplexity, parts, name } = model;
  const sides = table?.sides.map(formatInteger).join(" × ");
  const formatPerplexity = (value) => (value ? value.toFixed(1) : null);
  const corpus = model.corpus && model.corpus !== "text" ? model.corpus : null;
  document.title = name;
  find("name").textContent = name;
  find("summary").textContent = [
    formatCount(model.vocabulary, "word") + (table ? ` in a ${sides} table` : ""),
    `${formatCompact(model.parameters)} parameters`,
    perplexity.test ? `test perplexity ${formatPerplexity(perplexity.test)}` : null,
  ]
    .filter(Boolean)
    .join(" · ");
  fillDescriptionList(find("model"), [
    ["vocabulary size", formatInteger(model.vocabulary)],
    ["word table", table ? `${sides}, ${formatCount(table.empty_cells, "empty cell")}` : "none (one code per word)"],
    ["parameters", formatInteger(model.parameters)],
    ["size", `${formatCompact(model.bytes / 1e6)} MB`],
    ["test perplexity", formatPerplexity(perplexity.test)],
    ["validation perplexity", formatPerplexity(perplexity.validation)],
    ["corpus", corpus],
    ["training tokens", model.tokens ? formatInteger(model.tokens) : null],
    ["embedding", parts.embedding],
    ["core", parts.core],
    ["hidden size", formatInteger(model.hidden_dim)],
    ["output layer", parts.output],
    ["unknown word", model.unknown],
    ["end marker", model.end],
    ["table fingerprint", table?.fingerprint.slice(0, 12)],
  ]);
}

textBox.addEventListener("input", () => {
  updateMirror();
  scheduleUpdate();
});
document.addEventListener("selectionchange", () => document.activeElement === textBox && scheduleUpdate());
onChoice((word) => insert(word, shownNext?.begins ?? ""));
onWordClick((word) => showWord(word));

try {
  model = await get("/api/model");
  textBox.maxLength = model.limits.characters;
  showModel();
  setUpContinuation(model);
  setUpWordCard({ insert: (word) => insert(word), showError, model });
  updateMirror();
  await update();
} catch (error) {
  showError(error);
}
