// a click on a head sorts its table by that column, a second one the other way; AVG stays last
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], number = text => parseFloat(text.replace("−", "-"));
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      const key = row => row.cells[i].textContent.trim();
      const compare = (a, b) => isNaN(number(a)) || isNaN(number(b))
        ? (a === "") - (b === "") || down * a.localeCompare(b) : down * (number(a) - number(b));
      const last = row => row.className === "average";
      body.append(...[...body.rows].sort((a, b) => last(a) - last(b) || compare(key(a), key(b))));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
