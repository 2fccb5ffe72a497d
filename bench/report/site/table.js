// Tables: columns in groups, sorting inside sections, filters.

const boards = [...document.querySelectorAll(".board")].map((root, t) => {
  const heads = [...root.querySelectorAll("thead th")];
  const place = Object.fromEntries(heads.map((head, i) => [head.textContent.trim(), i]));
  const bodies = [...root.querySelectorAll("table:not(.plain) > tbody")].map((body) => ({
    body,
    reference: body.classList.contains("ref"),
    rows: [...body.rows].slice(1), // as they came
    order: [...body.rows].slice(1), // as they are sorted
    passing: [],
    whole: false,
  }));
  return { root, t, heads, place, bodies, protocol: root.dataset.protocol };
});

// the data lists rows as they come on the page
const rowData = new Map();
boards.flatMap(({ bodies }) => bodies.flatMap(({ rows }) => rows)).forEach((tr, i) => {
  const label = tr.cells[1].textContent.trim(), row = data.rows[i];
  rowData.set(tr, { k: "student", m: label, s: row.n, ...row, label, id: decodeURIComponent(tr.cells[1].firstElementChild.hash.slice(1)) });
});

const textOf = (row, i) => (i === undefined || !row.cells[i] ? "" : row.cells[i].textContent.trim());

// one rule a column says its group and side, so that no cell needs to
function dress() {
  const rules = [];
  for (const { root, heads, t } of boards) {
    root.id = `board-${t}`;
    heads.forEach((head, i) => {
      const cell = `#board-${t} tbody tr:not(.s) > :nth-child(${i + 1})`;
      if (head.classList.contains("l") && i > 1) rules.push(`${cell}{text-align:left}`);
      const group = head.dataset.g;
      if (group && group !== "core") rules.push(`.no-${group} ${cell}{display:none}`);
      if (i === Number(root.dataset.p) + 2 && root.querySelector(".w")) head.classList.add("ci");
    });
    const widest = Math.max(-1, ...[...root.querySelectorAll("u")].map((u) => Number(u.className.slice(1))));
    rules.push(`#board-${t} tbody td:first-child{min-width:${2.2 + Math.min(widest + 1, 8)}rem}`);
  }
  document.head.append(el("style", {}, rules.join("\n")));
}

function sortable({ heads, bodies }) {
  heads.forEach((head, i) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const section of bodies) {
        section.order = ordered(section.rows, i, down ? -1 : 1);
        section.body.append(...section.order);
        show(section);
      }
    });
  });
}

// numbers by size, words after them, nothing last whatever the direction; equal ones as they came
function ordered(rows, i, sign) {
  const keyed = rows.map((row, n) => {
    const text = textOf(row, i);
    return { row, n, text, number: i === 1 ? NaN : numeric(text) };
  });
  return keyed
    .sort((a, b) => {
      if (!a.text || !b.text) return Number(!a.text) - Number(!b.text) || a.n - b.n;
      const [x, y] = [Number.isNaN(a.number), Number.isNaN(b.number)];
      if (x !== y) return Number(x) - Number(y);
      const difference = x ? a.text.localeCompare(b.text) : a.number - b.number;
      return sign * difference || a.n - b.n;
    })
    .map(({ row }) => row);
}

const chosen = { find: "", nfe: "", protocol: "", status: "", verified: "" };

function passes(row, place, reference) {
  const has = (name, wanted) => !wanted || (textOf(row, place[name]) || "ok") === wanted; // status says nothing where it is ok
  if (chosen.find && !textOf(row, 1).toLowerCase().includes(chosen.find)) return false;
  return has("status", chosen.status) && has("verified", chosen.verified) && (reference || has("NFE", chosen.nfe));
}

function filter() {
  let shown = 0, all = 0;
  for (const { root, place, bodies, protocol } of boards) {
    const off = Boolean(chosen.protocol) && protocol !== chosen.protocol;
    root.hidden = off;
    for (const section of bodies) {
      section.passing = off ? [] : section.rows.filter((row) => passes(row, place, section.reference));
      show(section);
      shown += section.passing.length;
      all += section.rows.length;
    }
  }
  document.getElementById("count").textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
}

// the first rows of a section, and a button for the rest of a long one
const FIRST = 20;
function show(section) {
  const { body, order, passing } = section, kept = new Set(passing);
  const limit = section.whole ? Infinity : FIRST;
  let shown = 0;
  for (const row of order) {
    const on = kept.has(row) && shown < limit;
    if (row.hidden === on) row.hidden = !on;
    shown += on;
  }
  body.hidden = !shown;
  if (section.more) section.more.remove();
  if (shown < passing.length) {
    const button = el("button", { type: "button" }, `Show all ${passing.length} rows`);
    button.addEventListener("click", () => { section.whole = true; show(section); });
    section.more = el("tr", { class: "more" }, el("td", { colspan: order[0].cells.length }, button));
    body.append(section.more);
  }
}

function pressed(id, then) {
  const buttons = [...document.querySelectorAll(`#${id} button`)];
  for (const button of buttons) button.addEventListener("click", () => then(button, buttons));
}

function controls(changed) {
  document.getElementById("bar").addEventListener("submit", (event) => event.preventDefault());
  const update = () => { filter(); changed(); };
  document.getElementById("find").addEventListener("input", (event) => {
    chosen.find = event.target.value.trim().toLowerCase();
    update();
  });
  for (const id of ["protocol", "status", "verified"]) {
    document.getElementById(id).addEventListener("change", (event) => { chosen[id] = event.target.value; update(); });
  }
  pressed("nfe", (button, buttons) => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    chosen.nfe = button.dataset.v;
    update();
  });
  pressed("groups", (button) => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    document.body.classList.toggle(`no-${button.dataset.v}`, !on);
  });
}
