// The record of a row: numbers, curve, provenance, the command that makes it again, how to cite it.

const sheet = document.getElementById("record");
const rowLinks = new Map();

function facts(pairs, wide = false) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  const items = shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  return el("dl", wide ? { class: "wide" } : {}, items);
}

function copyable(text, what) {
  const body = el("pre", {}, text);
  const button = el("button", { type: "button", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(clean(text));
    } catch {
      getSelection().selectAllChildren(body);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return el("div", { class: "copy" }, body, button);
}

const plain = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));

function provenance(records) {
  const { packages = {}, ...maker } = data.makers[records[0].p];
  const names = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  const pairs = Object.entries(maker).map(([name, value]) => [name.replaceAll("_", " "), plain(value)]);
  const [code, closure] = records[0].code;
  return facts([["version", records[0].v], ["code sha", code], ["method closure sha256", closure], ...pairs, ["packages", names.join(", ")]], true);
}

function trainings(records, cells) {
  return records.map((record, i) => {
    const [iterations, images, seconds] = record.cost || [];
    const spent = record.cost ? `${compact(iterations)} iterations, ${compact(images)} images, ${seconds} s` : "";
    return facts([
      ["seed", record.s], ["made", record.w], ["cell", cells[i]], ["record sha256", record.d], ["spent", spent],
      ["weights and samples", (record.h || []).join(" ")],
    ], true);
  });
}

function bibtex(id, row, records) {
  const table = data.tables[row.t];
  const papers = [...new Set(records.map((record) => record.paper).filter(Boolean))];
  const keys = [...new Set([table.frame, ...papers, ...table.keys])];
  return [`% row ${id}`, table.cite, ...keys.map((name) => data.bib[name])].join("\n\n");
}

function sheetOf(id, tr) {
  const board = boards.find(({ root }) => root.contains(tr));
  const row = rowData.get(tr), table = data.tables[row.t];
  const cells = row.c || [], records = cells.map((cell) => data.records[cell]).filter(Boolean);
  const name = id.split(":")[0];
  const numbers = board.heads.slice(2).map((head, i) => [head.textContent.trim(), textOf(tr, i + 2)]);
  const head = textOf(tr, 0), rank = /^\d+/.exec(head), ties = head.replace(/^\d+/, "");
  const standing = rank ? [["rank", `${rank[0]} of its section`], ["tie groups", ties]] : [];
  const parts = [
    el("header", {}, el("h2", { id: "record-title", tabindex: -1 }, textOf(tr, 1)), el("button", { type: "button", onclick: close }, "Close")),
    el("p", { class: "id" }, el("code", {}, id)),
    el("p", {}, `${row.k} on ${table.id}, budget ${table.budget}, protocol ${table.protocol}`),
  ];
  if (row.note) parts.push(el("p", {}, row.note));
  parts.push(el("h3", {}, "Numbers"), facts([...standing, ...numbers]));
  if (row.q) {
    const panel = curvePanel([{ ...row, id: "", points: curveOf(row, table) }], table, [row.m], ...spans(row, table), row.s);
    parts.push(el("h3", {}, "Training curve"), panel);
  }
  const notes = [...new Set(records.flatMap((record) => record.notes || []))];
  if (notes.length) parts.push(el("h3", {}, "Notes"), el("ul", {}, notes.map((note) => el("li", {}, note))));
  if (records.length) {
    const commands = [...new Set(records.map((record) => record.cmd))].join("\n");
    const options = records[0].o === undefined ? [] : Object.entries(data.options[records[0].o]);
    parts.push(el("h3", {}, "Make it again"), copyable(commands, "the command"));
    if (options.length) parts.push(el("h3", {}, "Options"), facts(options.map(([option, value]) => [option, plain(value)])));
    parts.push(el("h3", {}, records.length > 1 ? `${records.length} trainings` : "Record"), ...trainings(records, cells));
    parts.push(el("h3", {}, "Provenance"), provenance(records));
  }
  parts.push(el("h3", {}, "Cite"), copyable(bibtex(id, row, records), "the BibTeX"));
  parts.push(copyable(`bench cite '${id}'`, "the citing command"), copyable(`\\benchval{${name}}{${table.key}}`, "the LaTeX macro"));
  return el("div", { class: "sheet" }, parts);
}

function spans(row, table) {
  const points = curveOf(row, table);
  return [range(points.map(([work]) => work), true), range([...points.map(([, value]) => value), table.teacher], true)];
}

function close() {
  sheet.close();
}

function route() {
  let id = "";
  try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
  const link = rowLinks.get(id);
  if (!link) {
    if (sheet.open) sheet.close();
    return;
  }
  sheet.replaceChildren(sheetOf(id, link.closest("tr")));
  if (!sheet.open) sheet.showModal();
  sheet.scrollTop = 0;
  sheet.querySelector("h2").focus();
}

function records() {
  for (const link of document.querySelectorAll("tbody th[scope=row] a")) rowLinks.set(decodeURIComponent(link.hash.slice(1)), link);
  addEventListener("hashchange", route);
  sheet.addEventListener("click", (event) => { if (event.target === sheet) close(); });
  sheet.addEventListener("close", () => {
    const link = rowLinks.get(decodeURIComponent(location.hash.slice(1)));
    history.replaceState(null, "", location.pathname + location.search);
    if (link) link.focus({ preventScroll: false });
  });
  route();
}
