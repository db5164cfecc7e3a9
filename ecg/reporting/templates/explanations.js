const sections = [...document.querySelectorAll("section")];
function show() {
  let id = location.hash.slice(1);
  try { id = decodeURIComponent(id); } catch { /* no anchor of this page */ }
  const target = document.getElementById(id);
  const section = target && target.closest("section") || sections.find(s => s.dataset.n > 0)
    || sections[0];
  for (const s of sections) s.hidden = s !== section;
  for (const a of document.querySelectorAll("nav a")) {
    if (decodeURIComponent(a.hash) === "#" + section.id) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  for (const part of section.children) {  // the overview of the class, or one record
    part.hidden = target && target !== section ? part !== target : part.tagName === "ARTICLE";
  }
  scrollTo(0, 0);
}
addEventListener("hashchange", show);
show();
