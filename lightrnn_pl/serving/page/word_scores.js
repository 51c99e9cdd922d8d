// The surprisal (negative log-probability) of each word of the text.

import { addArrowKeyNavigation, element, fillDescriptionList, find } from "./dom.js";
import { formatCompact, formatPercent } from "./number_format.js";

const strip = find("scores");
const totals = find("totals");
const MAX_NATS = 12; // surprisal at which the color saturates: a probability of 1 in 160,000

let choose = () => {};
let shown = null;
addArrowKeyNavigation(strip);

export function onWordClick(handler) {
  choose = handler;
}

/** Shows a response of /api/score. */
export function showScores(response) {
  shown = response;
  const { words, log_probability, perplexity } = response;
  const isEmpty = words.every(({ end }) => end);
  find("scores-empty").hidden = !isEmpty;
  strip.hidden = totals.hidden = isEmpty;
  if (isEmpty) return;
  strip.replaceChildren(...words.map(wordButton));
  fillDescriptionList(totals, [
    ["log-probability", log_probability === null ? "−∞" : `${log_probability.toFixed(2).replace("-", "−")} nats`],
    ["mean surprisal", log_probability === null ? "" : `${(-log_probability / words.length).toFixed(2)} nats`],
    ["perplexity", perplexity === null ? "∞" : formatCompact(perplexity)],
  ]);
}

function wordButton({ word, log_probability, known, end }) {
  const nats = log_probability === null ? Infinity : Math.max(0, -log_probability);
  const inNats = document.querySelector("input[name=unit]:checked").value === "nats";
  const number = inNats ? (nats === Infinity ? "∞" : nats.toFixed(1)) : formatPercent(Math.exp(-nats));
  const label = `${word}, ${inNats ? `${number} nats` : number}${known ? "" : ", not in the vocabulary"}`;
  return element(
    "button",
    {
      type: "button",
      class: ["chip", known ? "" : "unknown", end ? "marker" : ""].filter(Boolean).join(" "),
      style: { "--heat": `${Math.min(100, (100 * nats) / MAX_NATS)}%` },
      "aria-label": label,
      title: `${nats === Infinity ? "∞" : nats.toFixed(3)} nats, probability ${formatPercent(Math.exp(-nats))}`,
      onclick: () => choose(word),
    },
    element("span", { class: "word" }, word),
    element("span", { class: "number" }, number),
  );
}

for (const input of document.querySelectorAll("input[name=unit]")) {
  input.addEventListener("change", () => shown && showScores(shown));
}
