// Unpacks the numbers of the page, and shows charts, items and groups.
(async () => {
  const { known, make, number, percent, decimalsOf, ticks, moment, timeTicks, weeks, chart } = charts;
  const get = (id) => document.getElementById(id);

  // The numbers: a JSON header, then columns, as `columns.py` packs them ----------------------------------

  async function unpack(text) {
    const binary = atob(text), packed = new Uint8Array(binary.length);
    for (let i = 0; i < packed.length; i++) packed[i] = binary.charCodeAt(i);  // much faster than Uint8Array.from
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const buffer = await new Response(stream).arrayBuffer();
    const length = new DataView(buffer).getUint32(0, true);
    return [JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))), buffer, 4 + length];
  }

  if (typeof DecompressionStream === "undefined") {
    get("problem").textContent = "This browser is too old to unpack the numbers. Open the page in a browser of 2023 or later.";
    return;
  }
  const [data, buffer, base] = await unpack(get("report-data").textContent);
  const column = (ref) => (ref.kind === "i32"
    ? new Int32Array(buffer, base + ref.at, ref.length)
    : new Float32Array(buffer, base + ref.at, ref.length));
  // Row of a table of rounded numbers; NaN where a value is not known.
  function row(ref, i) {
    const { at, rows, width } = ref;
    const low = new Uint8Array(buffer, base + at + i * width, width);
    const high = new Int8Array(buffer, base + at + (rows + i) * width, width);
    const unit = Number(column(ref.unit)[i].toPrecision(6));
    const inverse = Math.round(1 / unit);  // whole / 100 is exact where whole * 0.01 is not
    return Array.from(low, (byte, n) => {
      const whole = high[n] * 256 + byte;
      return whole === -32768 ? NaN : unit < 1 ? whole / inverse : whole * unit;
    });
  }

  // Views: names, items and groups, each ready to sort and search -----------------------------------------

  for (const view of data.views) {
    const parts = view.keys.map((key) => [key.names, key.codes && column(key.codes)]);
    view.key = (i) => parts.map(([names, codes]) => names[codes ? codes[i] : i]);
    view.names = Array.from({ length: view.series }, (_, i) => view.key(i).join("/"));
    view.lower = view.names.map((name) => name.toLowerCase());
    view.at = column(view.place);
    view.ends = column(view.cutoff);
    for (const [name, ref] of Object.entries(view.items)) view[name] = column(ref);
    view.change = view.total.map((v, i) => (view.previous[i] > 0 ? v / view.previous[i] - 1 : NaN));
    view.spread = view.margin.map((v, i) => (view.total[i] ? v / Math.abs(view.total[i]) : NaN));
    view.error = view.missed.map((v, i) => (view.size[i] > 0 ? v / view.size[i] : NaN));
    view.naiveError = view.naiveMissed.map((v, i) => (view.size[i] > 0 ? v / view.size[i] : NaN));
    view.decimals = decimalsOf([view.total.reduce((a, b) => Math.max(a, Math.abs(b)), 0)]);
    for (const group of Object.values(view.groups)) {
      const codes = group.codes && column(group.codes);
      group.of = (i) => (codes ? codes[i] : i);
    }
    view.hasErrors = view.error.some(known);
    view.hasActual = view.actual !== null;
    view.before = view.hasActual ? "Actual" : `Last ${view.span}`;
    view.list = null;
  }

  // Colour and dash of a model, the same in every chart; the seasonal naive is the dashed one.
  const models = Object.keys(data.calibration);
  const others = models.filter((m) => m !== data.naive);
  function look(model) {
    if (model === data.naive) return { class: "naive" };
    const n = others.indexOf(model);
    return { style: `stroke:var(--c${n % 6})` + (n >= 6 ? ";stroke-dasharray:2 3" : "") };
  }

  // Charts ----------------------------------------------------------------------------------------------

  function calibration(box) {
    const levels = [...new Set(models.flatMap((m) => data.calibration[m][0]))].sort((a, b) => a - b);
    const shares = {};
    for (const m of models) {
      const [given, seen] = data.calibration[m];
      shares[m] = levels.map((l) => (given.includes(l) ? seen[given.indexOf(l)] : null));
    }
    const exact = (v) => `${+(100 * v).toFixed(1)} %`;
    chart(box, {
      x: [0, ...levels, 1], tall: 380, low: 0, high: 1, yText: exact,
      xTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, exact(v)]),
      xName: "quantile", yName: "share of values at or below",
      lines: [
        { name: "ideal", at: 0, values: [0, ...levels, 1], look: { class: "diagonal" } },
        ...models.map((m) => ({ name: m, at: 1, values: shares[m], look: look(m) })),
      ],
      bands: [], first: 1,
      label: "Share of values at or below each quantile, for each model. The table below has the numbers.",
      say: (i) => {
        if (i === 0 || i > levels.length) return "";
        return `${exact(levels[i - 1])} quantile: ` + models.map((m) => `${m} ${known(shares[m][i - 1]) ? exact(shares[m][i - 1]) : "n/a"}`).join(" · ");
      },
    });
  }

  function steps(box) {
    const count = data.steps[models[0]].length;
    const x = Array.from({ length: count }, (_, i) => i + 1);
    const most = Math.max(3, Math.floor(box.clientWidth / 90));
    const marks = count <= most ? x : ticks(1, count, most).filter((t) => t >= 1 && Number.isInteger(t));
    chart(box, {
      x, xTicks: marks.map((t) => [t, String(t)]), xName: "steps ahead", yName: "wQL",
      lines: models.map((m) => ({ name: m, at: 0, values: data.steps[m], look: look(m) })),
      bands: [], first: 0,
      label: "Error at each step ahead, for each model. The table below has the numbers.",
      say: (i) => `${i + 1} ahead: ` + models.map((m) => `${m} ${known(data.steps[m][i]) ? data.steps[m][i].toPrecision(3) : "n/a"}`).join(" · "),
    });
  }

  function total(box) {
    const view = data.views[0], sums = view.sums;
    const first = sums.past.findIndex(known);
    const past = first < 0 ? [] : sums.past.slice(first);
    const begin = sums.cutoff + 1 - past.length - view.firstStep;
    const labels = view.labels.slice(begin, begin + past.length + view.horizon);
    const decimals = decimalsOf([...past, ...sums.mean].map((v) => (known(v) ? Math.round(v * 1e6) / 1e6 : v)));
    const at = past.length;
    const actual = sums.actual.some(known);
    const lines = [];
    if (at) lines.push({ name: "history", at: 0, values: past, look: { class: "past" } });
    lines.push({ name: "forecast (sum of the means)", at, values: sums.mean, from: past[at - 1], look: { class: "median" } });
    if (actual) lines.push({ name: "actual", at, values: sums.actual, look: { class: "actual" }, dots: true });
    const some = sums.series < view.series ? ` (${sums.series.toLocaleString("en")} of ${view.series.toLocaleString("en")} items: those with the last date)` : "";
    chart(box, {
      x: labels.map((_, i) => i), tall: 280, xTicks: timeTicks(labels, Math.max(3, Math.floor(box.clientWidth / 90))),
      minor: weeks(labels), xName: view.time, yName: view.target + some, lines, bands: [],
      cutoff: at ? at - 1 : null, first: at,
      label: `Total of ${view.target}: history and forecast.`,
      say: (i) => {
        const v = i < at ? past[i] : sums.mean[i - at];
        const seen = i >= at && actual ? ` · actual ${number(sums.actual[i - at], decimals)}` : "";
        return `${moment(labels[i])}: ${i < at ? "" : "forecast "}${known(v) ? number(v, decimals) : "not observed"}${seen}`;
      },
    });
  }

  const state = { view: 0, model: null, item: 0, page: 0, sort: "total", down: true, query: "", filter: "" };
  const PER_PAGE = 50;

  function item(box) {
    const view = data.views[state.view], i = state.item, r = view.at[i];
    get("item-title").textContent = view.names[i];
    get("item-facts").textContent = facts(view, i);
    const numbers = get("item-numbers");
    if (r < 0) {
      box.replaceChildren(make("p", { class: "muted" }, "The page holds the charts of the largest items only; the table has the totals of all."));
      numbers.replaceChildren();
      return;
    }
    const fan = view.fans[state.model];
    let past = row(view.past, r);
    past = past.slice(Math.max(0, past.findIndex(known)));
    if (!past.some(known)) past = [];
    const at = past.length, begin = view.ends[i] + 1 - at - view.firstStep;
    const labels = view.labels.slice(Math.max(0, begin), begin + at + view.horizon);
    const mean = row(fan.mean, r), median = fan.median && row(fan.median, r);
    const bands = fan.bands.map(([low, high], n) => ({ share: view.bands[n], low: row(low, r), high: row(high, r) }));
    const actual = view.actual ? row(view.actual, r) : null;
    const seen = actual !== null && actual.some(known);
    const shown = [...past, ...(seen ? actual : []), ...mean, ...(median || []), ...bands.flatMap((b) => [...b.low, ...b.high])];
    const decimals = decimalsOf(shown);
    const from = at ? past[at - 1] : null;
    const lines = [];
    const drawn = bands.map((b, n) => ({
      name: `${percent(b.share)} band`, at, low: b.low, high: b.high, from, look: { class: "band" }, swatch: n + 1,
    }));
    const held = heldOut(view, i);
    if (held && held.cutoff + 1 - view.firstStep - begin >= 0) {
      const start = held.cutoff + 1 - view.firstStep - begin;
      const fits = (values) => values.slice(0, Math.max(0, at - start));
      drawn.push({ name: "80 % band then", at: start, low: fits(held.low), high: fits(held.high), look: { class: "band then" } });
      lines.push({ name: "forecast made then, held out", at: start, values: fits(held.median), look: { class: "then" } });
    }
    if (at) lines.push({ name: "history", at: 0, values: past, look: { class: "past" } });
    if (median) lines.push({ name: "median", at, values: median, from, look: { class: "median" } });
    lines.push({ name: "mean", at, values: mean, from: median ? null : from, look: { class: "mean" } });
    if (seen) lines.push({ name: "actual", at, values: actual, look: { class: "actual" }, dots: true });
    const lanes = view.known.map(({ name, values }) => {
      const all = row(values, r);
      return { name, values: all.slice(all.length - at - view.horizon) };
    }).filter(({ values }) => values.some(known));
    const text = (v) => number(v, decimals);
    const parts = (n) => [
      ...(seen ? [["actual", text(actual[n])]] : []),
      ...(median ? [["median", text(median[n])]] : []),
      ["mean", text(mean[n])],
      ...bands.map((b) => [`${percent(b.share)} band`, `${text(b.low[n])} to ${text(b.high[n])}`]),
    ];
    chart(box, {
      x: labels.map((_, n) => n),
      xTicks: timeTicks(labels, Math.max(3, Math.floor(box.clientWidth / 90))), minor: weeks(labels),
      xName: view.time, yName: view.target, lines, bands: drawn, lanes, cutoff: at ? at - 1 : null, first: at,
      label: `${view.names[i]}: history and forecast of ${view.target} by ${state.model}. The table below has the numbers.`,
      say: (n) => {
        const covariates = lanes.filter(({ values }) => known(values[n])).map(({ name, values }) => `${name} ${number(values[n])}`);
        const values = n < at ? [known(past[n]) ? text(past[n]) : "not observed"] : parts(n - at).map((p) => p.join(" "));
        return `${moment(labels[n])}: ${[...values, ...covariates].join(" · ")}`;
      },
    });
    const table = make("table");
    const head = table.createTHead().insertRow();
    head.append(make("th", { scope: "col" }, view.time));
    for (const [name] of parts(0)) head.append(make("th", { scope: "col" }, name));
    const body = table.createTBody();
    labels.slice(at).forEach((label, n) => {
      const line = body.insertRow();
      line.append(make("th", { scope: "row" }, moment(label)));
      for (const [, value] of parts(n)) line.append(make("td", {}, value));
    });
    numbers.replaceChildren(table);
  }

  function heldOut(view, i) {
    if (!view.heldOut) return null;
    const r = column(view.heldOut.place)[i];
    if (r < 0) return null;
    const { cutoff, low, median, high } = view.heldOut;
    return { cutoff: column(cutoff)[r], low: row(low, r), median: row(median, r), high: row(high, r) };
  }

  // One item in a sentence: total, change, uncertainty, past error, groups.
  function facts(view, i) {
    const words = [`Forecast ${number(view.total[i])} ${view.target} over ${view.span}`];
    if (view.hasActual) words.push(`${number(view.previous[i])} observed`);
    else if (known(view.change[i])) words.push(`${percent(view.change[i], true)} against ${number(view.previous[i])} before`);
    if (known(view.spread[i])) words.push(`± ${percent(view.spread[i])} (${percent(view.bands[0])} band)`);
    if (known(view.error[i])) {
      const naive = known(view.naiveError[i]) ? `; repeating the last season: ${percent(view.naiveError[i])}` : "";
      words.push(`${view.hasActual ? "error" : "past error"} ${percent(view.error[i])}${naive}`);
    }
    const groups = Object.entries(view.groups).map(([name, group]) => `${name}: ${group.names[group.of(i)]}`);
    return words.concat(groups).join(" · ");
  }

  // The list of items -------------------------------------------------------------------------------------

  function columnsOf(view) {
    const size = (v) => number(v, view.decimals);
    return [
      ["name", "Item", null],
      ["previous", view.before, size],
      ["total", "Forecast", size],
      ...(view.hasActual ? [] : [["change", "Change", (v) => percent(v, true)]]),
      ["spread", "±", percent],
      ...(view.hasErrors ? [["error", view.hasActual ? "Error" : "Past error", percent]] : []),
    ];
  }

  function filtered() {
    const view = data.views[state.view];
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    const [group, code] = state.filter ? JSON.parse(state.filter) : [null, null];
    const list = [];
    for (let i = 0; i < view.series; i++) {
      if (group === "" && !view.flag[i]) continue;
      if (group && view.groups[group].of(i) !== code) continue;
      if (words.every((w) => view.lower[i].includes(w))) list.push(i);
    }
    if (state.sort === "name") list.sort((a, b) => (view.lower[a] < view.lower[b] ? -1 : 1) * (state.down ? -1 : 1));
    else {
      const values = view[state.sort];
      const sign = state.down ? -1 : 1;
      list.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
        return (x - y) * sign || a - b;
      });
    }
    return list;
  }

  function showList() {
    const view = data.views[state.view];
    view.list = filtered();
    const pages = Math.max(1, Math.ceil(view.list.length / PER_PAGE));
    state.page = Math.max(0, Math.min(state.page, pages - 1));
    const count = (n) => n.toLocaleString("en");
    get("count").textContent = view.list.length === view.series
      ? `${count(view.series)} items` : `${count(view.list.length)} of ${count(view.series)} items`;
    get("page").textContent = `Page ${count(state.page + 1)} of ${count(pages)}`;
    get("page-before").disabled = state.page === 0;
    get("page-after").disabled = state.page === pages - 1;
    document.querySelector(".pages").hidden = pages === 1;
    const table = get("item-table");
    const head = make("thead"), titles = make("tr"), columns = columnsOf(view);
    for (const [id, name] of columns) {
      const sorted = state.sort === id;
      const th = make("th", { scope: "col", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : "none" });
      const button = make("button", { type: "button", class: "sort" }, name + (sorted ? (state.down ? " ↓" : " ↑") : ""));
      button.addEventListener("click", () => {
        state.down = sorted ? !state.down : id !== "name";
        state.sort = id;
        state.page = 0;
        showList();
        table.querySelectorAll(".sort")[columns.findIndex(([c]) => c === id)].focus();
      });
      th.append(button);
      titles.append(th);
    }
    head.append(titles);
    const body = make("tbody");
    for (const i of view.list.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE)) {
      const line = body.insertRow();
      line.dataset.item = i;
      const th = make("th", { scope: "row" });
      const button = make("button", { type: "button", class: "link" }, view.names[i]);
      button.addEventListener("click", () => choose(i));
      th.append(button);
      line.append(th);
      for (const [id, , text] of columns.slice(1)) line.append(make("td", {}, known(view[id][i]) ? text(view[id][i]) : "–"));
    }
    table.replaceChildren(head, body);
    mark();
  }

  function mark() {
    for (const line of get("item-table").querySelectorAll("tbody tr")) {
      const chosen = +line.dataset.item === state.item;
      line.classList.toggle("chosen", chosen);
      if (chosen) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    }
  }

  const itemBox = document.querySelector('[data-chart="item"]');
  function choose(i, { scroll = matchMedia("(max-width: 1000px)").matches } = {}) {
    state.item = i;
    item(itemBox);
    mark();
    if (scroll) get("detail").scrollIntoView({ block: "start" });
  }
  function move(by) {
    const list = data.views[state.view].list;
    if (!list.length) return;
    const here = list.indexOf(state.item);
    const to = here < 0 ? 0 : (here + by + list.length) % list.length;
    if (Math.floor(to / PER_PAGE) !== state.page) {
      state.page = Math.floor(to / PER_PAGE);
      showList();
    }
    choose(list[to], { scroll: false });
  }

  // Groups ------------------------------------------------------------------------------------------------

  function showGroups() {
    const view = data.views[0], name = get("group-by").value, group = view.groups[name];
    const rows = group.names.map((title, code) => ({ title, code, items: 0, previous: 0, before: 0, total: 0, missed: 0, size: 0, naive: 0 }));
    for (let i = 0; i < view.series; i++) {
      const own = rows[group.of(i)];
      own.items += 1;
      own.total += view.total[i];
      if (known(view.previous[i])) {
        own.previous += view.previous[i];
        own.before += view.total[i];
      }
      if (known(view.missed[i]) && known(view.size[i])) {
        own.missed += view.missed[i];
        own.size += view.size[i];
        own.naive += view.naiveMissed[i];
      }
    }
    rows.sort((a, b) => b.total - a.total);
    const size = (v) => number(v, view.decimals);
    const errors = view.hasErrors ? ["Error", "Last season's error"] : [];
    const table = make("table");
    const head = table.createTHead().insertRow();
    for (const title of [name, "Items", view.before, "Forecast", view.hasActual ? "Bias" : "Change", ...errors]) {
      head.append(make("th", { scope: "col" }, title));
    }
    const body = table.createTBody();
    for (const one of rows) {
      const line = body.insertRow();
      const th = make("th", { scope: "row" });
      const button = make("button", { type: "button", class: "link" }, one.title);
      button.addEventListener("click", () => {
        if (state.view !== 0) { state.view = 0; refresh(); }
        state.filter = JSON.stringify([name, one.code]);
        state.page = 0;
        get("filter").value = state.filter;
        showList();
        get("items").scrollIntoView();
      });
      th.append(button);
      line.append(th);
      const share = (part, whole) => (whole > 0 ? percent(part / whole) : "–");
      const values = [number(one.items, 0), size(one.previous), size(one.total),
        one.previous > 0 ? percent(one.before / one.previous - 1, true) : "–",
        ...(errors.length ? [share(one.missed, one.size), share(one.naive, one.size)] : [])];
      for (const value of values) line.append(make("td", {}, value));
    }
    get("group-table").replaceChildren(...table.children);
  }

  // Download ------------------------------------------------------------------------------------------------

  function csv() {
    const view = data.views[state.view], fan = view.fans[state.model];
    const quote = (v) => (/[",\n\r]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
    const safe = (v) => quote(/^[=+\-@\t\r]/.test(v) ? `'${v}` : v);  // a spreadsheet would run a formula
    const low = view.bands.flatMap((b) => [`${+(100 * b).toFixed(1)}_low`, `${+(100 * b).toFixed(1)}_high`]);
    const lines = [[...view.keyNames, view.time, "mean", ...(fan.median ? ["median"] : []), ...low].map(safe).join(",")];
    for (const i of view.list) {
      const r = view.at[i];
      if (r < 0) continue;
      const values = [row(fan.mean, r), ...(fan.median ? [row(fan.median, r)] : []), ...fan.bands.flat().map((ref) => row(ref, r))];
      const key = view.key(i).map(safe).join(",");
      for (let h = 0; h < view.horizon; h++) {
        lines.push(`${key},${view.labels[view.ends[i] + 1 + h - view.firstStep]},${values.map((v) => v[h]).join(",")}`);
      }
    }
    return lines.join("\n") + "\n";
  }

  // Controls ------------------------------------------------------------------------------------------------

  function options(select, names, chosen) {
    select.replaceChildren(...names.map(([value, name]) => make("option", { value }, name)));
    select.value = String(chosen);
  }

  function refresh() {
    const view = data.views[state.view];
    if (!view.models.includes(state.model)) state.model = view.models[0];
    if (!columnsOf(view).some(([id]) => id === state.sort)) state.sort = "total";
    options(get("view"), data.views.map((v, i) => [i, v.label]), state.view);
    options(get("model"), view.models.map((m) => [m, m || "unnamed"]), state.model);
    get("view-label").hidden = data.views.length < 2;
    get("model-label").hidden = view.models.length < 2;
    const flagged = view.flag.some((v) => v);
    const groups = Object.entries(view.groups).map(([name, group]) => {
      const box = make("optgroup", { label: name });
      group.names.forEach((title, code) => box.append(make("option", { value: JSON.stringify([name, code]) }, title)));
      return box;
    });
    get("filter").replaceChildren(
      make("option", { value: "" }, "all items"),
      ...(flagged ? [make("option", { value: JSON.stringify(["", 0]) }, "items to look at")] : []), ...groups,
    );
    state.filter = "";
    state.page = 0;
    get("filter-label").hidden = !flagged && groups.length === 0;
    showList();
  }

  const makers = { calibration, steps, total, item };
  const boxes = [...document.querySelectorAll("[data-chart]")];
  const render = (box) => makers[box.dataset.chart](box);
  get("view").addEventListener("change", (e) => {
    state.view = +e.target.value;
    refresh();
    choose(data.views[state.view].list[0] ?? 0, { scroll: false });
  });
  get("model").addEventListener("change", (e) => { state.model = e.target.value; item(itemBox); });
  get("search").addEventListener("input", (e) => { state.query = e.target.value; state.page = 0; showList(); });
  get("search").addEventListener("keydown", (e) => {
    const list = data.views[state.view].list;
    if (e.key === "Enter" && list.length) choose(list[0]);
  });
  get("filter").addEventListener("change", (e) => { state.filter = e.target.value; state.page = 0; showList(); });
  get("page-before").addEventListener("click", () => { state.page -= 1; showList(); });
  get("page-after").addEventListener("click", () => { state.page += 1; showList(); });
  get("before").addEventListener("click", () => move(-1));
  get("after").addEventListener("click", () => move(1));
  get("download").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    make("a", { href: address, download: "forecast.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  for (const button of document.querySelectorAll("#attention [data-row]")) {
    button.addEventListener("click", () => {
      if (state.view !== 0) { state.view = 0; refresh(); }
      choose(+button.dataset.row, { scroll: false });
      get("detail").scrollIntoView({ block: "center" });
    });
  }
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
    if (e.key === "/") {
      e.preventDefault();
      get("search").focus();
    }
    if (e.key === "j") move(1);
    if (e.key === "k") move(-1);
  });
  get("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });
  if (get("group-by")) {
    options(get("group-by"), Object.keys(data.views[0].groups).map((name) => [name, name]), Object.keys(data.views[0].groups)[0]);
    get("group-by").addEventListener("change", showGroups);
    showGroups();
  }
  refresh();
  showOrders({
    data, column, view: data.views[0], tools: charts,
    choose: (i) => {
      if (state.view !== 0) { state.view = 0; refresh(); }
      choose(i, { scroll: false });
      get("detail").scrollIntoView({ block: "center" });
    },
  });
  state.item = data.views[0].list[0] ?? 0;
  mark();
  boxes.forEach(render);
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    boxes.forEach(render);
  });
  document.documentElement.dataset.ready = "";
})().catch((error) => {
  document.getElementById("problem").textContent = `The charts could not be drawn: ${error.message}`;
  throw error;
});
