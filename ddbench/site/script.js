"use strict";
// Sorting, filtering, highlighting and the choice of light or dark. Without this file everything can still be read.

const root = document.documentElement;
const remembered = { get: () => null, set: () => {} };
try {
  const store = window.localStorage; // refused for files by some browsers
  remembered.get = () => store.getItem("theme");
  remembered.set = (theme) => store.setItem("theme", theme);
} catch {}
if (remembered.get()) root.style.colorScheme = remembered.get();

document.addEventListener("DOMContentLoaded", () => {
  addThemeButton();
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("form.filters").forEach(makeFilter);
  document.querySelectorAll(".group:has(.chart)").forEach(linkRowsToCurves);
  if (navigator.clipboard) document.querySelectorAll("pre").forEach(addCopyButton);
});

function make(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

function addThemeButton() {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.style.colorScheme || (system.matches ? "dark" : "light")) === "dark";
  const button = make("button", { type: "button" });
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.style.colorScheme = isDark() ? "light" : "dark";
    remembered.set(root.style.colorScheme);
    label();
  });
  system.addEventListener("change", label);
  label();
  document.querySelector("nav").append(button);
}

// -- sorting

function makeSortable(table) {
  const status = make("p", { className: "hidden" });
  status.setAttribute("aria-live", "polite");
  table.after(status);
  for (const header of table.tHead.rows[0].cells) {
    if (header.matches(".axis")) continue;
    const name = header.textContent.trim();
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => {
      const order = nextOrder(header);
      sortRows(table, header, order);
      status.textContent = `Sorted by ${name}, ${order}`;
    });
    header.replaceChildren(button);
  }
}

function nextOrder(header) {
  const first = header.classList.contains("num") ? "descending" : "ascending";
  const second = first === "descending" ? "ascending" : "descending";
  return header.getAttribute("aria-sort") === first ? second : first;
}

