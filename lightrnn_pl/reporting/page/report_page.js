// Entry point: makes the result tables sortable and sets up the word map if the report has one.

import { element, find } from "./dom.js";
import { setUpWordMap } from "./word_map.js";

/** The sort key of a cell: its leading number if it has one (ignoring a spread or unit), otherwise its text. */
function sortKey(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replaceAll(",", ""));
  return column && !Number.isNaN(number) ? number : text;
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const name = header.textContent;
    const onclick = () => sortTable(table, header, column);
    header.replaceChildren(element("button", { type: "button", onclick }, name || "name"));
  });
}

/** Sorts the rows by a column, or reverses their order.  Missing values always come last. */
function sortTable(table, header, column) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: sortKey(row, column) }));
  const isMissing = (key) => key === "–" || key === "";
  rows.sort((a, b) => {
    const missing = isMissing(a.key) - isMissing(b.key);
    if (missing) return missing;
    const order =
      typeof a.key === "number" && typeof b.key === "number"
        ? a.key - b.key
        : String(a.key).localeCompare(String(b.key), "en", { numeric: true });
    return ascending ? order : -order;
  });
  body.append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
const maps = JSON.parse(find("maps").textContent);
if (maps.length) setUpWordMap(maps);
