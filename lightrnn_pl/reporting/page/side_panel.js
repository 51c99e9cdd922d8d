// The panel next to the word table: the search box, the selected word, row or column, and the most frequent rows.

import { addArrowKeyNavigation, element, find } from "./dom.js";
import { formatCount, formatInteger, formatPercent } from "./number_format.js";

const searchBox = find("search");
const matchList = find("matches");
const card = find("word");
const frequentRows = find("frequent-rows");
const MAX_MATCHES = 12;
const AXIS_NAMES = ["row", "column"];

export class SidePanel {
  /**
   * `query` sends a query to the worker.  `handlers.selectWord(index)` and `handlers.selectLine(axis, code)` are called
   * when the user chooses a word, or a row or column.
   */
  constructor(query, handlers) {
    this.query = query;
    this.handlers = handlers;
    this.matches = [];
    this.activeIndex = -1;
    this.lastSearch = 0;
    searchBox.addEventListener("input", () => this.#search());
    searchBox.addEventListener("keydown", (event) => this.#onKeyDown(event));
    searchBox.addEventListener("blur", () => this.#closeMatches());
    find("search-form").addEventListener("submit", (event) => event.preventDefault());
  }

  clear() {
    searchBox.value = "";
    this.#closeMatches();
    card.replaceChildren(element("p", { class: "note" }, "Search for a word, or click a cell of the table."));
  }

  async #search() {
    const searchId = ++this.lastSearch;
    const text = searchBox.value.trim();
    const matches = text ? await this.query("search", { text, limit: MAX_MATCHES }) : [];
    if (searchId !== this.lastSearch) return;
    this.matches = matches;
    matchList.replaceChildren(
      ...matches.map(({ index, word, count }, position) =>
        element(
          "li",
          {
            id: `match-${position}`,
            role: "option",
            onpointerdown: (event) => {
              event.preventDefault();
              this.#choose(index, word);
            },
          },
          element("span", { class: "text" }, word),
          element("small", {}, formatInteger(count)),
        ),
      ),
    );
    this.#activate(matches.length ? 0 : -1);
    if (text && !matches.length) matchList.append(element("li", { class: "note" }, "No matching words."));
    matchList.hidden = !text;
    searchBox.setAttribute("aria-expanded", String(!matchList.hidden));
  }

  #activate(position) {
    this.activeIndex = position;
    [...matchList.children].forEach((item, index) => item.setAttribute("aria-selected", String(index === position)));
    if (position < 0) searchBox.removeAttribute("aria-activedescendant");
    else searchBox.setAttribute("aria-activedescendant", `match-${position}`);
  }

  async #onKeyDown(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.matches.length) {
      event.preventDefault();
      const size = this.matches.length;
      this.#activate((this.activeIndex + step + size) % size);
      matchList.children[this.activeIndex].scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      // Search first if Enter was pressed before the matches were displayed.
      if (matchList.hidden) await this.#search();
      const chosen = this.matches[this.activeIndex];
      if (chosen) this.#choose(chosen.index, chosen.word);
    } else if (event.key === "Escape") {
      this.#closeMatches();
    }
  }

  #choose(index, word) {
    searchBox.value = word;
    this.#closeMatches();
    this.handlers.selectWord(index);
  }

  #closeMatches() {
    this.lastSearch++;
    this.matches = [];
    this.#activate(-1);
    matchList.hidden = true;
    searchBox.setAttribute("aria-expanded", "false");
  }

  /** Shows a word, its cell in every round, and the words in its row and column. */
  showWord(result) {
    const frequency = result.count
      ? `${formatCount(result.count, "occurrence")} in the training text (${formatPercent(result.share)})`
      : "Does not occur in the training text";
    const children = [element("h3", {}, result.word), element("p", { class: "note" }, frequency)];
    const hasHistory = result.history.length > 1 || result.history[0].loss !== null;
    if (hasHistory) children.push(historyTable(result.history));
    for (const line of result.lines) children.push(...this.#lineSection(line, result.index));
    this.#show(children);
  }

  /** Shows a row or column and its words. */
  showLine(line) {
    const title = element("h3", {}, lineName(line));
    this.#show([title, element("p", { class: "note" }, lineSummary(line)), this.#wordButtons(line, -1)]);
  }

  #show(children) {
    card.replaceChildren(...children);
    for (const toolbar of card.querySelectorAll("[role=toolbar]")) addArrowKeyNavigation(toolbar);
  }

  #lineSection(line, selectedWord) {
    const onclick = () => this.handlers.selectLine(line.axis, line.code);
    const title = element(
      "h4",
      {},
      element("button", { type: "button", class: "plain", onclick }, lineName(line)),
      " ",
      element("small", {}, lineSummary(line)),
    );
    return [title, this.#wordButtons(line, selectedWord)];
  }

  #wordButtons(line, selectedWord) {
    const label = `Words in ${AXIS_NAMES[line.axis]} ${line.code}, most frequent first`;
    const buttons = line.words.map(({ index, word }) =>
      element(
        "button",
        {
          type: "button",
          "aria-current": index === selectedWord ? "true" : null,
          onclick: () => this.handlers.selectWord(index),
        },
        word,
      ),
    );
    const numHidden = line.size - line.words.length;
    const isSelected = selectedWord < 0; // the line is already displayed on its own
    if (numHidden > 0 && !isSelected) {
      const onclick = () => this.handlers.selectLine(line.axis, line.code);
      buttons.push(element("button", { type: "button", class: "more", onclick }, `${formatInteger(numHidden)} more`));
    }
    return element("div", { class: "words", role: "toolbar", "aria-label": label }, ...buttons);
  }

  /** Shows the rows with the largest share of the text and their most frequent words (LightRNN, Figure 5). */
  showFrequentRows(rows) {
    frequentRows.replaceChildren(
      ...rows.map((row) =>
        element(
          "li",
          {},
          element(
            "button",
            { type: "button", onclick: () => this.handlers.selectLine(row.axis, row.code) },
            element("span", { class: "code" }, `${row.code}`),
            element("span", { class: "share" }, formatPercent(row.share)),
            element("span", { class: "frequent-words" }, row.words.map(({ word }) => word).join("  ")),
          ),
        ),
      ),
    );
  }
}

function historyTable(history) {
  const headers = ["round", "row", "column", "loss (nats)"].map((name) => element("th", { scope: "col" }, name));
  const rows = history.map(({ round, row, column, loss, moved }) =>
    element(
      "tr",
      { class: moved ? "moved" : null },
      ...[round, row, column, loss === null ? "–" : loss.toFixed(1)].map((value) => element("td", {}, `${value}`)),
    ),
  );
  return element(
    "table",
    { class: "history" },
    element("thead", {}, element("tr", {}, ...headers)),
    element("tbody", {}, ...rows),
  );
}

const lineName = ({ axis, code }) => `${axis === 0 ? "Row" : "Column"} ${code}`;
const lineSummary = ({ size, share }) => `${formatCount(size, "word")}, ${formatPercent(share)} of the text`;
