// The "Continue the text" section: generates a continuation with the model.

import { LatestRequest } from "./api_client.js";
import { element, find } from "./dom.js";
import { append, textBox } from "./text_editor.js";

const form = find("continue");
const output = find("continuation");
const generateRequest = new LatestRequest("/api/generate");
const OPTIONS = ["words", "temperature", "top_k", "top_p", "seed"];

export function setUpContinuation(model) {
  form.elements.words.max = model.limits.continuation;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    generate(model);
  });
  find("next-seed").addEventListener("click", () => {
    form.elements.seed.value = Number(form.elements.seed.value || 0) + 1;
    if (form.reportValidity()) generate(model);
  });
}

async function generate(model) {
  const options = { text: textBox.value };
  for (const name of OPTIONS) {
    const { value } = form.elements[name];
    options[name] = value === "" ? null : Number(value);
  }
  output.setAttribute("aria-busy", "true");
  if (!output.childElementCount) output.append(element("p", { class: "note" }, "Generating…"));
  try {
    const result = await generateRequest.send(options);
    if (result) showContinuation(result, options.text.trim(), model);
  } catch (error) {
    output.replaceChildren(element("p", { class: "problem" }, error.message));
  }
  output.removeAttribute("aria-busy");
}

function showContinuation(result, text, model) {
  const words = result.words.join(" ");
  const end = result.ended ? ` ${model.end}` : "";
  const context = text.length > 120 ? `… ${text.slice(-120).replace(/^\S*\s/u, "")}` : text;
  const score = result.log_probability === null ? "−∞" : result.log_probability.toFixed(2).replace("-", "−");
  output.replaceChildren(
    element(
      "blockquote",
      {},
      element("span", { class: "context" }, context ? `${context} ` : ""),
      words,
      element("span", { class: "context" }, end),
    ),
    element(
      "div",
      { class: "heading" },
      element("small", {}, `log-probability ${score} · ${result.milliseconds.toFixed(0)}\u00a0ms`),
      element("button", { type: "button", disabled: !words, onclick: () => append(words) }, "Append to text"),
    ),
  );
}
