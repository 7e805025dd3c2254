"use strict";
// Structures and trajectories by 3Dmol, made when they come into sight.

const MOST_ALIVE = 4; // browsers give a page a few WebGL contexts only
const PACE = 60; // milliseconds per frame, at least
const ALONG = [1, 0, 0, 0]; // half a turn about x: y down, z into the page, as in the frame
const ASIDE = [Math.SQRT1_2, 0, 0, Math.SQRT1_2]; // a quarter: z down
const alive = [];

const webgl = (() => {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return context !== null;
})();

// Pairs of atoms by distance, none through a third atom: as stem2sim.bonds has it.
function bonded({ symbols, positions }, elements, reach, between) {
  const count = symbols.length;
  const near = symbols.map(() => []);
  const radii = symbols.map((symbol) => elements[symbol].radius * reach);
  const apart = (i, j) => Math.hypot(
    positions[3 * i] - positions[3 * j], positions[3 * i + 1] - positions[3 * j + 1], positions[3 * i + 2] - positions[3 * j + 2]);
  for (let i = 0; i < count; i++)
    for (let j = i + 1; j < count; j++) {
      const limit = radii[i] + radii[j];
      if (Math.abs(positions[3 * i] - positions[3 * j]) > limit || Math.abs(positions[3 * i + 1] - positions[3 * j + 1]) > limit) continue;
      if (apart(i, j) < limit) { near[i].push(j); near[j].push(i); }
    }
  return near.map((others, i) => others.filter((j) => {
    const limit = between * apart(i, j);
    return ![...near[i], ...near[j]].some((k) => k !== i && k !== j && apart(i, k) < limit && apart(j, k) < limit);
  }));
}

