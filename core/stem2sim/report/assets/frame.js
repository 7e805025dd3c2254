"use strict";
// The frame: layers to switch, places to point at or walk to, zoom, and the place of a click.

const CLOSEST = 40; // times the whole
const NEAR = 12; // pixels round a place that count as pointing at it

function liveFrame(figure) {
  const { extent: [left, top, right, bottom], places, layers } = dataOf(figure);
  const stage = figure.querySelector(".stage");
  const svg = stage.querySelector("svg");
  const details = figure.querySelector(".details");
  const place = figure.querySelector(".place");
  const groups = [...svg.querySelectorAll(".layer")];
  const switches = [...figure.querySelectorAll(".layers input")];
  const whole = right - left;
  const ratio = (bottom - top) / whole;
  let view = { x: left, y: top, width: whole };
  let chosen = -1;
  let shown = [];

  // layers; those of points come last
  function switched() {
    groups.forEach((group, k) => (group.style.display = switches[k].checked ? "" : "none"));
    const first = groups.length - layers.length;
    shown = [...new Set(layers.flatMap((layer, k) => (switches[first + k].checked ? layer : [])))];
    if (!shown.includes(chosen)) choose(-1);
  }

  // zoom
  function show(x, y, width) {
    const w = Math.min(whole, Math.max(whole / CLOSEST, width));
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    view = { x: clamp(x, left, right - w), y: clamp(y, top, bottom - w * ratio), width: w };
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${w} ${w * ratio}`);
    stage.classList.toggle("zoomed", w < 0.999 * whole);
    const image = svg.querySelector("image");
    const pixels = image ? svg.clientWidth / w * (image.width.baseVal.value / (stage.columns ?? 1)) : 0;
    stage.classList.toggle("crisp", pixels > 3);
    const bar = length(w / 4);
    stage.querySelector(".scale i").style.width = `${(100 * bar) / w / 0.94}%`;
    stage.querySelector(".scale span").textContent = bar >= 10 ? `${bar / 10} nm` : `${bar} Å`;
  }
  // a round length of at most so many Å
  function length(most) {
    const power = 10 ** Math.floor(Math.log10(most));
    return Number(([5, 2, 1].find((step) => step * power <= most) * power).toPrecision(3));
  }
  function zoom(factor, x = view.x + view.width / 2, y = view.y + (view.width * ratio) / 2) {
    const width = Math.min(whole, Math.max(whole / CLOSEST, view.width / factor));
    const share = width / view.width;
    show(x - (x - view.x) * share, y - (y - view.y) * share, width);
  }
  // x, y [Å] of an event
  function at(event) {
    const box = svg.getBoundingClientRect();
    const per = view.width / box.width;
    return [view.x + (event.clientX - box.left) * per, view.y + (event.clientY - box.top) * per, per];
  }

  // pointing
  function choose(k) {
    if (k === chosen) return;
    chosen = k;
    details.textContent = k < 0 ? "" : places[k][2];
    const ring = svg.querySelector(".chosen");
    ring.replaceChildren();
    if (k < 0) return;
    for (const _ of [0, 1]) {
      const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [name, value] of [["cx", places[k][0]], ["cy", places[k][1]], ["r", 0.8]]) circle.setAttribute(name, value);
      ring.append(circle);
    }
  }
  function nearest(x, y, reach) {
    let best = -1;
    for (const k of shown) {
      const away = Math.hypot(places[k][0] - x, places[k][1] - y);
      if (away <= reach) [best, reach] = [k, away];
    }
    return best;
  }
  // the next place in a direction: near, and rather ahead than aside
  function step(dx, dy) {
    const [x, y] = chosen < 0 ? [view.x + view.width / 2, view.y + (view.width * ratio) / 2] : places[chosen];
    if (chosen < 0) return arrive(nearest(x, y, Infinity));
    let best = -1, least = Infinity;
    for (const k of shown) {
      const ahead = (places[k][0] - x) * dx + (places[k][1] - y) * dy;
      const aside = Math.abs((places[k][0] - x) * dy - (places[k][1] - y) * dx);
      if (k === chosen || ahead <= 0 || aside > ahead) continue;
      const cost = ahead + aside;
      if (cost < least) [best, least] = [k, cost];
    }
    if (best >= 0) arrive(best);
  }
  function arrive(k) {
    choose(k);
    if (k < 0) return;
    const [x, y] = places[k];
    const inside = x > view.x && x < view.x + view.width && y > view.y && y < view.y + view.width * ratio;
    if (!inside) show(x - view.width / 2, y - (view.width * ratio) / 2, view.width);
  }
  const tell = (x, y) => (place.textContent = `center = [${x.toFixed(2)}, ${y.toFixed(2)}]  # Å`);

  const walks = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  stage.addEventListener("keydown", (event) => {
    if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (walks[event.key]) step(...walks[event.key]);
    else if (event.key === "Escape") { choose(-1); stage.blur(); }
    else if (event.key === "Enter" && chosen >= 0) tell(...places[chosen]);
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") show(left, top, whole);
    else return;
    event.preventDefault();
  });

  // drag to move, two fingers to zoom, a click for the place
  const down = new Map();
  let moved = 0;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    down.set(event.pointerId, event);
    moved = down.size > 1 ? Infinity : 0;
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    const [x, y, per] = at(event);
    if (!before) return choose(nearest(x, y, Math.max(0.7, NEAR * per)));
    down.set(event.pointerId, event);
    moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
    if (down.size === 2) {
      const other = [...down.values()].find((one) => one.pointerId !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      zoom(apart(event) / apart(before), ...at(other));
    } else if (moved > 4) {
      show(view.x - (event.clientX - before.clientX) * per, view.y - (event.clientY - before.clientY) * per, view.width);
    }
  });
  svg.addEventListener("pointerup", (event) => {
    if (!down.delete(event.pointerId) || moved > 4) return;
    const [x, y, per] = at(event);
    tell(x, y);
    choose(nearest(x, y, Math.max(0.7, NEAR * per))); // a finger does not point before it taps
  });
  svg.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
  svg.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && document.activeElement !== stage) choose(-1);
  });
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    const [x, y] = at(event);
    zoom(1.002 ** -event.deltaY, x, y);
  }, { passive: false });
  const [closer, further, all] = stage.querySelectorAll(".zoom button");
  closer.addEventListener("click", () => zoom(1.6));
  further.addEventListener("click", () => zoom(1 / 1.6));
  all.addEventListener("click", () => show(left, top, whole));
  stage.querySelector(".zoom").hidden = false;

  for (const one of switches) one.addEventListener("change", switched);
  stage.tabIndex = 0;
  svg.setAttribute("aria-hidden", "true"); // the stage speaks for it
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-label", `${svg.getAttribute("aria-label")}. Arrow keys walk from place to place, plus and minus zoom, Escape leaves.`);
  const first = svg.querySelector("image");
  if (first) {
    const picture = new Image();
    picture.onload = () => { stage.columns = picture.naturalWidth; show(view.x, view.y, view.width); };
    picture.src = first.getAttribute("href");
  }
  switched();
  show(left, top, whole);
}

document.querySelectorAll("figure.frame").forEach(liveFrame);
