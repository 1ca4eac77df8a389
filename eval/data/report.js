"use strict";
// The list of trials: filters, counts, sorting, pages, and what was recorded. All text from the run goes
// through textContent; the state of the filters stands in the page's address, after the "#".
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { columns, rows } = data;
  if (!rows.length) return;
  const PAGE = 25;
  const at = Object.fromEntries(columns.map((column, index) => [column.key, index]));
  const facets = columns.filter((column) => column.values && column.values.length > 1);
  const shown = columns.filter((column) => !column.values || column.values.length > 1);
  const figures = new Map();
  for (const figure of document.querySelectorAll("figure[data-row]")) {
    const row = Number(figure.dataset.row);
    figures.set(row, [...(figures.get(row) || []), figure]);
  }
  const plays = new Set([...figures].filter(([, list]) => list.some((one) => one.querySelector("img, video"))).map(([row]) => row));
  let chosen = new Map(), sort = null, down = false, first = 0, open = new Set(), ignored = [], found = [];

  const by = (id) => document.getElementById(id);
  const make = (tag, text, set = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(set)) element.setAttribute(key, value);
    return element;
  };
  const value = (row, column) => {
    const held = row[at[column.key]];
    return column.values ? column.values[held] : held;
  };
  const spoken = (text) => (text === "" ? "(none)" : String(text));
  const named = (row) => data.trial.map((key) => value(row, columns[at[key]])).filter((part) => part !== "").join(" ");

  // --- the state in the address -------------------------------------------------------------------------
  function read() {
    const text = location.hash.slice(1);
    const asked = text.includes("=") ? text : text === "all" || !data.start ? "" : data.start;
    chosen = new Map();
    ignored = [];
    sort = null;
    down = false;
    for (const [key, wanted] of new URLSearchParams(asked)) {
      const column = columns[at[key]];
      if (key === "sort") {
        down = wanted.startsWith("-");
        sort = columns.find((one) => one.key === wanted.slice(down ? 1 : 0)) || null;
      } else if (column && column.values && column.values.map(String).includes(wanted)) {
        if (!chosen.has(key)) chosen.set(key, new Set());
        chosen.get(key).add(column.values.map(String).indexOf(wanted));
      } else if (column) {
        ignored.push(`${key} ${wanted}`);
      }
    }
    first = 0;
    open = new Set();
  }

  function write() {
    const parts = new URLSearchParams();
    for (const [key, values] of chosen) {
      for (const index of values) parts.append(key, columns[at[key]].values[index]);
    }
    if (sort) parts.append("sort", (down ? "-" : "") + sort.key);
    const text = parts.toString() || (data.start ? "all" : "");
    history.replaceState(null, "", text ? `#${text}` : location.href.split("#")[0]);
  }

  // --- what the filters leave ---------------------------------------------------------------------------
  function filter() {
    const counts = new Map(facets.map((column) => [column.key, column.values.map(() => 0)]));
    const active = [...chosen].filter(([, values]) => values.size);
    found = [];
    rows.forEach((row, index) => {
      // A value's count is of the trials that all other filters leave.
      const failed = active.filter(([key, values]) => !values.has(row[at[key]])).map(([key]) => key);
      if (!failed.length) found.push(index);
      for (const { key } of facets) {
        if (!failed.length || (failed.length === 1 && failed[0] === key)) counts.get(key)[row[at[key]]] += 1;
      }
    });
    if (sort) {
      const place = at[sort.key], sign = down ? -1 : 1;
      found.sort((a, b) => {
        const [x, y] = [rows[a][place], rows[b][place]];
        if (x === y) return a - b;
        if (x === null || y === null) return x === null ? 1 : -1; // what is unknown comes last, both ways
        return sign * (x - y);
      });
    }
    return counts;
  }

  // Wilson's interval over situations; simedit.eval.metrics.wilson explains it.
  function interval(groups) {
    const sizes = groups.map(([, held]) => held);
    const n = sizes.reduce((a, b) => a + b, 0), won = groups.reduce((a, [one]) => a + one, 0);
    const rate = won / n, z = data.z;
    const clusters = n ** 2 / sizes.reduce((a, b) => a + b ** 2, 0);
    let effective = clusters;
    if (clusters > 1) {
      const spread = groups.reduce((a, [one, held]) => a + (one - rate * held) ** 2, 0);
      const variance = (clusters / (clusters - 1)) * (spread / n ** 2);
      if (variance > 0) {
        effective = Math.min(Math.max((rate * (1 - rate)) / variance * few(clusters - 1) ** 2, clusters), n);
      }
    }
    const middle = rate + z ** 2 / (2 * effective);
    const half = z * Math.sqrt((rate * (1 - rate)) / effective + z ** 2 / (4 * effective ** 2));
    const [low, high] = [-1, 1].map((sign) => (middle + sign * half) / (1 + z ** 2 / effective));
    return [Math.max(0, Math.min(rate, low)), Math.min(1, Math.max(rate, high))];
  }

  // Few clusters say less of their own spread: the normal quantile over Student's, between tabled degrees.
  function few(degrees) {
    const { per, values } = data.few, place = Math.min(degrees * per, values.length - 1);
    const below = Math.floor(place), above = Math.min(below + 1, values.length - 1);
    return values[below] + (place - below) * (values[above] - values[below]);
  }

  function rate({ label, key }) {
    const clusters = new Map();
    let errors = 0, won = 0, n = 0;
    for (const index of found) {
      const row = rows[index], outcome = value(row, columns[at[key]]);
      if (outcome === "error") errors += 1;
      if (outcome !== "success" && outcome !== "failure") continue;
      const place = data.situation.map((part) => row[at[part]]).join();
      if (!clusters.has(place)) clusters.set(place, [0, 0]);
      clusters.get(place)[1] += 1;
      n += 1;
      if (outcome === "success") (won += 1), (clusters.get(place)[0] += 1);
    }
    const failed = errors ? `, ${errors} ${errors === 1 ? "error" : "errors"}` : "";
    if (!n) return `${label}: none finished${failed}`;
    // Of trials chosen by how they ended a rate says nothing.
    if ([...chosen.keys()].some((key) => columns[at[key]].signs)) return `${label}: ${won} of ${n} succeeded${failed}`;
    const [low, high] = interval([...clusters.values()]);
    return (
      `${label} ${(won / n).toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}] ` +
      `(${won} of ${n}; ${clusters.size} ${clusters.size === 1 ? "situation" : "situations"})${failed}`
    );
  }

  // --- drawing ------------------------------------------------------------------------------------------
  const boxes = new Map();
  function build() {
    for (const column of facets) {
      const set = make("fieldset"), chips = make("div", undefined, { class: "chips" });
      set.append(make("legend", column.label), chips);
      column.values.forEach((text, index) => {
        const label = make("label"), box = make("input", undefined, { type: "checkbox" });
        const count = make("span", "", { class: "count" });
        label.append(box, make("span", spoken(text)), count);
        chips.append(label);
        boxes.set(`${column.key} ${index}`, { box, count, label });
        box.addEventListener("change", () => {
          if (!chosen.has(column.key)) chosen.set(column.key, new Set());
          chosen.get(column.key)[box.checked ? "add" : "delete"](index);
          if (!chosen.get(column.key).size) chosen.delete(column.key);
          first = 0;
          changed();
        });
      });
      by("facets").append(set);
    }
    const head = make("tr");
    for (const column of shown) {
      const cell = make("th", undefined, { scope: "col", class: `of-${column.key}` });
      const button = make("button", column.label, { type: "button" });
      button.append(make("span", "", { class: "arrow", "aria-hidden": "true" }));
      button.addEventListener("click", () => {
        down = sort === column && !down;
        sort = column;
        first = 0;
        changed();
      });
      cell.append(button);
      head.append(cell);
    }
    head.append(make("th", "episode", { scope: "col" }));
    by("list").tHead.append(head);
    by("clear").addEventListener("click", () => {
      chosen = new Map();
      ignored = [];
      first = 0;
      changed();
      by("count").focus();
    });
    for (const [id, step] of [["before", -PAGE], ["after", PAGE]]) {
      by(id).addEventListener("click", () => {
        first += step;
        draw(filter());
        by("list").scrollIntoView({ block: "nearest" });
      });
    }
    by("controls").hidden = by("listing").hidden = false;
  }

  function changed() {
    write();
    draw(filter());
  }

  function draw(counts) {
    for (const column of facets) {
      column.values.forEach((_, index) => {
        const { box, count, label } = boxes.get(`${column.key} ${index}`);
        box.checked = Boolean(chosen.get(column.key)?.has(index));
        count.textContent = counts.get(column.key)[index];
        label.classList.toggle("nothing", !counts.get(column.key)[index]);
      });
    }
    const parts = [`${found.length} of ${rows.length} trials shown`];
    if (found.length) parts.push(...data.rates.map(rate));
    const recorded = found.filter((index) => plays.has(index)).length;
    if (found.length && plays.size) parts.push(`${recorded} recorded ${recorded === 1 ? "episode" : "episodes"} below`);
    if (ignored.length) parts.push(`not in this page and so ignored: ${ignored.join(", ")}`);
    by("count").textContent = parts.join(" · ") + (found.length ? "" : ": no trial is in all of these filters");
    by("clear").hidden = !chosen.size && !ignored.length;

    [...by("list").tHead.rows[0].cells].slice(0, -1).forEach((cell, index) => {
      const sorted = sort === shown[index];
      if (sorted) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.querySelector(".arrow").textContent = sorted ? (down ? " ▼" : " ▲") : "";
    });
    first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / PAGE) * PAGE));
    const part = printing ? found : found.slice(first, first + PAGE);
    by("list").tBodies[0].replaceChildren(...part.flatMap(line));
    by("list").hidden = !found.length;
    by("pages").hidden = found.length <= PAGE;
    by("where").textContent = `${first + 1} to ${Math.min(first + PAGE, found.length)} of ${found.length}`;
    by("before").disabled = first === 0;
    by("after").disabled = first + PAGE >= found.length;

    const kept = new Set(found);
    for (const [row, list] of figures) for (const figure of list) figure.hidden = !kept.has(row);
    if (figures.size) by("unrecorded").hidden = recorded > 0;
  }

  const SIGNS = { success: "✓", failure: "✗", error: "!", gained: "▲", lost: "▼" };
  function line(index) {
    const row = rows[index], tr = make("tr");
    for (const column of shown) {
      const held = value(row, column);
      const cell = make("td", undefined, { "data-of": column.label, class: `of-${column.key}` });
      if (SIGNS[held] && column.signs) {
        cell.append(make("span", SIGNS[held], { class: `sign ${held}`, "aria-hidden": "true" }), ` ${held}`);
      } else {
        cell.textContent = held === null || held === "" ? "–" : column.digits ? held.toFixed(column.digits) : held;
      }
      tr.append(cell);
    }
    const label = plays.has(index) ? "▶ play" : "details";
    const button = make("button", label, { type: "button", "aria-expanded": open.has(index), "aria-label": `${label}: ${named(row)}` });
    const cell = make("td", undefined, { class: "of-episode" });
    cell.append(button);
    tr.append(cell);
    button.addEventListener("click", () => {
      const opened = !open.has(index);
      open[opened ? "add" : "delete"](index);
      button.setAttribute("aria-expanded", opened);
      if (!opened) return tr.nextSibling.remove();
      const more = details(index);
      tr.after(more);
      // Whoever asked for little motion starts the video by its own button.
      if (!matchMedia("(prefers-reduced-motion: reduce)").matches) more.querySelector("video")?.play().catch(() => {});
    });
    return open.has(index) && !printing ? [tr, details(index)] : [tr];
  }

  function details(index) {
    const row = rows[index], tr = make("tr", undefined, { class: "details" });
    const cell = make("td", undefined, { colspan: shown.length + 1 });
    tr.append(cell);
    cell.append(make("p", named(row), { class: "of" }));
    for (const [label, text] of row[columns.length] || []) cell.append(make("p", `${label}: ${text}`, { class: "message" }));
    for (const figure of figures.get(index) || []) {
      const copy = figure.cloneNode(true);
      copy.hidden = false;
      copy.removeAttribute("data-row");
      cell.append(copy);
    }
    if (!plays.has(index)) {
      cell.append(make("p", "No recording of this trial in this page."));
      if (data.policies) {
        cell.append(make("p", "With the config at the end of this page saved as study.yaml, this plays the trial again and records it:"));
        cell.append(make("code", command(row), { class: "command" }));
      } else {
        cell.append(make("p", "The report of each run gives the command that records it."));
      }
    }
    return tr;
  }

  function command(row) {
    const of = Object.fromEntries(columns.map((column) => [column.key, value(row, column)]));
    const quoted = (text) => (/^[\w.=,:[\]-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
    const settings = [
      `policies=${JSON.stringify({ [of.policy]: data.policies[of.policy] })}`,
      `domains=[${of.domain}]`,
      ...(of.variant ? [`variants={${of.domain}: [${of.variant}]}`] : []),
      ...(of.style ? [`styles=${JSON.stringify([of.style])}`] : []),
      ...["task", "seed"].map((key) => `${key}s=[${of[key]}]`),
      ...data.axes.map((axis) => `scenes.${axis}=[${of[axis]}]`),
      ...(of.domain === "edited" ? [`editor.seeds=[${of.seed}]`] : []),
      "real={source: none}",
      "report={videos: 1, strips: 1}",
    ];
    return `simedit-eval run --config study.yaml --out episode --set ${settings.map(quoted).join(" ")}`;
  }

  // --- print: everything open, every row ------------------------------------------------------------------
  let printing = false, closed = [];
  function print(now) {
    if (printing === now) return;
    printing = now;
    if (now) {
      closed = [...document.querySelectorAll("details:not([open])")];
      for (const one of closed) one.open = true;
    } else {
      for (const one of closed) one.open = false;
    }
    for (const video of document.querySelectorAll("video")) video.controls = !now;
    draw(filter());
  }
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  matchMedia("print").addEventListener("change", (event) => print(event.matches));

  function arrive(go) {
    read();
    draw(filter());
    if (!go) return;
    by("trials").scrollIntoView();
    by("trials").focus({ preventScroll: true });
  }
  // A link to the filters that are already on changes no address, and is to lead there all the same.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.show");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const before = location.hash;
    location.hash = link.getAttribute("href");
    if (location.hash === before) arrive(true); // else "hashchange" does it
  });
  addEventListener("hashchange", () => {
    const filters = location.hash.includes("=");
    if (filters || location.hash === "" || location.hash === "#all") arrive(filters);
  });
  build();
  arrive(location.hash.includes("="));
})();
