// The text box: the word at the caret, underlines below unknown words, and insertion of words.

import { element, find } from "./dom.js";

export const textBox = find("text");
const mirror = find("mirror");

/** The words of the text with their start and end offsets. */
export const wordsWithOffsets = () =>
  [...textBox.value.matchAll(/\S+/gu)].map((match) => ({
    word: match[0],
    start: match.index,
    end: match.index + match[0].length,
  }));

/** The text before the caret, for which the next word is predicted. */
export const textBeforeCaret = () => textBox.value.slice(0, textBox.selectionStart);

/** The word that contains the caret, or else the last word before it. */
export const wordAtCaret = () => wordsWithOffsets().findLast(({ start }) => start <= textBox.selectionStart) ?? null;

let unknownWords = new Set();

/** Copies the text to the element behind the text box, which sets its height and underlines unknown words. */
export function updateMirror(unknown = unknownWords) {
  unknownWords = unknown;
  const children = [];
  let previousEnd = 0;
  for (const { word, start, end } of wordsWithOffsets()) {
    children.push(textBox.value.slice(previousEnd, start), unknown.has(word) ? element("mark", {}, word) : word);
    previousEnd = end;
  }
  mirror.replaceChildren(...children, `${textBox.value.slice(previousEnd)}\u200b`);
}

/** Inserts a word at the caret.  It replaces `completed`, the letters before the caret that it completes. */
export function insert(word, completed = "") {
  const caret = textBox.selectionStart;
  const partial = wordsWithOffsets().find(({ start, end }) => start < caret && caret <= end);
  let [from, to, before] = [caret, textBox.selectionEnd, ""];
  if (partial && completed) [from, to] = [caret - completed.length, Math.max(to, partial.end)];
  else if (partial) [from, to, before] = [partial.end, Math.max(to, partial.end), " "];
  const after = /^\s/u.test(textBox.value.slice(to)) ? "" : " ";
  replace(from, to, before + word + after);
  if (!after) textBox.setSelectionRange(textBox.selectionStart + 1, textBox.selectionStart + 1);
}

export const append = (text) =>
  replace(textBox.value.trimEnd().length, textBox.value.length, `${textBox.value.trim() ? " " : ""}${text} `);

function replace(from, to, text) {
  textBox.focus();
  textBox.setSelectionRange(from, to);
  // execCommand is deprecated, but it is the only way to keep the undo history of the text box.
  if (!document.execCommand("insertText", false, text)) {
    textBox.setRangeText(text, from, to, "end");
    textBox.dispatchEvent(new Event("input"));
  }
}
