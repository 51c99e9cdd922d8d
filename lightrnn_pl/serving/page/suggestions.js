// The next words as a list that is read and used from the text box.

import { box } from "./editor.js";
import { element, find, percent, whole } from "./parts.js";

const list = find("next");
const proof = find("proof");
let choose = () => {};
let marked = 0;
// Tab only inserts once the box was used: who comes along with the Tab key is not held.
let engaged = false;

export function onChoice(handler) {
  choose = handler;
}

/** Shows an answer of /api/next. */
export function showNext(answer, model) {
  marked = 0;
  const most = answer.words[0]?.[1] || 1;
  list.replaceChildren(
    ...answer.words.map(([word, probability], place) =>
      element(
        "li",
        { id: `next-${place}`, role: "option", "data-word": word, "aria-label": `${word}, ${percent(probability)}` },
        element("span", { class: [model.end, model.unknown].includes(word) ? "word marker" : "word" }, word),
        element(
          "span",
          { class: "track" },
          element("span", { class: "bar", style: { width: `${(100 * probability) / most}%` } }),
        ),
        element("span", { class: "number" }, percent(probability)),
      ),
    ),
  );
  list.removeAttribute("aria-busy");
  tell(answer, model);
  move(0, false);
}

function tell(answer, model) {
  const together = answer.words.reduce((sum, [, probability]) => sum + probability, 0);
  const parts = [];
  if (answer.begins !== null) {
    parts.push(
      `${whole.format(answer.matching)} ${answer.matching === 1 ? "word begins" : "words begin"} ` +
        `with “${answer.begins}”, ${percent(answer.share)} of all probability`,
    );
  } else {
    parts.push(`the likeliest of ${whole.format(answer.matching)} words, ${percent(together)} of all probability`);
    if (answer.rows_opened !== null && model.table) {
      parts.push(`proven by opening ${whole.format(answer.rows_opened)} of ${whole.format(model.table.sides[0])} rows`);
    }
  }
  parts.push(`${answer.milliseconds.toFixed(1)} ms`);
  proof.textContent = parts.join(" · ");
}

/** Greys the list while the answer to a newer text is awaited. */
export function awaitNext(newer) {
  if (newer) list.setAttribute("aria-busy", "true");
  else list.removeAttribute("aria-busy");
}

function move(to, byHand = true) {
  const options = [...list.children];
  if (!options.length) return;
  marked = (to + options.length) % options.length;
  options.forEach((option, place) => option.setAttribute("aria-selected", String(place === marked)));
  if (byHand) box.setAttribute("aria-activedescendant", options[marked].id);
  else box.removeAttribute("aria-activedescendant");
}

list.addEventListener("pointerdown", (event) => event.preventDefault()); // the box keeps the caret
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) choose(option.dataset.word);
});

box.addEventListener("input", () => (engaged = true));
box.addEventListener("pointerdown", () => (engaged = true));
box.addEventListener("blur", () => (engaged = false));
box.addEventListener("keydown", (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const atEnd = box.selectionStart === box.value.length;
  if (event.key === "Escape") engaged = false;
  else if (event.key === "ArrowDown" && atEnd) move(marked + 1);
  else if (event.key === "ArrowUp" && atEnd) move(marked - 1);
  else if (event.key === "Tab" && !event.shiftKey && engaged && list.children[marked]) {
    // A word of a list that is about to change is not what the eye has chosen.
    if (!list.hasAttribute("aria-busy")) choose(list.children[marked].dataset.word);
  } else return;
  if (event.key.startsWith("Arrow")) engaged = true;
  if (event.key !== "Escape") event.preventDefault();
});
