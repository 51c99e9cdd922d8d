// The word map: displays the word table of a run and handles the selection of words, rows and columns.

import { color, tableColors } from "./colors.js";
import { element, find } from "./dom.js";
import { formatCount, formatInteger, formatPercent } from "./number_format.js";
import { SidePanel } from "./side_panel.js";
import { TableCanvas } from "./table_canvas.js";
import { WorkerClient } from "./worker_client.js";

const NUM_FREQUENT_ROWS = 40;
const NUM_ROW_WORDS = 12;
const ZOOM_STEP = 1.6;

const table = find("table");
const tooltip = find("tooltip");
const roundSlider = find("round");

let info = null; // description of the run: its rounds and the size of its tables
let client = null;
let shape = null; // number of rows and columns; null until the tables are unpacked
let selection = null; // {word}, or {axis, code} for a row or column
let lastRefresh = 0;
let lastHover = 0;

const selectedMode = () => document.querySelector("[name=mode]:checked").value;
const viewOptions = () => ({ roundIndex: Number(roundSlider.value), sorted: find("ordered").checked });
const query = (name, parameters) => client.query(name, parameters);

const panel = new SidePanel(query, {
  selectWord: (index) => select({ word: index }),
  selectLine: (axis, code) => select({ axis, code }),
});

const canvas = new TableCanvas({
  onHover: showTooltip,
  onLeave: () => (tooltip.hidden = true),
  loadWords: (region) => query("regionWords", { ...region, ...viewOptions() }),
  async onClick(cell) {
    const found = await query("cell", { ...cell, ...viewOptions() });
    if (found) select({ word: found.index });
    else clearSelection();
  },
});

