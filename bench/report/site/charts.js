// The charts of a board: training curves, quality against latency; and the profiles over suites.

const BEST = 10; // names in one chart
const SHAPES = { student: "circle", published: "circle", solver: "square", teacher: "diamond" };

function visible(board) {
  return board.bodies.flatMap(({ passing }) => passing.map((tr) => rowData.get(tr)));
}

function figure(title, caption, ...parts) {
  return el("figure", { class: "plot" }, el("figcaption", {}, el("b", {}, title), caption), ...parts);
}

function excessOf(table, value) {
  return table.floor === null ? value : Math.max(table.sign * (value - table.floor), table.smallest);
}

function curveOf(row, table) {
  const [place, values] = row.q;
  return data.works[place].map((work, i) => [work, excessOf(table, values[i])]).filter(([work]) => work > 0);
}

function curves(board) {
  const table = data.tables[board.t];
  const rows = visible(board).filter((row) => row.q).map((row) => ({ ...row, points: curveOf(row, table) }));
  if (!rows.length) return null;
  const last = (row) => row.points[row.points.length - 1][1];
  const best = new Map();
  for (const row of rows) best.set(row.m, Math.min(best.get(row.m) ?? Infinity, last(row)));
  const names = [...best].sort((a, b) => a[1] - b[1]).slice(0, BEST).map(([name]) => name).sort();
  const kept = rows.filter((row) => names.includes(row.m));
  const counts = [...new Set(kept.map((row) => row.s))].sort((a, b) => a - b).slice(0, 6);
  const x = range(kept.flatMap((row) => row.points.map(([work]) => work)), true, 0.02);
  const y = range([...kept.flatMap((row) => row.points.map((point) => point[1])), table.teacher], true, 0.04);
  const panels = el("div", { class: counts.length > 1 ? "panels" : "panels one" });
  for (const count of counts) panels.append(curvePanel(kept.filter((row) => row.s === count), table, names, x, y, count, counts.length > 1 ? NARROW : WIDE));
  const paint = (only) => {
    for (const node of panels.querySelectorAll("[data-m]")) node.classList.toggle("dim", only !== null && node.dataset.m !== only);
  };
  const more = best.size > names.length ? ` The best ${names.length} of ${best.size} methods.` : "";
  const beyond = table.floor === null ? "" : " beyond real data";
  const caption = `${table.metric}${beyond} against training work, by step count; dashed: the teacher.${more}`;
  return figure("Training curves", caption, panels, key(names, paint));
}

function curvePanel(rows, table, names, x, y, count, wide = WIDE) {
  const title = `${count} step${count === 1 ? "" : "s"}`;
  const made = frame({ x, y, xTitle: "work", yTitle: title, label: `Training curves at ${title}`, wide, tall: wide * 0.66 });
  if (table.teacher > 0) {
    const at = made.sy(Math.max(table.teacher, y[0]));
    made.root.append(svg("line", { class: "rule", x1: PAD.left, x2: wide - PAD.right, y1: at, y2: at }));
  }
  const points = [];
  for (const row of rows) {
    const i = names.indexOf(row.m), on = row.points.map(([work, value]) => [made.sx(work), made.sy(value)]);
    const line = svg("path", { class: "line", d: path(on), stroke: colour(i), "stroke-dasharray": dash(i), "data-m": row.m });
    made.root.append(line);
    on.forEach(([px, py], n) => {
      const text = `${row.label}, ${title}\n${compact(row.points[n][1])} at ${compact(row.points[n][0])} units`;
      made.root.append(svg("circle", { class: "mark", cx: px, cy: py, r: 2.8, fill: colour(i), "data-m": row.m }));
      points.push({ x: px, y: py, text, go: row.id, off: () => line.classList.contains("dim") });
    });
  }
  hover(made, points);
  return made.root;
}

function pareto(board) {
  const table = data.tables[board.t];
  const rows = visible(board).filter((row) => row.x > 0 && row.y !== undefined && SHAPES[row.k]);
  if (rows.length < 2) return null;
  const log = rows.every((row) => row.y > 0);
  const x = range(rows.map((row) => row.x), true), y = range(rows.map((row) => row.y), log);
  const made = frame({
    x, y, yLog: log, xTitle: "latency, teacher forwards", yTitle: table.metric, tall: 340,
    label: `${table.metric} against latency: ${rows.length} rows, ${rows.filter((row) => row.f).length} on the front`,
  });
  const front = rows.filter((row) => row.f).sort((a, b) => a.x - b.x);
  const stairs = front.flatMap((row, i) => {
    const here = [made.sx(row.x), made.sy(row.y)];
    return i ? [[here[0], made.sy(front[i - 1].y)], here] : [here];
  });
  made.root.append(svg("path", { class: "front", d: path(stairs) }));
  const points = rows.map((row) => {
    const [px, py] = [made.sx(row.x), made.sy(row.y)];
    const fills = { student: "var(--c0)", published: "var(--c2)", solver: "var(--faint)", teacher: "var(--c1)" };
    made.root.append(mark(SHAPES[row.k], px, py, row.f ? 4.6 : 3.4, { class: "mark", fill: fills[row.k], opacity: row.f ? 1 : 0.6 }));
    const text = `${row.label}, ${row.n} evaluation${row.n === 1 ? "" : "s"}\n${compact(row.y)} at ${compact(row.x)}x${row.f ? ", on the front" : ""}`;
    return { x: px, y: py, text, go: row.id };
  });
  hover(made, points);
  const caption = `${table.metric} against the time of a sample. The line is the front of the whole board: nothing is at least as fast and as good. ● student ■ plain solver ◆ teacher.`;
  return figure("Quality and latency", caption, made.root);
}

function profileChart({ budget, lines }) {
  const names = lines.map((line) => line.m);
  const made = frame({
    x: [1, 10], y: [0, 1.02], yLog: false, percent: true, xTitle: "ratio to the teacher's best row", yTitle: "problems",
    label: `Performance profile at budget ${budget} of ${names.length} methods`,
  });
  const points = [];
  lines.forEach((line, i) => {
    let share = 0;
    const on = [[made.sx(1), made.sy(0)]];
    line.r.forEach((ratio, n) => {
      const px = made.sx(Math.min(Math.max(ratio, 1), 10));
      on.push([px, made.sy(share)]);
      share = (n + 1) / line.n;
      on.push([px, made.sy(share)]);
      const text = `${line.m}\n${Math.round(share * 100)} % within ${compact(ratio)}x`;
      if (ratio <= 10) points.push({ x: px, y: made.sy(share), text, off: () => node.classList.contains("dim") });
    });
    on.push([made.sx(10), made.sy(share)]);
    const node = svg("path", { class: "line", d: path(on), stroke: colour(i), "stroke-dasharray": dash(i), "data-m": line.m });
    made.root.append(node);
  });
  hover(made, points);
  const paint = (only) => {
    for (const node of made.root.querySelectorAll("[data-m]")) node.classList.toggle("dim", only !== null && node.dataset.m !== only);
  };
  const caption = "Share of problems (a suite and a number of evaluations) within a ratio; further up and left is better.";
  return figure(`Performance profile, budget ${budget}`, caption, made.root, key(names, paint));
}

function draw(board) {
  const place = board.root.querySelector(".plots");
  place.replaceChildren(...[curves(board), pareto(board)].filter(Boolean));
}
