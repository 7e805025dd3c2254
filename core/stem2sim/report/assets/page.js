"use strict";
// What the scripts of the blocks share.

const SHADES = ["#1d6fa5", "#c2570f", "#6b6b6b", "#2f7d4f", "#7a4fa3", "#a33a5e"]; // figures.py has the same

// The data of a figure, as Python wrote them.
function dataOf(figure) {
  return JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
}

// A new element; properties as in the DOM, attributes in `aria`.
function element(tag, properties = {}, aria = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Rows of cells as comma-separated text.
function csvOf(rows) {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => row.map((cell) => quoted(String(cell ?? ""))).join(",")).join("\n") + "\n";
}

// Offers a text as a file to keep.
function keep(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// The contents show which section is being read.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const reading = new IntersectionObserver(
  (entries) => {
    const seen = entries.filter((entry) => entry.isIntersecting).at(-1);
    if (!seen) return;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(seen.target.id)?.setAttribute("aria-current", "true");
  },
  { rootMargin: "-10% 0px -80% 0px" },
);
for (const section of document.querySelectorAll("main > section, main > section > section")) reading.observe(section);
