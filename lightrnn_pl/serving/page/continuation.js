// Continuing the text: words drawn by the model.

import { append, box } from "./editor.js";
import { element, find } from "./parts.js";
import { Latest } from "./server.js";

const form = find("continue");
const made = find("continuation");
const questions = new Latest("/api/generate");
const NUMBERS = ["words", "temperature", "top_k", "top_p", "seed"];

export function setUpContinuation(model) {
  form.elements.words.max = model.limits.continuation;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(model);
  });
  find("another").addEventListener("click", () => {
    form.elements.seed.value = Number(form.elements.seed.value || 0) + 1;
    if (form.reportValidity()) go(model);
  });
}

async function go(model) {
  const asked = { text: box.value };
  for (const name of NUMBERS) {
    const { value } = form.elements[name];
    asked[name] = value === "" ? null : Number(value);
  }
  made.setAttribute("aria-busy", "true");
  if (!made.childElementCount) made.append(element("p", { class: "note" }, "Drawing words…"));
  try {
    const answer = await questions.ask(asked);
    if (answer) show(answer, asked.text.trim(), model);
  } catch (error) {
    made.replaceChildren(element("p", { class: "problem" }, error.message));
  }
  made.removeAttribute("aria-busy");
}

function show(answer, text, model) {
  const words = answer.words.join(" ");
  const end = answer.ended ? ` ${model.end}` : "";
  const start = text.length > 120 ? `… ${text.slice(-120).replace(/^\S*\s/u, "")}` : text;
  const score = answer.log_probability === null ? "−∞" : answer.log_probability.toFixed(2).replace("-", "−");
  made.replaceChildren(
    element(
      "blockquote",
      {},
      element("span", { class: "given" }, start ? `${start} ` : ""),
      words,
      element("span", { class: "given" }, end),
    ),
    element(
      "div",
      { class: "heading" },
      element("small", {}, `log-probability ${score} · ${answer.milliseconds.toFixed(0)} ms`),
      element("button", { type: "button", disabled: !words, onclick: () => append(words) }, "Append to text"),
    ),
  );
}
