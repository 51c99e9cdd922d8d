// Helpers to create DOM elements and to move the keyboard focus.  Data is always inserted as text, never as markup.

export const find = (id) => document.getElementById(id);

/** Creates an element with attributes and children; strings among the children become text nodes. */
export function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") for (const [key, style] of Object.entries(value)) created.style.setProperty(key, style);
    else if (name.startsWith("on")) created.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) created.setAttribute(name, value === true ? "" : value);
  }
  created.append(...children);
  return created;
}

/** Fills a description list with [term, value] pairs; pairs without a value are omitted. */
export function fillDescriptionList(list, pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  list.replaceChildren(
    ...rows.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
  );
}

/** Makes the buttons of a container a single Tab stop; arrow keys move the focus among them (roving tabindex). */
export function addArrowKeyNavigation(container) {
  const buttons = () => [...container.querySelectorAll("button")];
  const updateTabStops = () => {
    const all = buttons();
    const current = all.find((button) => button.tabIndex === 0 && button.dataset.current) ?? all[0];
    for (const button of all) button.tabIndex = button === current ? 0 : -1;
  };
  container.addEventListener("focusin", ({ target }) => {
    for (const button of buttons()) {
      button.tabIndex = button === target ? 0 : -1;
      if (button === target) button.dataset.current = "true";
      else delete button.dataset.current;
    }
  });
  container.addEventListener("keydown", (event) => {
    const all = buttons();
    const index = all.indexOf(document.activeElement);
    const next = {
      ArrowRight: index + 1,
      ArrowDown: index + 1,
      ArrowLeft: index - 1,
      ArrowUp: index - 1,
      Home: 0,
      End: -1,
    }[event.key];
    if (index < 0 || next === undefined) return;
    event.preventDefault();
    all.at(next === all.length ? 0 : next)?.focus();
  });
  new MutationObserver(updateTabStops).observe(container, { childList: true, subtree: true });
  updateTabStops();
}
