"use strict";
// Without this script the page is whole: it filters, sorts and enlarges what stands there.
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // Theme: as the system has it, light, dark.
  const themes = ["auto", "light", "dark"];
  const theme = $("theme");
  let chosen = 0;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    if (chosen === 0) delete root.dataset.theme;
    else root.dataset.theme = themes[chosen];
    theme.textContent = `Theme: ${themes[chosen]}`;
  });

  // Everything folded away is printed, too, but for tables of pages: samples.parquet has those.
  const LONGEST = 80;
  const printed = (one) => !one.closest(".card") && one.querySelectorAll("tr").length <= LONGEST;
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")].filter(printed);
    unfolded.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => unfolded.forEach((one) => (one.open = false)));

  const copy = $("copy");
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    const text = $("command");
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      copy.textContent = "Selected";
    }
  });

  // Masks: one state, two sets of boxes.
  const masks = ["truth", "untuned", "tuned", "box"];
  const off = new Set();
  const boxes = [...document.querySelectorAll("input[data-mask]")];
  const setMask = (mask, shown) => {
    if (shown) off.delete(mask);
    else off.add(mask);
    document.body.dataset.off = [...off].join(" ");
    boxes.filter((box) => box.dataset.mask === mask).forEach((box) => (box.checked = shown));
  };
  // A browser may restore what was ticked before the page was loaded again.
  masks.forEach((mask) => setMask(mask, true));
  boxes.forEach((box) => box.addEventListener("change", () => setMask(box.dataset.mask, box.checked)));

  // Gallery.
  const data = JSON.parse($("cases").textContent);
  const list = $("cards");
  const cards = [...list.children];
  const orders = {
    worst: (a, b) => a - b,
    best: (a, b) => b - a,
    improved: (a, b) => (data[b].gain ?? -2) - (data[a].gain ?? -2) || a - b,
    worsened: (a, b) => (data[a].gain ?? 2) - (data[b].gain ?? 2) || a - b,
  };
  let shown = [];
  const number = (id, otherwise) => {
    const value = $(id).valueAsNumber;
    return Number.isNaN(value) ? otherwise : value;
  };
  const arrange = () => {
    const [size, flag, low, high] = [$("size").value, $("flag").value, number("low", 0), number("high", 1)];
    const fits = ({ dice, size: own, flags }) =>
      (!size || size === own) &&
      (!flag || (flag === "none" ? flags.length === 0 : flags.includes(flag))) &&
      (dice ?? 0) >= low && (dice ?? 0) <= high;
    shown = data.map((_, index) => index).filter((index) => fits(data[index])).sort(orders[$("sort").value]);
    const visible = new Set(shown);
    cards.forEach((card, index) => (card.hidden = !visible.has(index)));
    list.append(...shown.map((index) => cards[index]));
    $("shown").textContent = `${shown.length} of ${data.length} targets shown`;
  };
  const controls = ["sort", "size", "flag", "low", "high"].map($);
  controls.forEach((control) => control.addEventListener("input", arrange));
  $("reset").addEventListener("click", () => {
    $("sort").value = "worst";
    $("size").value = $("flag").value = "";
    $("low").value = 0;
    $("high").value = 1;
    arrange();
  });
  $("tools").hidden = false;
  arrange();

  // Large view.
  const dialog = $("large");
  let place = 0;
  const show = (to) => {
    place = (to + shown.length) % shown.length;
    const card = cards[shown[place]];
    $("large-title").textContent = data[shown[place]].id;
    $("large-place").textContent = `${place + 1} of ${shown.length}`;
    const picture = card.querySelector(".picture").cloneNode(true);
    $("large-picture").replaceChildren(picture);
    const figures = [...card.querySelector("details").children].slice(1);
    const chips = card.querySelector(".chips");
    $("large-figures").replaceChildren(...[...figures, chips].map((one) => one.cloneNode(true)));
  };
  list.addEventListener("click", (event) => {
    const open = event.target.closest(".open");
    if (!open) return;
    show(shown.indexOf(Number(open.closest(".card").dataset.index)));
    dialog.showModal();
  });
  $("close").addEventListener("click", () => dialog.close());
  $("previous").addEventListener("click", () => show(place - 1));
  $("next").addEventListener("click", () => show(place + 1));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => cards[shown[place]]?.querySelector(".open").focus());

  const keys = { t: "truth", u: "untuned", n: "tuned", b: "box" };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input:not([type=checkbox])")) return;
    if (!dialog.open && !event.target.closest("#gallery")) return;
    const mask = keys[event.key.toLowerCase()];
    if (mask) setMask(mask, off.has(mask));
    else if (dialog.open && event.key === "ArrowLeft") show(place - 1);
    else if (dialog.open && event.key === "ArrowRight") show(place + 1);
    else return;
    event.preventDefault();
  });
})();