export function setUpWordMap(maps) {
  const runSelect = find("run");
  runSelect.replaceChildren(...maps.map(({ name }, index) => element("option", { value: index }, name)));
  runSelect.closest("label").hidden = maps.length < 2;
  runSelect.addEventListener("change", () => openRun(maps, Number(runSelect.value)));
  roundSlider.addEventListener("input", refresh);
  for (const control of document.querySelectorAll("[name=mode], #ordered")) control.addEventListener("change", refresh);
  find("zoom-in").addEventListener("click", () => canvas.zoomBy(ZOOM_STEP));
  find("zoom-out").addEventListener("click", () => canvas.zoomBy(1 / ZOOM_STEP));
  find("reset-view").addEventListener("click", () => {
    clearSelection();
    canvas.showAll();
  });
  table.addEventListener("keydown", onKeyDown);
  table.addEventListener("pointerdown", () => table.focus({ preventScroll: true }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  openRun(maps, 0);
}

async function openRun(maps, index) {
  client?.close();
  client = new WorkerClient(index);
  info = maps[index];
  shape = null;
  clearSelection();
  roundSlider.max = info.rounds.length - 1;
  roundSlider.value = roundSlider.max;
  find("rounds").hidden = info.rounds.length < 2;
  const movedMode = document.querySelector("[name=mode][value=moved]");
  movedMode.disabled = info.rounds.length < 2;
  if (movedMode.disabled && movedMode.checked) document.querySelector("[name=mode]").checked = true;
  find("map").setAttribute("aria-busy", "true");
  const openingClient = client;
  try {
    const result = await query("open", { info });
    if (openingClient !== client) return;
    shape = result;
    canvas.reset(shape.rows, shape.columns);
    await refresh();
  } catch (error) {
    showError(error);
  }
  if (openingClient === client) find("map").removeAttribute("aria-busy");
}

function showError(error) {
  find("map-error").textContent = `Could not display the word table: ${error.message}`;
  find("map-error").hidden = false;
}

/** Updates everything to match the controls. */
async function refresh() {
  const { number, text } = info.rounds[roundSlider.value];
  find("round-name").textContent = `${number} of ${info.rounds.at(-1).number}`;
  roundSlider.setAttribute("aria-valuetext", `round ${number}`);
  if (!shape) return;
  const [refreshId, queriedClient, mode] = [++lastRefresh, client, selectedMode()];
  try {
    const [result, rows] = await Promise.all([
      query("bitmap", { mode, ...viewOptions(), colors: tableColors(mode) }),
      query("frequentLines", { axis: 0, ...viewOptions(), limit: NUM_FREQUENT_ROWS, numWords: NUM_ROW_WORDS }),
    ]);
    if (refreshId !== lastRefresh || queriedClient !== client) return;
    canvas.show(result.bitmap);
    showLegend(mode, result, text);
    panel.showFrequentRows(rows);
    if (selection) await select(selection, false);
  } catch (error) {
    showError(error);
  }
}

/** Selects a word, or a row or column; `scrolls` brings a new selection into view. */
async function select(newSelection, scrolls = true) {
  selection = newSelection;
  if (newSelection.word !== undefined) {
    const result = await query("word", { index: newSelection.word, ...viewOptions() });
    if (selection !== newSelection) return;
    canvas.highlight(...result.position);
    if (scrolls) canvas.scrollIntoView(...result.position);
    panel.showWord(result);
    const [row, column] = result.lines;
    table.setAttribute("aria-label", `Word table; ${result.word} in row ${row.code}, column ${column.code}`);
  } else {
    const line = await query("line", { ...newSelection, ...viewOptions() });
    if (selection !== newSelection) return;
    canvas.highlight(line.axis === 0 ? line.position : null, line.axis === 1 ? line.position : null);
    panel.showLine(line);
  }
}

function clearSelection() {
  selection = null;
  canvas.highlight(null, null);
  panel.clear();
  table.setAttribute("aria-label", "Word table");
}

async function showTooltip(cell, event) {
  const hoverId = ++lastHover;
  if (!cell) {
    tooltip.hidden = true;
    return;
  }
  const found = await query("cell", { ...cell, ...viewOptions() });
  if (hoverId !== lastHover) return;
  tooltip.hidden = !found;
  if (!found) return;
  const [row, column] = found.codes;
  const loss = found.loss === null ? "" : ` · loss\u00a0${found.loss.toFixed(1)}\u00a0nats`;
  tooltip.replaceChildren(
    element("strong", {}, found.word),
    element("small", {}, `row ${row} · column ${column} · ${formatCount(found.count, "occurrence")}${loss}`),
  );
  const frame = find("frame").getBoundingClientRect();
  const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
  const fitsBelow = y + 18 + tooltip.offsetHeight <= frame.height;
  tooltip.style.left = `${Math.max(0, Math.min(x + 14, frame.width - tooltip.offsetWidth - 4))}px`;
  tooltip.style.top = `${fitsBelow ? y + 18 : y - tooltip.offsetHeight - 10}px`;
}

function onKeyDown(event) {
  const zoom = { "+": ZOOM_STEP, "=": ZOOM_STEP, "-": 1 / ZOOM_STEP }[event.key];
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (zoom) canvas.zoomBy(zoom);
  else if (event.key === "0") canvas.showAll();
  else if (event.key === "Escape") clearSelection();
  else if (step && shape) selectNext(...step);
  else return;
  event.preventDefault();
}

/** Selects the next word in a direction and skips empty cells. */
async function selectNext(down, right) {
  let [row, column] = [canvas.highlighted?.row ?? 0, canvas.highlighted?.column ?? 0];
  for (let step = 0; step < shape.rows + shape.columns; step++) {
    row = (row + down + shape.rows) % shape.rows;
    column = (column + right + shape.columns) % shape.columns;
    const found = await query("cell", { row, column, ...viewOptions() });
    if (found) {
      await select({ word: found.index });
      return;
    }
  }
}

/** Shows the legend of a mode; `text` is the name of the split on which losses were measured. */
function showLegend(mode, { range, moveCounts, hasLosses }, text) {
  find("legend").replaceChildren(...legendItems(mode, range, moveCounts, hasLosses, text));
}

function legendItems(mode, range, moveCounts, hasLosses, text) {
  if (mode === "moved") {
    if (viewOptions().roundIndex === 0) return ["Initial allocation: no words have been reallocated yet."];
    const names = ["same cell as in the previous round", "new column in the same row", "new row"];
    return ["stayed", "within", "moved"].map((kind, index) =>
      legendItem(swatch(kind), `${names[index]} (${formatPercent(moveCounts[index] / info.words)})`),
    );
  }
  if (mode === "loss" && !hasLosses) return ["Word losses were not measured in this round."];
  const gradient = `linear-gradient(to right, ${color(`scale-${mode}`)})`;
  const scale = element("span", { class: "scale", style: { background: gradient } });
  if (mode === "loss") {
    return [
      legendItem("0", scale, `${range.high} nats`),
      legendItem(swatch("unknown"), "no data"),
      `mean loss on the ${text} text`,
    ];
  }
  return [
    legendItem(formatInteger(range.low), scale, formatCount(range.high, "occurrence")),
    "in the training text (log scale)",
  ];
}

const legendItem = (...children) => element("span", { class: "key" }, ...children);
const swatch = (name) => element("span", { class: "swatch", style: { background: `var(--cell-${name})` } });
