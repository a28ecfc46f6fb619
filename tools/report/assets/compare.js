"use strict";
// Without this script the page is whole: it sorts what stands there.
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const theme = document.getElementById("theme");
  let chosen = 0;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    if (chosen === 0) delete root.dataset.theme;
    else root.dataset.theme = themes[chosen];
    theme.textContent = `Theme: ${themes[chosen]}`;
  });

  for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const number = (text) => Number.parseFloat(text.replace("−", "-"));
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const name = head.textContent;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = (row) => row.cells[column].textContent.trim();
        const numeric = [...body.rows].every((row) => text(row) === "" || text(row) === "–" || !Number.isNaN(number(text(row))));
        // What has no value comes last, either way.
        const order = (a, b) => {
          const [x, y] = [text(a), text(b)];
          const empty = (value) => (value === "" || value === "–" ? 1 : 0);
          if (empty(x) || empty(y)) return empty(x) - empty(y);
          const sign = numeric ? number(x) - number(y) : x.localeCompare(y, "en", { numeric: true });
          return down ? -sign : sign;
        };
        body.replaceChildren(...[...body.rows].sort(order));
      });
    });
  }

  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")].filter((one) => one.querySelectorAll("tr").length <= 80);
    unfolded.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => unfolded.forEach((one) => (one.open = false)));
})();
