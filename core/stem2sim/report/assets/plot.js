"use strict";
// Curves by uPlot: drag to zoom, double-click or the button to go back.

const HEIGHT = 250;

function livePlot(figure) {
  const { x, y, kind, log, series, columns } = dataOf(figure);
  const room = figure.querySelector(".chart");
  const paths =
    kind === "steps" ? uPlot.paths.stepped({ align: 1 })
    : kind === "bars" ? uPlot.paths.bars({ align: 1, size: [1] })
    : undefined; // straight lines
  const formatted = (value) => (value == null ? "–" : String(Number(value.toPrecision(8))));
  const ticks = (_, values) => values.map((value) => (value == null ? "" : String(Number(value.toPrecision(8)))));

  // a band is two more curves that do not show, and what is between them
  const curves = [{ label: x, value: (_, value) => formatted(value) }];
  const bands = [];
  series.forEach(({ name, band }, k) => {
    const stroke = SHADES[k % SHADES.length];
    const fill = kind === "line" ? undefined : stroke + (kind === "bars" ? "80" : "26");
    curves.push({ label: name, stroke, fill, width: 1.75, paths, spanGaps: kind === "line", points: { show: false },
      value: (_, value) => formatted(value) });
    if (band) {
      const edge = { stroke: "transparent", spanGaps: true, points: { show: false }, value: (_, value) => formatted(value) };
      curves.push({ ...edge, label: `${name}, low` }, { ...edge, label: `${name}, high` });
      bands.push({ series: [curves.length - 1, curves.length - 2], fill: stroke + "26" });
    }
  });
  const axis = { font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 18,
    stroke: "#55626f", grid: { stroke: "#e6eaee", width: 1 }, ticks: { stroke: "#c4ccd3", width: 1, size: 5 } };
  const wide = (_, values) => 14 + 7 * Math.max(2, ...(values ?? []).map((value) => String(value ?? "").length));
  const powers = (_, splits) => splits.map((value) => (Math.abs(Math.log10(value) % 1) < 1e-6 ? value : null));
  // a logarithm of nothing is nothing
  const shown = columns.map((column, k) => (log && k ? column.map((v) => (v > 0 ? v : null)) : column));
  const plot = new uPlot(
    {
      width: room.clientWidth || 400,
      height: HEIGHT,
      scales: { x: { time: false }, y: log ? { distr: 3 } : kind === "line" ? {} : { range: (_, low, high) => [Math.min(0, low), 1.08 * high || 1] } },
      series: curves,
      bands,
      axes: [
        { ...axis, label: x, values: ticks, size: 34 },
        log
          ? { ...axis, label: y || undefined, size: wide, grid: { ...axis.grid, filter: powers }, ticks: { ...axis.ticks, filter: powers } }
          : { ...axis, label: y || undefined, size: wide, values: ticks },
      ],
      cursor: { drag: { x: true, y: false, dist: 4 }, points: { size: 7 } },
    },
    shown,
    room,
  );
  figure.plot = plot;
  const all = () => plot.setScale("x", { min: columns[0][0], max: columns[0].at(-1) });
  figure.querySelector(".reset").addEventListener("click", all);
  figure.querySelector(".csv").addEventListener("click", () => {
    const heads = curves.map((curve) => curve.label);
    keep(`${figure.dataset.name}.csv`, csvOf([heads, ...columns[0].map((_, row) => columns.map((column) => column[row]))]));
  });
  new ResizeObserver(() => room.clientWidth && plot.setSize({ width: room.clientWidth, height: HEIGHT })).observe(room);
  figure.querySelector(".bar").hidden = false;
  figure.classList.add("live");
}

document.querySelectorAll("figure.plot").forEach(livePlot);