function liveStructure(figure) {
  const { elements, reach, between, structures, trajectory } = dataOf(figure);
  const title = figure.dataset.title;
  const moving = trajectory.frames.length > 1;
  const choices = [...structures.map((one) => one.name), ...(moving ? ["trajectory"] : [])];
  const room = element("div", { className: "viewer" }, { role: "img" });
  let viewer = null, which = structures.length - 1, frame = 0, style = "sticks", side = false, timer = 0;

  // controls
  const button = (words, does, aria = {}) => {
    const made = element("button", { type: "button", textContent: words }, { title: words, ...aria });
    made.addEventListener("click", does);
    return made;
  };
  const group = (label, words, pick) => {
    const buttons = words.map((word, k) => button(word, () => { pick(k); press(buttons, k); }));
    return [element("div", { className: "group" }, { role: "group", "aria-label": `${label} of ${title}` }, ...buttons), buttons];
  };
  const press = (buttons, k) => buttons.forEach((one, n) => one.setAttribute("aria-pressed", String(n === k)));
  const [shownGroup, shownButtons] = group("structure", choices, (k) => { stop(); which = k; draw(); });
  const [viewGroup, viewButtons] = group("view", ["along the beam", "from the side"], (k) => { side = k === 1; turn(); });
  const [styleGroup, styleButtons] = group("style", ["ball and stick", "spheres"], (k) => { style = k ? "spheres" : "sticks"; draw(); });
  press(shownButtons, which);
  press(viewButtons, 0);
  press(styleButtons, 0);
  const spin = button("spin", () => {
    const on = spin.getAttribute("aria-pressed") !== "true";
    spin.setAttribute("aria-pressed", String(on));
    viewer?.spin(on ? "vy" : false);
  }, { "aria-pressed": "false" });
  const play = button("play", () => (timer ? stop() : start()), { "aria-label": `play the trajectory of ${title}` });
  const slider = element("input", { type: "range", min: 0, max: Math.max(0, trajectory.frames.length - 1), step: 1, value: 0 },
    { "aria-label": `${trajectory.label} of ${title}` });
  const timeLabel = element("output", { className: "when" });
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  const film = element("div", { className: "bar film" }, {}, play, slider, timeLabel);
  const legend = element("span", {}, {}, ...Object.entries(elements).map(([symbol, { colour }]) => {
    const dot = element("i");
    dot.style.background = colour;
    return element("span", { className: "key" }, {}, dot, symbol);
  }));
  const bar = element("div", { className: "bar" }, {}, shownGroup, viewGroup, styleGroup, spin, legend);

  const go = (k) => {
    frame = k;
    which = structures.length;
    press(shownButtons, which);
    draw();
  };
  function start() {
    play.textContent = "pause";
    let last = 0;
    const next = (now) => { // as fast as it can be drawn, and no faster than the pace
      timer = requestAnimationFrame(next);
      if (now - last < PACE) return;
      last = now;
      go((frame + 1) % trajectory.frames.length);
    };
    timer = requestAnimationFrame(next);
  }
  function stop() {
    cancelAnimationFrame(timer);
    timer = 0;
    play.textContent = "play";
  }

  // drawing
  function current() {
    if (which < structures.length) return structures[which];
    return { symbols: trajectory.symbols, cell: trajectory.cell, positions: trajectory.frames[frame] };
  }
  function draw() {
    const now = current();
    slider.value = frame;
    const unit = trajectory.label.match(/\[(.+)\]/)?.[1];
    const time = moving ? trajectory.times[frame] : 0;
    timeLabel.value = `frame ${frame + 1} of ${trajectory.frames.length}` + (unit ? ` · ${time} ${unit}` : "");
    room.setAttribute("aria-label", `${title}: ${choices[which]}`);
    if (!viewer) return;
    const bonds = bonded(now, elements, reach, between);
    const atoms = now.symbols.map((elem, k) => ({
      elem, serial: k, x: now.positions[3 * k], y: now.positions[3 * k + 1], z: now.positions[3 * k + 2],
      bonds: bonds[k], bondOrder: bonds[k].map(() => 1), color: parseInt(elements[elem].colour.slice(1), 16),
    }));
    viewer.removeAllModels();
    viewer.removeAllShapes();
    const model = viewer.addModel();
    model.addAtoms(atoms);
    for (const [elem, { radius }] of Object.entries(elements))
      viewer.setStyle({ elem }, style === "sticks"
        ? { stick: { radius: 0.11, color: "#5a5a5a" }, sphere: { radius: 0.42 * radius + 0.06 } }
        : { sphere: { radius: 0.95 * radius } });
    if (now.cell) box(now.cell);
    viewer.render();
  }
  // the twelve edges of the cell
  function box(cell) {
    const corner = (bits) => cell.reduce(
      (sum, vector, k) => (bits >> k & 1 ? sum.map((value, axis) => value + vector[axis]) : sum), [0, 0, 0]);
    const point = ([x, y, z]) => ({ x, y, z });
    for (let from = 0; from < 8; from++)
      for (let k = 0; k < 3; k++)
        if (!(from >> k & 1)) viewer.addLine({ start: point(corner(from)), end: point(corner(from | 1 << k)), color: "#55626f" });
  }
  function turn() {
    if (!viewer) return;
    const view = viewer.getView();
    viewer.setView([...view.slice(0, 4), ...(side ? ASIDE : ALONG)]);
    viewer.render();
  }

  // life
  function wake() {
    if (viewer) return;
    while (alive.length >= MOST_ALIVE) alive.shift()();
    viewer = $3Dmol.createViewer(room, { backgroundColor: "white", orthographic: true, antialias: true });
    room.querySelector("canvas").removeAttribute("id"); // the same for all, which no page may have
    figure.viewer = viewer;
    draw();
    viewer.zoomTo();
    viewer.zoom(1.05); // it leaves room for every way to turn
    turn();
    alive.push(sleep);
  }
  function sleep() {
    stop();
    viewer?.spin(false);
    spin.setAttribute("aria-pressed", "false");
    room.querySelector("canvas")?.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
    room.replaceChildren();
    viewer = figure.viewer = null;
  }
  // the wheel scrolls the page, with ctrl it zooms
  room.addEventListener("wheel", (event) => { if (!event.ctrlKey) event.stopPropagation(); }, { capture: true });

  if (!webgl) {
    figure.append(element("p", { className: "missing", textContent:
      "This browser has no WebGL, so the structure cannot be turned here; the picture shows it along the beam and from the side." }));
    return;
  }
  const caption = figure.querySelector("figcaption");
  for (const part of [room, ...(moving ? [film] : []), bar]) caption ? caption.before(part) : figure.append(part);
  figure.classList.add("live");
  draw();
  new IntersectionObserver((entries) => { if (entries.at(-1).isIntersecting) wake(); }, { rootMargin: "100px" }).observe(figure);
}

document.querySelectorAll("figure.structure").forEach(liveStructure);
