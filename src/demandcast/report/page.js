"use strict";
// Draws the three charts from the numbers in the page. Text goes in as textContent, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const SVG = document.getElementById("svg-space").namespaceURI;
  const known = (v) => v !== null && v !== undefined;

  function make(tag, attributes = {}, text = null) {
    const node = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    if (text !== null) node.textContent = text;
    return node;
  }

  function draw(parent, tag, attributes = {}, text = null) {
    const node = document.createElementNS(SVG, tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    if (text !== null) node.textContent = text;
    parent.append(node);
    return node;
  }

  function number(v) {
    if (!known(v)) return "n/a";
    const digits = Math.abs(v) >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
    return v.toLocaleString("en", digits);
  }

  const percent = (v) => (known(v) ? `${+(100 * v).toFixed(1)} %` : "n/a");

  // Round values that span low..high, about `wanted` of them.
  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step + 0);  // + 0: no "-0"
    return found;
  }

  // Where a year begins, or a month, a day, an hour: the finest of them that fits.
  function timeTicks(labels, most) {
    const every = (list) => list.filter((_, n) => n % Math.ceil(list.length / most) === 0);
    if (!/^\d{4}-\d\d/.test(labels[0])) return every(labels.map((_, i) => [i, labels[i]]));
    let best = null;
    for (const cut of [4, 7, 10, 16]) {
      const found = [];
      labels.forEach((label, i) => {
        if (i > 0 && label.slice(0, cut) !== labels[i - 1].slice(0, cut)) {
          found.push([i, cut === 16 ? label.slice(5) : label.slice(0, cut)]);
        }
      });
      if (found.length >= 2 && (best === null || found.length <= most)) best = found;
    }
    return every(best || labels.map((label, i) => [i, label]));
  }

  // Colour and dash of a model, the same in every chart; the seasonal naive is always the dashed one.
  const models = Object.keys(data.calibration);
  const others = models.filter((m) => m !== data.naive);
  function look(model) {
    if (model === data.naive) return { class: "naive" };
    const n = others.indexOf(model);
    return { style: `stroke:var(--c${n % 6})` + (n >= 6 ? ";stroke-dasharray:2 3" : "") };
  }

  /* One chart. spec: x (positions), xTicks [[position, text]], xName, yName, yText, low/high (optional),
     lines [{name, at (first index), values, look}], bands [{name, at, low, high}],
     dots {name, at, values}, cutoff (position), say(index) -> text, label (for who cannot see it). */
  function chart(box, spec) {
    const kept = box.contains(document.activeElement) && document.activeElement.tagName === "svg";
    box.replaceChildren();
    const width = Math.max(280, Math.round(box.clientWidth || 800));
    const height = Math.round(Math.min(spec.tall || 340, Math.max(240, width * 0.62)));
    const flat = [...spec.lines, ...(spec.dots ? [spec.dots] : [])].flatMap((l) => l.values);
    const all = flat.concat(spec.bands.flatMap((b) => [...b.low, ...b.high])).filter(known);
    let low = known(spec.low) ? spec.low : Math.min(...all);
    let high = known(spec.high) ? spec.high : Math.max(...all);
    if (!known(spec.low)) {
      if (low > 0 && low < high * 0.5) low = 0;  // start at nothing where that costs little room
      const room = (high - low || Math.abs(high) || 1) * 0.06;
      low = low === 0 ? 0 : low - room;
      high += room;
    }
    const yTicks = ticks(low, high, Math.max(3, Math.round(height / 60)));
    const text = spec.yText || number;
    const left = 14 + 7.2 * Math.max(...yTicks.map((t) => text(t).length));
    const right = 14, top = 24, bottom = 40;
    const x0 = spec.x[0], x1 = spec.x[spec.x.length - 1];
    const X = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (width - left - right);
    const Y = (v) => top + (1 - (v - low) / (high - low || 1)) * (height - top - bottom);

    const svg = draw(box, "svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": spec.label,
    });
    for (const t of yTicks) {
      draw(svg, "line", { class: "grid", x1: left, x2: width - right, y1: Y(t), y2: Y(t) });
      draw(svg, "text", { x: left - 6, y: Y(t) + 4, "text-anchor": "end" }, text(t));
    }
    for (const [v, name] of spec.xTicks) {
      draw(svg, "line", { class: "axis", x1: X(v), x2: X(v), y1: height - bottom, y2: height - bottom + 4 });
      const anchor = X(v) < left + 24 ? "start" : X(v) > width - right - 24 ? "end" : "middle";
      draw(svg, "text", { x: X(v), y: height - bottom + 17, "text-anchor": anchor }, name);
    }
    draw(svg, "text", { x: 0, y: 13 }, spec.yName);
    draw(svg, "text", { x: width - right, y: height - 6, "text-anchor": "end" }, spec.xName);

    const point = (at, values, n) => `${X(spec.x[at + n]).toFixed(1)} ${Y(values[n]).toFixed(1)}`;
    for (const band of spec.bands) {
      const ends = band.low.map((_, n) => n);
      if (ends.length === 1) {
        const p = X(spec.x[band.at]);
        draw(svg, "path", { class: "band", d: `M${p - 4} ${Y(band.low[0])}H${p + 4}V${Y(band.high[0])}H${p - 4}Z` });
        continue;
      }
      const there = ends.map((n) => point(band.at, band.high, n));
      const back = ends.reverse().map((n) => point(band.at, band.low, n));
      draw(svg, "path", { class: "band", d: `M${there.concat(back).join("L")}Z` });
    }
    if (known(spec.cutoff)) {
      draw(svg, "line", { class: "cutoff", x1: X(spec.cutoff), x2: X(spec.cutoff), y1: top, y2: height - bottom });
    }
    for (const line of spec.lines) {
      let d = "";
      line.values.forEach((v, n) => {
        if (!known(v)) return;
        const alone = !known(line.values[n - 1]) && !known(line.values[n + 1]);
        d += (known(line.values[n - 1]) && n > 0 ? "L" : "M") + point(line.at, line.values, n);
        if (alone) draw(svg, "circle", { r: 2.5, cx: X(spec.x[line.at + n]), cy: Y(v), fill: "currentColor" });
      });
      draw(svg, "path", { ...line.look, d });
    }
    if (spec.dots) {
      spec.dots.values.forEach((v, n) => {
        if (known(v)) draw(svg, "circle", { class: "actual", r: 3, cx: X(spec.x[spec.dots.at + n]), cy: Y(v) });
      });
    }

    const legend = make("ul", { class: "legend" });
    const entry = (name, fill) => {
      const li = make("li");
      const key = draw(li, "svg", { viewBox: "0 0 26 12", "aria-hidden": "true" });
      fill(key);
      li.append(name);
      legend.append(li);
    };
    for (const line of spec.lines) entry(line.name, (k) => draw(k, "path", { ...line.look, d: "M0 6H26" }));
    const deep = spec.bands.length - 1;
    spec.bands.forEach((band, n) => {
      if (n !== 0 && n !== deep) return;
      entry(band.name, (k) => {
        for (let i = 0; i <= n; i++) draw(k, "path", { class: "band", d: "M0 0H26V12H0Z" });
      });
    });
    if (spec.dots) entry(spec.dots.name, (k) => draw(k, "circle", { class: "actual", cx: 13, cy: 6, r: 4 }));
    box.append(legend);

    const readout = make("p", { class: "readout", "aria-live": "polite" });
    const cursor = draw(svg, "line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
    let now = null;
    const show = (index) => {
      now = Math.max(0, Math.min(spec.x.length - 1, index));
      const p = X(spec.x[now]);
      for (const [k, v] of [["x1", p], ["x2", p], ["visibility", "visible"]]) cursor.setAttribute(k, v);
      readout.textContent = spec.say(now);
    };
    const follow = (event) => {
      const frame = svg.getBoundingClientRect();
      const at = ((event.clientX - frame.left) / frame.width) * width;
      let near = 0;
      spec.x.forEach((v, i) => { if (Math.abs(X(v) - at) < Math.abs(X(spec.x[near]) - at)) near = i; });
      show(near);
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("focus", () => { if (now === null) show(spec.first || 0); });
    svg.addEventListener("keydown", (event) => {
      const from = now === null ? spec.first || 0 : now;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: spec.x.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(to);
    });
    readout.textContent = spec.hint;
    box.append(readout);
    if (kept) svg.focus();
  }

  function calibration(box) {
    const levels = [...new Set(models.flatMap((m) => data.calibration[m][0]))].sort((a, b) => a - b);
    const shares = {};
    for (const m of models) {
      const [given, seen] = data.calibration[m];
      shares[m] = levels.map((l) => (given.includes(l) ? seen[given.indexOf(l)] : null));
    }
    chart(box, {
      x: [0, ...levels, 1], tall: 420, low: 0, high: 1, yText: percent,
      xTicks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, percent(v)]),
      xName: "level", yName: "share of values at or below",
      lines: [
        { name: "as it should be", at: 0, values: [0, ...levels, 1], look: { class: "diagonal" } },
        ...models.map((m) => ({ name: m, at: 1, values: shares[m], look: look(m) })),
      ],
      bands: [], first: 1,
      hint: "Point at the chart, or use the arrow keys, to read it.",
      label: "Share of values at or below each quantile, per model; the numbers are in the table below.",
      say: (i) => {
        if (i === 0 || i > levels.length) return `${i === 0 ? "0" : "100"} %: nothing to read here.`;
        return `Level ${percent(levels[i - 1])}: ` + models.map((m) => `${m} ${percent(shares[m][i - 1])}`).join(" · ");
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
      hint: "Point at the chart, or use the arrow keys, to read it.",
      label: "Error at each step ahead, per model; the numbers are in the table below.",
      say: (i) => `${i + 1} ahead: ` + models.map((m) => `${m} ${number(data.steps[m][i])}`).join(" · "),
    });
  }

  const get = (id) => document.getElementById(id);
  const state = { view: 0, model: null, item: 0 };

  function item(box) {
    const view = data.views[state.view];
    const one = view.items[state.item];
    const fan = one.models[state.model];
    const labels = [...one.past, ...one.ahead];
    const at = one.past.length;
    const came = one.actual.some(known);
    get("item-title").textContent = `${one.name}: ${one.why.toLowerCase()}`
      + (known(one.score) ? `, scaled error ${number(one.score)}` + (view.models.length > 1 ? ` (${view.models[0]})` : "") : "");
    const lines = [];
    if (at) lines.push({ name: "history", at: 0, values: one.values, look: { class: "past" } });
    if (fan.median) lines.push({ name: "median", at, values: fan.median, look: { class: "median" } });
    lines.push({ name: "mean", at, values: fan.mean, look: { class: "mean" } });
    const parts = (n) => [
      ...(known(one.actual[n]) ? [["held out", number(one.actual[n])]] : []),
      ...(fan.median ? [["median", number(fan.median[n])]] : []),
      ["mean", number(fan.mean[n])],
      ...fan.bands.map((b) => [`${percent(b.share)} band`, `${number(b.low[n])} to ${number(b.high[n])}`]),
    ];
    chart(box, {
      x: labels.map((_, i) => i),
      xTicks: timeTicks(labels, Math.max(3, Math.floor(box.clientWidth / 110))),
      xName: view.time, yName: view.target, lines,
      bands: fan.bands.map((b) => ({ name: `${percent(b.share)} band`, at, low: b.low, high: b.high })),
      dots: came ? { name: "held out", at, values: one.actual } : null,
      cutoff: at ? at - 0.5 : null, first: at,
      hint: "Point at the chart, or use the arrow keys, to read it.",
      label: `${one.name}: history and forecast of ${view.target} by ${state.model}; the numbers are in the table below.`,
      say: (i) => (i < at
        ? `${labels[i]}: ${known(one.values[i]) ? number(one.values[i]) : "not observed"}`
        : `${labels[i]}: ` + parts(i - at).map((p) => p.join(" ")).join(" · ")),
    });
    const table = make("table");
    const head = table.createTHead().insertRow();
    head.append(make("th", { scope: "col" }, view.time));
    if (came) head.append(make("th", { scope: "col" }, "held out"));
    if (fan.median) head.append(make("th", { scope: "col" }, "median"));
    head.append(make("th", { scope: "col" }, "mean"));
    for (const b of fan.bands) head.append(make("th", { scope: "col" }, `${percent(b.share)} band`));
    const body = table.createTBody();
    one.ahead.forEach((label, n) => {
      const row = body.insertRow();
      row.append(make("th", { scope: "row" }, label));
      if (came && !known(one.actual[n])) row.append(make("td", {}, "n/a"));
      for (const [, value] of parts(n)) row.append(make("td", {}, value));
    });
    get("item-numbers").replaceChildren(table);
  }

  function options(select, names, chosen) {
    select.replaceChildren(...names.map(([value, name]) => make("option", { value }, name)));
    select.value = String(chosen);
  }

  function refreshControls() {
    const view = data.views[state.view];
    if (!view.models.includes(state.model)) state.model = view.models[0];
    options(get("view"), data.views.map((v, i) => [i, v.label]), state.view);
    options(get("model"), view.models.map((m) => [m, m || "unnamed"]), state.model);
    get("view-label").hidden = data.views.length < 2;
    get("model-label").hidden = view.models.length < 2;
    const groups = new Map();
    view.items.forEach((one, i) => {
      if (!groups.has(one.why)) groups.set(one.why, make("optgroup", { label: one.why }));
      groups.get(one.why).append(make("option", { value: i }, one.name));
    });
    get("item").replaceChildren(...groups.values());
    get("item").value = String(state.item);
    const kinds = [...groups.keys()].map((k) => k.toLowerCase()).join(", ");
    get("items-lead").textContent =
      `${view.items.length} of ${view.series.toLocaleString("en")} series: ${kinds}.`;
  }

  const makers = { calibration, steps, item };
  const boxes = [...document.querySelectorAll("[data-chart]")];
  const render = (box) => makers[box.dataset.chart](box);
  const itemBox = boxes.find((b) => b.dataset.chart === "item");
  const move = (by) => {
    const count = data.views[state.view].items.length;
    state.item = (state.item + by + count) % count;
    get("item").value = String(state.item);
    render(itemBox);
  };
  get("view").addEventListener("change", (e) => {
    state.view = +e.target.value;
    state.item = 0;
    refreshControls();
    render(itemBox);
  });
  get("model").addEventListener("change", (e) => { state.model = e.target.value; render(itemBox); });
  get("item").addEventListener("change", (e) => { state.item = +e.target.value; render(itemBox); });
  get("before").addEventListener("click", () => move(-1));
  get("after").addEventListener("click", () => move(1));
  refreshControls();
  boxes.forEach(render);
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    boxes.forEach(render);
  });
})();
