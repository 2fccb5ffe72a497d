// Puts the parts together; charts are drawn when they come into sight.

const THEMES = ["auto", "light", "dark"];

function themes() {
  const button = document.getElementById("theme");
  let kept = "auto";
  try { kept = localStorage.getItem("bench-theme") || "auto"; } catch { /* a page from a file may not remember */ }
  const apply = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.lastElementChild.textContent = name;
    button.setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}`);
    kept = name;
  };
  button.addEventListener("click", () => {
    apply(THEMES[(THEMES.indexOf(kept) + 1) % THEMES.length]);
    try { localStorage.setItem("bench-theme", kept); } catch { /* as above */ }
  });
  apply(THEMES.includes(kept) ? kept : "auto");
}

const seen = new Set(), stale = new Set(boards);

function redraw() {
  for (const board of boards) {
    if (seen.has(board)) draw(board);
    else stale.add(board);
  }
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const board = boards.find(({ root }) => root.contains(target));
    if (isIntersecting) seen.add(board);
    else seen.delete(board);
    if (isIntersecting && stale.delete(board)) draw(board);
    if (!isIntersecting) stale.add(board);
  }
}, { rootMargin: "600px" });

themes();
dress();
boards.forEach(sortable);
let waiting = 0;
controls(() => { clearTimeout(waiting); waiting = setTimeout(redraw, 80); });
filter();
records();
const across = document.getElementById("profiles");
if (across) across.append(...data.profiles.map(profileChart));
for (const { root } of boards) watcher.observe(root.querySelector(".plots"));
document.documentElement.dataset.ready = "";
