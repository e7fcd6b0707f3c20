"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  table.classList.add("sorts");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.value;
  heads.forEach((head, column) => {
    if (!body.rows.length || key(body.rows[0], column) === undefined) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        const [m, n] = [Number(x), Number(y)];
        const order = x !== "" && y !== "" && !Number.isNaN(m - n) ? m - n : x.localeCompare(y);
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
