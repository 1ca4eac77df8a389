"use strict";
// The pictures in the order of a metric's values. All names go through textContent.
(() => {
  const { metrics, editors, values, names } = JSON.parse(document.getElementById("data").textContent);
  const cards = [...document.querySelectorAll(".card[data-image]")];
  if (!cards.length || !metrics.length) return;
  const by = (id) => document.getElementById(id);
  const [metric, editor, order] = ["metric", "editor", "order"].map(by);
  const fill = (select, texts) => {
    for (const text of texts) select.append(new Option(text, text));
  };
  fill(metric, metrics.map((one) => one.name));
  fill(editor, editors);
  if (editors.length > 1) fill(editor, editors.slice(1).map((name) => `${name} \u2212 ${editors[0]}`));
  by("sort").hidden = false;

  const shown = (value) => (value === null ? "undefined" : value.toPrecision(3));
  function keys() {
    const rows = values[metric.value], at = editor.selectedIndex;
    if (at < editors.length) return rows[at];
    const row = rows[at - editors.length + 1];
    return row.map((value, i) => (value === null || rows[0][i] === null ? null : value - rows[0][i]));
  }

  function draw() {
    const found = keys(), higher = metrics.find((one) => one.name === metric.value).higher;
    const sign = (order.value === "worst" ? 1 : -1) * (higher ? 1 : -1);
    const rank = (a, b) => {
      const [x, y] = [a, b].map((card) => found[Number(card.dataset.image)]);
      const named = Number(a.dataset.image) - Number(b.dataset.image);
      if (order.value === "name" || x === y) return named;
      if (x === null || y === null) return x === null ? 1 : -1; // what is undefined comes last in either order
      return sign * (x - y);
    };
    for (const card of cards.sort(rank)) {
      const i = Number(card.dataset.image);
      const told = editors.map((name, g) => `${name} ${shown(values[metric.value][g][i])}`);
      const apart = editor.selectedIndex < editors.length ? [] : [`${editor.value}: ${shown(found[i])}`];
      card.querySelector("figcaption").textContent = `${names[i]} \u00b7 ${metric.value}: ${[...told, ...apart].join(", ")}`;
      card.parentElement.append(card);
    }
    by("told").textContent = `${cards.length} of ${names.length} images, ${order.selectedOptions[0].text}`;
  }
  for (const select of [metric, editor, order]) select.addEventListener("change", draw);
  draw();
})();
