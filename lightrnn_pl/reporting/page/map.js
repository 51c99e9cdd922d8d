// The word table of a run: what is shown of it, and what is lit up.

import { Client } from "./client.js";
import { color, colorsOf } from "./colors.js";
import { Panel } from "./panel.js";
import { element, find, percent, whole } from "./parts.js";
import { View } from "./view.js";

const slider = find("round");
const tip = find("tip");
const HEAVIEST = 40;

let about = null; // what the page knows of the run's tables
let client = null;
let shape = null;
let lit = null; // {word} or {axis, code}
let painting = 0;

const modeOf = () => document.querySelector("[name=mode]:checked").value;
const now = () => ({ place: Number(slider.value), ordered: find("ordered").checked });
const ask = (question, content) => client.ask(question, content);

const panel = new Panel(ask, {
  word: (number) => light({ word: number }),
  line: (axis, code) => light({ axis, code }),
});

const view = new View({
  hover,
  leave: () => (tip.hidden = true),
  words: (stretch) => ask("window", { ...stretch, ...now() }),
  async pick(cell) {
    const found = await ask("cell", { ...cell, ...now() });
    if (found) light({ word: found.number });
    else unlight();
  },
});

export function setUpMap(maps) {
  const choice = find("run");
  choice.replaceChildren(...maps.map(({ name }, place) => element("option", { value: place }, name)));
  choice.closest("label").hidden = maps.length < 2;
  choice.addEventListener("change", () => open(maps, Number(choice.value)));
  slider.addEventListener("input", refresh);
  for (const control of document.querySelectorAll("[name=mode], #ordered")) control.addEventListener("change", refresh);
  find("closer").addEventListener("click", () => view.zoomBy(1.6));
  find("farther").addEventListener("click", () => view.zoomBy(1 / 1.6));
  find("all").addEventListener("click", () => {
    unlight();
    view.whole();
  });
  find("table").addEventListener("keydown", keys);
  find("table").addEventListener("pointerdown", () => find("table").focus({ preventScroll: true }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  open(maps, 0);
}

async function open(maps, place) {
  client?.close();
  client = new Client(place);
  about = maps[place];
  [shape, lit] = [null, null];
  slider.max = about.rounds.length - 1;
  slider.value = slider.max;
  find("rounds").hidden = about.rounds.length < 2;
  const moved = document.querySelector("[name=mode][value=moved]");
  moved.disabled = about.rounds.length < 2;
  if (moved.disabled && moved.checked) document.querySelector("[name=mode]").checked = true;
  panel.clear();
  find("map").setAttribute("aria-busy", "true");
  const opening = client;
  try {
    const found = await ask("open", { about });
    if (opening !== client) return;
    shape = found;
    view.reset(shape.rows, shape.columns);
    await refresh();
  } catch (error) {
    problem(error);
  }
  if (opening === client) find("map").removeAttribute("aria-busy");
}

function problem(error) {
  find("map-problem").textContent = `The word table cannot be shown here: ${error.message}`;
  find("map-problem").hidden = false;
}

/** Everything anew, as the controls say. */
async function refresh() {
  const { number, text } = about.rounds[slider.value];
  find("round-name").textContent = `${number} of ${about.rounds.at(-1).number}`;
  slider.setAttribute("aria-valuetext", `round ${number}`);
  if (!shape) return;
  const [turn, asked, mode] = [++painting, client, modeOf()];
  try {
    const [picture, lines] = await Promise.all([
      ask("picture", { mode, ...now(), colors: colorsOf(mode) }),
      ask("heaviest", { axis: 0, place: now().place, limit: HEAVIEST, words: 12 }),
    ]);
    if (turn !== painting || asked !== client) return;
    view.show(picture.bitmap);
    legend(mode, picture, text);
    panel.showHeaviest(lines);
    if (lit) await light(lit, false);
  } catch (error) {
    problem(error);
  }
}

async function light(what, isNew = true) {
  lit = what;
  if (what.word !== undefined) {
    const told = await ask("word", { number: what.word, ...now() });
    if (lit !== what) return;
    view.light(...told.shown);
    if (isNew) view.reveal(...told.shown);
    panel.showWord(told);
    find("table").setAttribute("aria-label", `Word table; ${told.word} in row ${told.lines[0].code}, column ${told.lines[1].code}`);
  } else {
    const line = await ask("line", { ...what, ...now() });
    if (lit !== what) return;
    view.light(what.axis === 0 ? line.shown : null, what.axis === 1 ? line.shown : null);
    panel.showLine(line);
  }
}

function unlight() {
  lit = null;
  view.light(null, null);
  panel.clear();
}

let hovered = 0;

async function hover(cell, event) {
  const turn = ++hovered;
  if (!cell) {
    tip.hidden = true;
    return;
  }
  const found = await ask("cell", { ...cell, ...now() });
  if (turn !== hovered || !found) {
    if (turn === hovered) tip.hidden = true;
    return;
  }
  const [row, column] = found.codes;
  const loss = found.loss === null ? "" : ` · ${found.loss.toFixed(1)} nats`;
  tip.replaceChildren(
    element("strong", {}, found.word),
    element("small", {}, `row ${row} · column ${column} · ${whole.format(found.count)} times${loss}`),
  );
  tip.hidden = false;
  const frame = find("frame").getBoundingClientRect();
  const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
  tip.style.left = `${Math.max(0, Math.min(x + 14, frame.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > frame.height ? y - tip.offsetHeight - 10 : y + 18}px`;
}

function keys(event) {
  const zoom = { "+": 1.6, "=": 1.6, "-": 1 / 1.6 }[event.key];
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (zoom) view.zoomBy(zoom);
  else if (event.key === "0") view.whole();
  else if (event.key === "Escape") unlight();
  else if (step && shape) walk(...step);
  else return;
  event.preventDefault();
}

/** To the next cell that holds a word. */
async function walk(down, right) {
  let [row, column] = [view.mark?.row ?? 0, view.mark?.column ?? 0];
  for (let tries = 0; tries < shape.rows + shape.columns; tries++) {
    row = (row + down + shape.rows) % shape.rows;
    column = (column + right + shape.columns) % shape.columns;
    const found = await ask("cell", { row, column, ...now() });
    if (found) {
      await light({ word: found.number });
      return;
    }
  }
}

function legend(mode, { range, kinds, measured }, text) {
  const parts = [];
  if (mode === "moved") {
    const names = ["in the same cell as before", "another column of its row", "another row"];
    const share = (count) => (count ? percent(count / about.words) : "none");
    parts.push(
      ...["stayed", "within", "moved"].map((kind, place) =>
        element("span", { class: "key" }, swatch(kind), `${names[place]} (${share(kinds[place])})`),
      ),
    );
    if (now().place === 0) parts.splice(0, 3, "The first table: no word has moved yet.");
  } else if (mode === "loss" && !measured) {
    parts.push("What words cost was not measured in this round.");
  } else {
    const bar = element("span", { class: "scale", style: { background: `linear-gradient(to right, ${color(`scale-${mode}`)})` } });
    const [low, high] =
      mode === "loss"
        ? ["0", `${range.high} nats`]
        : [range.low > 1 ? whole.format(range.low) : "once", `${whole.format(range.high)} times`];
    parts.push(element("span", { class: "key" }, low, bar, high));
    if (mode === "loss") {
      parts.push(element("span", { class: "key" }, swatch("unknown"), "not known"));
      parts.push(`mean over the ${text} text`);
    } else parts.push("in the training text, on a logarithmic scale");
  }
  find("legend").replaceChildren(...parts);
}

const swatch = (name) => element("span", { class: "swatch", style: { background: `var(--cell-${name})` } });
