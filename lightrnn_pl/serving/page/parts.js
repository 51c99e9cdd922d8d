// Elements, numbers and keys: what all parts of the page share.  Data only ever becomes text, never markup.

export const find = (id) => document.getElementById(id);

/** An element with attributes and children; strings among the children become text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") for (const [key, set] of Object.entries(value)) made.style.setProperty(key, set);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export const whole = new Intl.NumberFormat("en");

/** A number of three digits, and a letter for millions. */
export const short = (value) =>
  value < 1e6 && Number.isInteger(value)
    ? whole.format(value)
    : new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value);

export function percent(probability) {
  if (probability < 0.00001) return "< 0.001\u202f%";
  const value = 100 * probability;
  if (probability > 0.9995) return "100\u202f%";
  return `${value >= 10 ? value.toFixed(1) : value.toPrecision(2)}\u202f%`;
}

/** Rows of a description list; those without a value are left out. */
export function describe(list, facts) {
  const rows = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  list.replaceChildren(
    ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

/** Makes the buttons of a container one stop of the Tab key; arrow keys go from one to the next. */
export function rove(container) {
  const buttons = () => [...container.querySelectorAll("button")];
  const settle = () => {
    const all = buttons();
    const held = all.find((button) => button.tabIndex === 0 && button.dataset.held) ?? all[0];
    for (const button of all) button.tabIndex = button === held ? 0 : -1;
  };
  container.addEventListener("focusin", ({ target }) => {
    for (const button of buttons()) {
      button.tabIndex = button === target ? 0 : -1;
      if (button === target) button.dataset.held = "yes";
      else delete button.dataset.held;
    }
  });
  container.addEventListener("keydown", (event) => {
    const all = buttons();
    const here = all.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: -1 }[
      event.key
    ];
    if (here < 0 || to === undefined) return;
    event.preventDefault();
    all.at(to === all.length ? 0 : to)?.focus();
  });
  new MutationObserver(settle).observe(container, { childList: true, subtree: true });
  settle();
}
