// What stands beside the table: the search, the word that was found, and the rows that are most of the text.

import { element, find, percent, rove, whole } from "./parts.js";

const box = find("search");
const list = find("found");
const card = find("word");
const heaviest = find("heaviest");
const FOUND = 12;
const AXES = ["row", "column"];

export class Panel {
  /** `on` has `word(number)` and `line(axis, code)`, for what was chosen; `ask` asks the worker. */
  constructor(ask, on) {
    this.ask = ask;
    this.on = on;
    this.marked = -1;
    this.results = [];
    this.typed = 0;
    box.addEventListener("input", () => this.#search());
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("blur", () => this.#close());
    find("search-form").addEventListener("submit", (event) => event.preventDefault());
  }

  clear() {
    box.value = "";
    this.#close();
    card.replaceChildren(element("p", { class: "note" }, "Search a word, or choose a cell of the table."));
  }

  async #search() {
    const typed = ++this.typed;
    const text = box.value.trim();
    const results = text ? await this.ask("search", { text, limit: FOUND }) : [];
    if (typed !== this.typed) return;
    this.results = results;
    this.#mark(results.length ? 0 : -1);
    list.replaceChildren(
      ...results.map(({ number, word, count }, place) =>
        element(
          "li",
          {
            id: `found-${place}`,
            role: "option",
            "aria-selected": String(place === this.marked),
            onpointerdown: (event) => {
              event.preventDefault();
              this.#choose(number, word);
            },
          },
          element("span", { class: "text" }, word),
          element("small", {}, whole.format(count)),
        ),
      ),
    );
    if (text && !results.length) list.append(element("li", { class: "note" }, "No matching words."));
    list.hidden = !text;
    box.setAttribute("aria-expanded", String(!list.hidden));
  }

  #mark(place) {
    this.marked = place;
    [...list.children].forEach((item, index) => item.setAttribute("aria-selected", String(index === place)));
    if (place < 0) box.removeAttribute("aria-activedescendant");
    else box.setAttribute("aria-activedescendant", `found-${place}`);
  }

  async #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.results.length) {
      event.preventDefault();
      const size = this.results.length;
      this.#mark((this.marked + step + size) % size);
      list.children[this.marked].scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      // What was typed faster than it was answered is searched first.
      if (list.hidden) await this.#search();
      const chosen = this.results[this.marked];
      if (chosen) this.#choose(chosen.number, chosen.word);
    } else if (event.key === "Escape") {
      this.#close();
    }
  }

  #choose(number, word) {
    box.value = word;
    this.#close();
    this.on.word(number);
  }

  #close() {
    this.typed++;
    this.results = [];
    this.#mark(-1);
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
  }

  /** A word, its cell, who shares it, and its way through the rounds. */
  showWord(told) {
    const often = told.count
      ? `${whole.format(told.count)} times in the training text (${percent(told.share)})`
      : "not once in the training text";
    const parts = [element("h3", {}, told.word), element("p", { class: "note" }, often)];
    if (told.path.length > 1 || told.path[0].loss !== null) parts.push(this.#path(told.path));
    for (const line of told.lines) parts.push(...this.#line(line, told.number));
    this.#show(parts);
  }

  /** A row or a column and its words. */
  showLine(line) {
    const title = element("h3", {}, `${capital(AXES[line.axis])} ${line.code}`);
    const note = element("p", { class: "note" }, `${plural(line.size, "word")}, ${percent(line.share)} of the text`);
    this.#show([title, note, this.#words(line, -1)]);
  }

  #show(parts) {
    card.replaceChildren(...parts);
    for (const group of card.querySelectorAll("[role=toolbar]")) rove(group);
  }

  #path(path) {
    const head = ["round", "row", "column", "loss"].map((name) => element("th", { scope: "col" }, name));
    const rows = path.map(({ number, row, column, loss, moved }) =>
      element(
        "tr",
        { class: moved ? "moved" : null },
        ...[number, row, column, loss === null ? "–" : loss.toFixed(1)].map((value) => element("td", {}, `${value}`)),
      ),
    );
    const table = element("table", { class: "path" }, element("thead", {}, element("tr", {}, ...head)));
    table.append(element("tbody", {}, ...rows));
    return table;
  }

  #line(line, own) {
    const name = `${capital(AXES[line.axis])} ${line.code}`;
    const title = element(
      "h4",
      {},
      element("button", { type: "button", class: "plain", onclick: () => this.on.line(line.axis, line.code) }, name),
      " ",
      element("small", {}, `${plural(line.size, "word")}, ${percent(line.share)} of the text`),
    );
    return [title, this.#words(line, own)];
  }

  #words(line, own) {
    const label = `Words of ${AXES[line.axis]} ${line.code}, the most frequent first`;
    const buttons = line.words.map(({ number, word }) =>
      element(
        "button",
        { type: "button", "aria-current": number === own ? "true" : null, onclick: () => this.on.word(number) },
        word,
      ),
    );
    const rest = line.size - line.words.length;
    const more = element(
      "button",
      { type: "button", class: "more", onclick: () => this.on.line(line.axis, line.code) },
      `${whole.format(rest)} more`,
    );
    const isAll = rest === 0 || line.words.length >= 200;
    return element("div", { class: "words", role: "toolbar", "aria-label": label }, ...buttons, ...(isAll ? [] : [more]));
  }

  /** The rows whose words are most of the text (LightRNN, Figure 5). */
  showHeaviest(lines) {
    heaviest.replaceChildren(
      ...lines.map((line) =>
        element(
          "li",
          {},
          element(
            "button",
            { type: "button", onclick: () => this.on.line(line.axis, line.code) },
            element("span", { class: "code" }, `${line.code}`),
            element("span", { class: "share" }, percent(line.share)),
            element("span", { class: "typical" }, line.words.map(({ word }) => word).join("  ")),
          ),
        ),
      ),
    );
  }
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
const plural = (count, name) => `${whole.format(count)} ${name}${count === 1 ? "" : "s"}`;
