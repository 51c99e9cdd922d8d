// The list of likely next words, controlled with the keyboard from the text box.

import { element, find } from "./dom.js";
import { formatInteger, formatPercent } from "./number_format.js";
import { textBox } from "./text_editor.js";

const list = find("next");
const summary = find("next-summary");
let choose = () => {};
let selectedIndex = 0;
// Tab inserts a word only after the text box was used, so that it still moves the focus for keyboard navigation.
let capturesTab = false;

export function onChoice(handler) {
  choose = handler;
}

/** Shows a response of /api/next. */
export function showNextWords(response, model) {
  const highest = response.words[0]?.[1] || 1;
  list.replaceChildren(
    ...response.words.map(([word, probability], index) =>
      element(
        "li",
        {
          id: `next-${index}`,
          role: "option",
          "data-word": word,
          "aria-label": `${word}, ${formatPercent(probability)}`,
        },
        element("span", { class: [model.end, model.unknown].includes(word) ? "word marker" : "word" }, word),
        element(
          "span",
          { class: "track" },
          element("span", { class: "bar", style: { width: `${(100 * probability) / highest}%` } }),
        ),
        element("span", { class: "number" }, formatPercent(probability)),
      ),
    ),
  );
  list.removeAttribute("aria-busy");
  summary.textContent = summarize(response, model);
  select(0, false);
}

function summarize({ words, begins, matching, share, rows_opened, milliseconds }, model) {
  const parts = [];
  if (begins !== null) {
    parts.push(
      `${formatInteger(matching)} ${matching === 1 ? "word starts" : "words start"} with “${begins}” ` +
        `(${formatPercent(share)} of the probability mass)`,
    );
  } else {
    const total = words.reduce((sum, [, probability]) => sum + probability, 0);
    parts.push(
      `top ${formatInteger(words.length)} of ${formatInteger(matching)} words ` +
        `(${formatPercent(total)} of the probability mass)`,
    );
    if (rows_opened !== null && model.table) {
      parts.push(`exact search: ${formatInteger(rows_opened)} of ${formatInteger(model.table.sides[0])} rows evaluated`);
    }
  }
  parts.push(`${milliseconds.toFixed(1)}\u00a0ms`);
  return parts.join(" · ");
}

/** Dims the list while a newer response is pending. */
export function setPending(isPending) {
  if (isPending) list.setAttribute("aria-busy", "true");
  else list.removeAttribute("aria-busy");
}

function select(index, byKey = true) {
  const options = [...list.children];
  if (!options.length) return;
  selectedIndex = (index + options.length) % options.length;
  options.forEach((option, other) => option.setAttribute("aria-selected", String(other === selectedIndex)));
  if (byKey) textBox.setAttribute("aria-activedescendant", options[selectedIndex].id);
  else textBox.removeAttribute("aria-activedescendant");
}

list.addEventListener("pointerdown", (event) => event.preventDefault()); // keep the focus in the text box
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) choose(option.dataset.word);
});

textBox.addEventListener("input", () => (capturesTab = true));
textBox.addEventListener("pointerdown", () => (capturesTab = true));
textBox.addEventListener("blur", () => (capturesTab = false));
textBox.addEventListener("keydown", (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const atEnd = textBox.selectionStart === textBox.value.length;
  if (event.key === "Escape") capturesTab = false;
  else if (event.key === "ArrowDown" && atEnd) select(selectedIndex + 1);
  else if (event.key === "ArrowUp" && atEnd) select(selectedIndex - 1);
  else if (event.key === "Tab" && !event.shiftKey && capturesTab && list.children[selectedIndex]) {
    // Ignore the key while a newer list is pending: the selected word may be about to change.
    if (!list.hasAttribute("aria-busy")) choose(list.children[selectedIndex].dataset.word);
  } else return;
  if (event.key.startsWith("Arrow")) capturesTab = true;
  if (event.key !== "Escape") event.preventDefault();
});