function sortRows(table, header, order) {
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const numeric = header.classList.contains("num");
  for (const body of table.tBodies) {
    const keyed = [...body.rows].filter((row) => !row.matches(".heading")).map((row) => [key(row.cells[header.cellIndex], numeric), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what says nothing comes last either way
      return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    body.append(...keyed.map(([, row]) => row));
  }
}

function key(cell, numeric) {
  const text = cell?.textContent.trim() ?? "";
  if (text === "–" || text === "") return null;
  if (!numeric) return text;
  const number = parseFloat(text.replace(/\u2212/g, "-").replace(/\u202f/g, ""));
  return Number.isNaN(number) ? null : number;
}

// -- filtering: what a form asks for stands in the address, so that a reload or a link shows the same

const WORDS = ["text", "state", "first", "second"]; // fields that are compared otherwise than with a row's own value

function makeFilter(form) {
  const groups = [...document.querySelectorAll(".group")];
  const rows = groups.flatMap((group) => [...group.querySelectorAll("tbody tr:not(.heading)")]);
  const counted = rows.filter((row) => row.closest(".main"));
  const output = form.querySelector("output");
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    for (const row of rows) row.hidden = !matches(row, wanted);
    for (const group of groups) hideBeside(group);
    document.querySelectorAll(".answer").forEach((answer) => hideOthers(answer, wanted));
    const chosen = counted.filter((row) => !row.hidden);
    output.textContent = difference(form, wanted) || `${chosen.length} of ${counted.length} rows`;
    remember(wanted);
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const [name, value] of new URLSearchParams(location.search)) if (form.elements[name]) form.elements[name].value = value;
  form.hidden = false;
  addColumnChoice(form, () => remember(Object.fromEntries(new FormData(form))));
  apply();
}

function matches(row, wanted) {
  const group = row.closest(".group");
  const own = group.querySelector(`.main [data-row="${row.dataset.row}"]`) ?? row; // parts name no families
  const data = { ...group.dataset, ...row.parentNode.dataset, ...row.dataset };
  const text = `${row.querySelector("th").textContent} ${own.querySelector(".family")?.textContent ?? ""}`.toLowerCase();
  const chosen = [wanted.first, wanted.second].filter(Boolean);
  return (
    fits(data, wanted) &&
    (!wanted.state || wanted.state.split(" ").includes(own.dataset.state)) &&
    (!chosen.length || chosen.includes(data.row)) &&
    wanted.text.toLowerCase().split(/\s+/).every((word) => text.includes(word))
  );
}

function fits(data, wanted) {
  return Object.keys(wanted).every((name) => WORDS.includes(name) || ["", data[name]].includes(wanted[name]));
}

function hideOthers(answer, wanted) {
  for (const line of answer.querySelectorAll("p")) line.hidden = !fits({ ...answer.dataset, ...line.dataset }, wanted);
  answer.hidden = !answer.querySelector("p:not([hidden])");
}

// Hides what belongs to hidden rows: curves and pictures, and what is left without any.
function hideBeside(group) {
  const shows = (part) => part.querySelector("tr:not([hidden]):not(.heading)");
  for (const body of group.querySelectorAll(".main tbody")) body.hidden = !shows(body);
  group.hidden = !group.querySelector(".main tbody:not([hidden])");
  for (const beside of group.querySelectorAll(".line[data-row], figure[data-row]")) {
    const row = group.querySelector(`.main [data-row="${beside.dataset.row}"]`);
    beside.toggleAttribute("hidden", Boolean(row?.hidden));
  }
  for (const curves of group.querySelectorAll(".curves")) curves.hidden = !curves.querySelector(".line[data-row]:not([hidden])");
}

function remember(wanted) {
  const kept = new URLSearchParams(Object.entries({ ...wanted, hide: [...hiddenColumns].join(",") }).filter(([, value]) => value));
  try {
    history.replaceState(null, "", `${location.pathname}${kept.size ? `?${kept}` : ""}${location.hash}`);
  } catch {} // refused for files by some browsers
}

// -- the choice of columns

const hiddenColumns = new Set((new URLSearchParams(location.search).get("hide") ?? "").split(",").filter(Boolean));

function addColumnChoice(form, changed) {
  const tables = [...document.querySelectorAll(".main")];
  const names = new Set(tables.flatMap((table) => columnNames(table).slice(1)).filter(Boolean));
  if (!names.size) return;
  const choice = make("details", { className: "choice" });
  choice.append(make("summary", { textContent: "Columns" }));
  for (const name of names) {
    const box = make("input", { type: "checkbox", checked: !hiddenColumns.has(name) });
    box.addEventListener("input", (event) => {
      event.stopPropagation(); // hides no row
      if (box.checked) hiddenColumns.delete(name);
      else hiddenColumns.add(name);
      tables.forEach(hideColumns);
      changed();
    });
    const label = make("label", {});
    label.append(box, ` ${name}`);
    choice.append(label);
  }
  form.append(choice);
  tables.forEach(hideColumns);
}

function columnNames(table) {
  return [...table.tHead.rows[0].cells].map((cell) => (cell.matches(".axis") ? "" : cell.textContent.trim()));
}

function hideColumns(table) {
  const hidden = columnNames(table).map((name) => hiddenColumns.has(name));
  for (const row of table.rows) {
    if (row.matches(".heading")) continue;
    let column = 0;
    for (const cell of row.cells) {
      cell.hidden = hidden.slice(column, column + cell.colSpan).every(Boolean);
      column += cell.colSpan;
    }
  }
}

// -- comparing two rows, paired by seed

function difference(form, wanted) {
  if (!wanted.first || !wanted.second) return "";
  const [first, second] = [wanted.first, wanted.second].map(accuracies);
  const seeds = [...first.keys()].filter((seed) => second.has(seed));
  if (!seeds.length) return "They share no seed";
  const found = seeds.map((seed) => first.get(seed) - second.get(seed));
  const mean = found.reduce((sum, value) => sum + value, 0) / found.length;
  const told = `First minus second: ${signed(mean)}`;
  if (found.length < 2) return `${told} points, one seed`;
  const deviation = Math.sqrt(found.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (found.length - 1));
  const quantile = Number(form.dataset.quantiles.split(" ")[found.length - 2]);
  return `${told} ± ${((quantile * deviation) / Math.sqrt(found.length)).toFixed(1)} points over ${found.length} paired seeds`;
}

function accuracies(name) {
  const told = document.querySelector(`.main [data-row="${name}"]`)?.dataset.seeds ?? "";
  return new Map(told.split(" ").filter(Boolean).map((pair) => pair.split(":")).map(([seed, value]) => [seed, Number(value)]));
}

function signed(value) {
  return `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(1)}`;
}

// -- a row and its curve light up together

function linkRowsToCurves(group) {
  const charts = group.querySelectorAll(".chart");
  const light = (index) => {
    const lit = index === undefined ? [] : [...group.querySelectorAll(`[data-row="${index}"]`)];
    group.querySelectorAll(".lit").forEach((element) => element.classList.remove("lit"));
    lit.forEach((element) => element.classList.add("lit"));
    for (const chart of charts) chart.classList.toggle("lit", lit.some((element) => chart.contains(element)));
  };
  const follow = (event) => light(event.target.closest("[data-row]")?.dataset.row);
  group.addEventListener("pointerover", follow);
  group.addEventListener("focusin", follow);
  group.addEventListener("pointerleave", () => light());
  group.addEventListener("focusout", () => light());
}

// -- copying

function addCopyButton(block) {
  const text = block.textContent;
  const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  block.prepend(button);
}
