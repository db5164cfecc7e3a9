// tables whose cells lead to classes: a click on a head sorts, a second one the other way; a search
// leaves the rows whose first cell holds its text; AVG stays
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], number = text => parseFloat(text.replace("−", "-"));
  const last = row => row.className === "average";
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      const key = row => row.cells[i].textContent.trim();
      const compare = (a, b) => isNaN(number(a)) || isNaN(number(b))
        ? (a === "") - (b === "") || down * a.localeCompare(b) : down * (number(a) - number(b));
      body.append(...[...body.rows].sort((a, b) => last(a) - last(b) || compare(key(a), key(b))));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
  const search = document.createElement("input");
  Object.assign(search, {type: "search", placeholder: "find a class"});
  search.setAttribute("aria-label", "find a class");
  search.addEventListener("input", () => {
    const text = search.value.toLowerCase();
    for (const row of body.rows)
      row.hidden = !last(row) && !row.cells[0].textContent.toLowerCase().includes(text);
  });
  table.parentElement.before(search);
}
// one class at a time; a link to a class, or to its records, shows it
const classes = [...document.querySelectorAll("article.class")];
function show() {
  let id = location.hash.slice(1);
  try { id = decodeURIComponent(id); } catch { /* no anchor of this page */ }
  const target = document.getElementById(id), part = target && target.closest("article.class");
  const shown = part || classes.find(p => !p.hidden) || classes[0];
  for (const p of classes) p.hidden = p !== shown;
  for (const a of document.querySelectorAll("nav.tabs a")) {
    if (decodeURIComponent(a.hash) === "#" + shown.id) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  if (target && target.tagName === "DETAILS") target.open = true;
  if (part && part === target) document.querySelector("nav.tabs").scrollIntoView();
  else if (part) target.scrollIntoView({block: "center"});
}
if (classes.length) {
  addEventListener("hashchange", show);
  show();
}
