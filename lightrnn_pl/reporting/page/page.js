// The page: tables that can be sorted, and the word table where there is one.

import { setUpMap } from "./map.js";
import { element, find } from "./parts.js";

/** What a cell is sorted by: its number, also where a spread or a unit follows; the last are those without. */
function valueOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replaceAll(",", ""));
  return column && !Number.isNaN(number) ? number : text;
}

function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const name = head.textContent;
    const button = element("button", { type: "button", onclick: () => sort(table, head, column) }, name || "name");
    head.replaceChildren(button);
  });
}

function sort(table, head, column) {
  const isUp = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
  const isMissing = (value) => value === "–" || value === "";
  rows.sort((one, other) => {
    const missing = isMissing(one.value) - isMissing(other.value);
    if (missing) return missing;
    const order =
      typeof one.value === "number" && typeof other.value === "number"
        ? one.value - other.value
        : String(one.value).localeCompare(String(other.value), "en", { numeric: true });
    return isUp ? order : -order;
  });
  body.append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table.sortable")) sortable(table);
const maps = JSON.parse(find("maps").textContent);
if (maps.length) setUpMap(maps);
