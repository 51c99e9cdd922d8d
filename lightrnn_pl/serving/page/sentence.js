// The score of the text word by word, coloured by surprise.

import { element, find, percent, rove, short } from "./parts.js";

const strip = find("sentence");
const totals = find("totals");
const HOTTEST = 12; // nats: a word as likely as one of 160,000

let choose = () => {};
let shown = null;
rove(strip);

export function onWord(handler) {
  choose = handler;
}

export function showSentence(answer) {
  shown = answer;
  const typed = answer.words.filter(({ end }) => !end);
  find("sentence-empty").hidden = typed.length > 0;
  strip.hidden = totals.hidden = typed.length === 0;
  if (!typed.length) return;
  strip.replaceChildren(...answer.words.map(chip));
  const each = -answer.log_probability / answer.words.length;
  totals.replaceChildren(
    ...[
      [
        "log-probability",
        answer.log_probability === null ? "−∞" : `${answer.log_probability.toFixed(2).replace("-", "−")} nats`,
      ],
      ["per word", answer.log_probability === null ? "" : `${each.toFixed(2)} nats`],
      ["perplexity", answer.perplexity === null ? "∞" : short(answer.perplexity)],
    ].map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

function chip({ word, log_probability, known, end }) {
  const nats = log_probability === null ? Infinity : Math.max(0, -log_probability);
  const inNats = document.querySelector("input[name=unit]:checked").value === "nats";
  const number = inNats ? (nats === Infinity ? "∞" : nats.toFixed(1)) : percent(Math.exp(-nats));
  const said = `${word}, ${inNats ? `${number} nats` : number}${known ? "" : ", not in the vocabulary"}`;
  return element(
    "button",
    {
      type: "button",
      class: ["chip", known ? "" : "unknown", end ? "marker" : ""].filter(Boolean).join(" "),
      style: { "--heat": `${Math.min(100, (100 * nats) / HOTTEST)}%` },
      "aria-label": said,
      title: `${nats === Infinity ? "∞" : nats.toFixed(3)} nats, ${percent(Math.exp(-nats))}`,
      onclick: () => choose(word),
    },
    element("span", { class: "word" }, word),
    element("span", { class: "number" }, number),
  );
}

for (const input of document.querySelectorAll("input[name=unit]")) {
  input.addEventListener("change", () => shown && showSentence(shown));
}
