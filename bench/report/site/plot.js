// Plots: axes, lines and marks as SVG; what is under the pointer is told in a tip.

const PAD = { left: 46, right: 14, top: 24, bottom: 32 };
const WIDE = 480, TALL = 290, NARROW = 300; // units of a viewBox: about pixels, so that text keeps its size
const tip = document.getElementById("tip");

function axis(low, high, from, to, log) {
  const at = log ? Math.log : (value) => value;
  const [a, b] = [at(low), at(high)];
  const scale = (value) => from + ((at(value) - a) / (b - a || 1)) * (to - from);
  scale.ticks = log ? decades(low, high) : steps(low, high);
  return scale;
}

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const lead of [1, 2, 5]) found.push(Number(`${lead}e${power}`));
  }
  const inside = found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  const tens = inside.filter((value) => String(value / 10 ** Math.floor(Math.log10(value) + 1e-9)).startsWith("1"));
  return inside.length > 6 && tens.length > 1 ? thinned(tens) : thinned(inside);
}

const thinned = (ticks) => (ticks.length > 6 ? ticks.filter((_, i) => i % Math.ceil(ticks.length / 6) === 0) : ticks);

function steps(low, high) {
  const raw = (high - low) / 4 || 1, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((lead) => lead * unit >= raw) * unit;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(value);
  return found;
}

function range(values, log, margin = 0.06) {
  const kept = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!kept.length) return [log ? 0.1 : 0, 1];
  let [low, high] = [Math.min(...kept), Math.max(...kept)];
  if (log) {
    const pad = Math.max((high / low) ** margin, 1.08);
    return [low / pad, high * pad];
  }
  const pad = (high - low) * margin || Math.abs(high) * margin || 1;
  return [low - pad, high + pad];
}

function frame({ x, y, label, xTitle, yTitle, xLog = true, yLog = true, tall = TALL, wide = WIDE, percent = false }) {
  const sx = axis(...x, PAD.left, wide - PAD.right, xLog), sy = axis(...y, tall - PAD.bottom, PAD.top, yLog);
  const root = svg("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": label });
  for (const value of sx.ticks) {
    root.append(svg("line", { class: "grid", x1: sx(value), x2: sx(value), y1: PAD.top, y2: tall - PAD.bottom }));
    root.append(svg("text", { x: sx(value), y: tall - PAD.bottom + 14, "text-anchor": "middle" }, compact(value)));
  }
  for (const value of sy.ticks) {
    root.append(svg("line", { class: "grid", x1: PAD.left, x2: wide - PAD.right, y1: sy(value), y2: sy(value) }));
    const text = percent ? `${Math.round(value * 100)} %` : compact(value);
    root.append(svg("text", { x: PAD.left - 6, y: sy(value) + 4, "text-anchor": "end" }, text));
  }
  root.append(svg("text", { x: wide - PAD.right, y: tall - 3, "text-anchor": "end" }, xTitle));
  root.append(svg("text", { class: "title", x: 0, y: 12, "text-anchor": "start" }, yTitle));
  return { root, sx, sy, tall, wide };
}

const colour = (i) => `var(--c${i % 7})`;
const dash = (i) => [null, "6 3", "2 3"][Math.floor(i / 7) % 3];
const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// circle, square, diamond
function mark(shape, x, y, size, attributes) {
  const s = size, d = {
    square: `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}z`,
    diamond: `M${x} ${y - 1.3 * s}L${x + 1.3 * s} ${y}L${x} ${y + 1.3 * s}L${x - 1.3 * s} ${y}z`,
  }[shape];
  return d ? svg("path", { d, ...attributes }) : svg("circle", { cx: x, cy: y, r: s, ...attributes });
}

// the nearest of the points [{x, y, text, go}] is marked and told; a click goes where it leads
function hover({ root, tall, wide }, points) {
  const near = svg("circle", { class: "near", r: 6, visibility: "hidden" });
  root.append(near);
  let found = null;
  const leave = () => { tip.hidden = true; near.setAttribute("visibility", "hidden"); found = null; };
  const move = (event) => {
    const box = root.getBoundingClientRect(), k = wide / box.width;
    const x = (event.clientX - box.left) * k, y = (event.clientY - box.top) * (tall / box.height);
    found = null;
    let best = 30 ** 2;
    for (const point of points) {
      const gap = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (gap < best && !(point.off && point.off())) [best, found] = [gap, point];
    }
    if (!found) return leave();
    near.setAttribute("cx", found.x);
    near.setAttribute("cy", found.y);
    near.setAttribute("visibility", "visible");
    root.style.cursor = found.go ? "pointer" : "default";
    tell(found.text, event.clientX, event.clientY);
  };
  root.addEventListener("pointermove", move);
  root.addEventListener("pointerdown", move);
  root.addEventListener("pointerleave", leave);
  root.addEventListener("click", () => { if (found && found.go) { tip.hidden = true; location.hash = found.go; } });
}

function tell(text, x, y) {
  tip.textContent = clean(text);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
  tip.style.top = `${y + box.height + 24 > innerHeight ? y - box.height - 12 : y + 16}px`;
}

// names with their colours; a pressed one dims the others
function key(names, paint) {
  const list = el("div", { class: "key" });
  let only = null;
  names.forEach((name, i) => {
    const swatch = el("i", { style: `border-top-color:${colour(i)};border-top-style:${dash(i) ? "dashed" : "solid"}` });
    const button = el("button", { type: "button", "aria-pressed": "false" }, swatch, name);
    button.addEventListener("click", () => {
      only = only === name ? null : name;
      for (const other of list.children) other.setAttribute("aria-pressed", String(other === button && only !== null));
      paint(only);
    });
    list.append(button);
  });
  return list;
}
