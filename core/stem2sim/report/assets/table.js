"use strict";
// Tables: sorted by the button in a column's head, copied, kept as CSV.

function liveTable(figure) {
  const body = figure.querySelector("tbody");
  const heads = [...figure.querySelectorAll("thead th")];
  const status = figure.querySelector('[role="status"]');
  const cellsOf = (row) => [...row.cells].map((cell) => cell.textContent);
  const all = () => [heads.map((head) => head.textContent), ...[...body.rows].map(cellsOf)];

  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const rows = [...body.rows];
      const value = (row) => row.cells[column].textContent.trim().replace("−", "-");
      const numbers = rows.every((row) => value(row) === "" || Number.isFinite(parseFloat(value(row))));
      rows.sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        if (p === "" || q === "") return (p === "") - (q === ""); // what is empty goes last, either way
        const order = numbers ? parseFloat(p) - parseFloat(q) : p.localeCompare(q, "en", { numeric: true });
        return up ? order : -order;
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...rows);
    });
  });

  figure.querySelector(".copy").addEventListener("click", async () => {
    const text = all().map((row) => row.join("\t")).join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // older browsers, and pages from a disk in some: what is selected can be copied
      const area = element("textarea", { value: text, readOnly: true });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    status.textContent = "copied";
    setTimeout(() => (status.textContent = ""), 2000);
  });
  figure.querySelector(".csv").addEventListener("click", () => keep(`${figure.dataset.name}.csv`, csvOf(all())));
  figure.querySelector(".bar").hidden = false;
}

document.querySelectorAll("figure.table").forEach(liveTable);
