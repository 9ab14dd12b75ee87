"use strict";

// Light or dark: the reader's choice if there is one, else the system's.  file:// may refuse to remember it.
const root = document.documentElement;
const toggle = document.getElementById("theme");

function remembered() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function show(theme) {
  root.dataset.theme = theme;
  document.body.toggleAttribute("data-dark", theme === "dark");
  toggle.textContent = theme === "dark" ? "Light" : "Dark";
}

show(remembered() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
toggle.hidden = false;
toggle.addEventListener("click", () => {
  show(root.dataset.theme === "dark" ? "light" : "dark");
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // This page only.
  }
});

// Tables: a click or Enter on a head sorts by its column, again turns it round; empty cells stay last.
function key(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.sort !== undefined) {
    return Number(cell.dataset.sort.replace("inf", "Infinity"));
  }
  return cell.textContent.trim();
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    return a - b;
  }
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const up = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head) => head.setAttribute("aria-sort", "none"));
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
  const empty = rows.filter(([value]) => value === "");
  const filled = rows.filter(([value]) => value !== "");
  filled.sort(([a], [b]) => (up ? 1 : -1) * compare(a, b));
  table.tBodies[0].append(...[...filled, ...empty].map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.dataset.head = head.textContent; // what paper shows, since buttons are not printed again on each page
    button.addEventListener("click", () => sort(table, column));
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
  });
}

// A long table shows its first rows, and all of them when asked; without this script, and on paper, it is whole.
const LONG = 30, FIRST = 12;
for (const table of document.querySelectorAll(".box > table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= LONG) {
    continue;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "all";
  button.textContent = `Show all ${rows.length}`;
  const all = () => {
    rows.forEach((row) => row.classList.remove("more"));
    button.remove();
  };
  rows.slice(FIRST).forEach((row) => row.classList.add("more"));
  button.addEventListener("click", all);
  table.tHead.addEventListener("click", all);
  table.parentElement.after(button);
  document.addEventListener("click", (event) => {
    const to = event.target.closest?.("a[href^='#']")?.getAttribute("href");
    if (to && rows.some((row) => `#${row.id}` === to)) {
      all();
    }
  });
}
