// The text box: its words, the one at the caret, marks under those that the model does not know, and insertions.

import { element, find } from "./parts.js";

export const box = find("text");
const mirror = find("mirror");

/** The words of the text and where they stand. */
export const words = () =>
  [...box.value.matchAll(/\S+/gu)].map((match) => ({
    word: match[0],
    start: match.index,
    end: match.index + match[0].length,
  }));

/** What stands before the caret, and so decides what comes next. */
export const beforeCaret = () => box.value.slice(0, box.selectionStart);

/** The word that the caret touches, else the last one before it. */
export const wordAtCaret = () => words().findLast(({ start }) => start <= box.selectionStart) ?? null;

let unknown = new Set();

/** Repeats the text behind the box, unknown words underlined; this also gives the box its height. */
export function mark(unknownWords = unknown) {
  unknown = unknownWords;
  const parts = [];
  let end = 0;
  for (const { word, start, end: stop } of words()) {
    parts.push(box.value.slice(end, start), unknown.has(word) ? element("mark", {}, word) : word);
    end = stop;
  }
  mirror.replaceChildren(...parts, `${box.value.slice(end)}\u200b`);
}

/** Puts a word at the caret; replaces the half-typed word there if it is to be completed. */
export function insert(word, completes = false) {
  const caret = box.selectionStart;
  const touching = words().find(({ start, end }) => start < caret && caret <= end);
  let [from, to, before] = [caret, box.selectionEnd, ""];
  if (touching && completes) [from, to] = [touching.start, Math.max(to, touching.end)];
  else if (touching) [from, to, before] = [touching.end, Math.max(to, touching.end), " "];
  const after = /^\s/u.test(box.value.slice(to)) ? "" : " ";
  replace(from, to, before + word + after);
  if (!after) box.setSelectionRange(box.selectionStart + 1, box.selectionStart + 1);
}

export const append = (text) =>
  replace(box.value.trimEnd().length, box.value.length, `${box.value.trim() ? " " : ""}${text} `);

function replace(from, to, text) {
  box.focus();
  box.setSelectionRange(from, to);
  // The old command, since what it writes can be undone in the box.
  if (!document.execCommand("insertText", false, text)) {
    box.setRangeText(text, from, to, "end");
    box.dispatchEvent(new Event("input"));
  }
}
