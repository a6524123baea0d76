"use strict";
// Tables of class "data" get sortable columns; those of class "long" a field to filter rows.
// Everything is built here, so that a page without scripts shows no dead controls.
const NUMBER = /^[+-]?[\d,]*\.?\d+(e[+-]?\d+)?%?$/;
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    return NUMBER.test(text) ? Number(text.replaceAll(",", "").replace("%", "")) : text;
  };
  const isMissing = (value) => value === "" || value === "–" || Number.isNaN(value);
  const compare = (a, b) => {
    if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sort = (column, descending) => {
    const sign = descending ? -1 : 1;
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    // What is missing stays last in either direction.
    rows.sort(([a], [b]) => (isMissing(a) || isMissing(b) ? 1 : sign) * compare(a, b));
    body.append(...rows.map(([, row]) => row));
    heads.forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };
  // On a phone each row stands by itself, its cells named by their columns.
  const names = heads.map((head) => head.textContent);
  const nameCells = () => {
    if (table.classList.contains("labelled")) return;
    for (const row of body.rows)
      [...row.cells].forEach((cell, at) => { cell.dataset.label = names[at]; });
    table.classList.add("labelled");
  };
  const phone = matchMedia("(max-width: 640px)");
  if (phone.matches) nameCells();
  phone.addEventListener("change", (event) => { if (event.matches) nameCells(); });
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () =>
      sort(column, head.getAttribute("aria-sort") === "ascending"));
  });
  if (!table.classList.contains("long")) continue;
  const all = body.rows.length;
  const name = table.closest("[aria-label]").getAttribute("aria-label");
  const field = document.createElement("p");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const output = document.createElement("output");
  field.className = "filter";
  input.type = "search";
  input.setAttribute("aria-label", `Filter rows of ${name}`);
  input.placeholder = "words that a row must hold";
  label.append("Filter ", input);
  const tell = (shown) => { output.textContent = `${shown} of ${all} rows`; };
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    tell(shown);
  });
  tell(all);
  field.append(label, output);
  table.closest(".wide").before(field);
}
