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
  const keyed = [...table.tBodies[0].rows].map((row) => [key(row.cells[header.cellIndex], numeric), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what says nothing comes last either way
    return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

function key(cell, numeric) {
  const text = cell.textContent.trim();
  if (text === "–" || text === "") return null;
  if (!numeric) return text;
  const number = parseFloat(text.replace(/\u2212/g, "-").replace(/\u202f/g, ""));
  return Number.isNaN(number) ? null : number;
}

// -- filtering

function makeFilter(form) {
  const groups = [...document.querySelectorAll(".group")];
  const rows = groups.flatMap((group) => [...group.querySelectorAll("tbody tr")]);
  const counted = rows.filter((row) => row.closest(".main"));
  const output = form.querySelector("output");
  const apply = () => {
    const wanted = new FormData(form);
    for (const row of rows) row.hidden = !matches(row, wanted);
    for (const group of groups) group.hidden = !group.querySelector("tbody tr:not([hidden])");
    output.textContent = `${counted.filter((row) => !row.hidden).length} of ${counted.length} rows`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

function matches(row, wanted) {
  const { dataset, ipc } = { ...row.closest(".group").dataset, ...row.dataset };
  const own = row.closest(".group").querySelector(`.main [data-row="${row.dataset.row}"]`) ?? row; // parts name no families
  const text = `${row.querySelector("th").textContent} ${own.querySelector(".family")?.textContent ?? ""}`.toLowerCase();
  return (
    ["", dataset].includes(wanted.get("dataset")) &&
    ["", ipc].includes(wanted.get("ipc")) &&
    (!wanted.get("state") || wanted.get("state").split(" ").includes(own.dataset.state)) &&
    wanted.get("text").toLowerCase().split(/\s+/).every((word) => text.includes(word))
  );
}

// -- a row and its curve light up together

function linkRowsToCurves(group) {
  const chart = group.querySelector(".chart");
  const light = (index) => {
    const lit = index === undefined ? [] : [...group.querySelectorAll(`[data-row="${index}"]`)];
    group.querySelectorAll(".lit").forEach((element) => element.classList.remove("lit"));
    lit.forEach((element) => element.classList.add("lit"));
    chart.classList.toggle("lit", lit.some((element) => element.matches(".line")));
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
