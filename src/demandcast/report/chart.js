"use strict";
// Draws line charts with bands as SVG. Text is set as textContent, never as HTML.
const charts = (() => {
  const SVG = document.getElementById("svg-space").namespaceURI;
  const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const known = (v) => v !== null && v !== undefined && !Number.isNaN(v);

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

  // Numbers -----------------------------------------------------------------------------------------

  // Decimals that suit all of some values: none for whole or large numbers.
  function decimalsOf(values) {
    let top = 0, whole = true;
    for (const v of values) {
      if (!known(v)) continue;
      top = Math.max(top, Math.abs(v));
      whole = whole && Number.isInteger(v);
    }
    return whole || top >= 30 ? 0 : top >= 3 ? 1 : top >= 0.3 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(top || 1)));
  }
  const FORMATS = new Map();
  function number(v, decimals = decimalsOf([v])) {
    if (!known(v)) return "n/a";
    if (Math.abs(v) >= 1e7) return v.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });
    if (!FORMATS.has(decimals)) {
      FORMATS.set(decimals, new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
    }
    const text = FORMATS.get(decimals).format(v);
    return /^-[0.]+$/.test(text) ? text.slice(1) : text;
  }
  function percent(share, sign = false) {
    if (!known(share) || !Number.isFinite(share)) return "n/a";
    const text = number(100 * share, 0);
    return `${sign && share > 0 && text !== "0" ? "+" : ""}${text} %`;
  }

  // Round values that span low..high, about `wanted` of them.
  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) {
      found.push(+(n * step).toPrecision(12) + 0);  // + 0: no "-0"
    }
    return found;
  }
  function axisNumber(v, largest = v) {
    if (v && Math.abs(largest) >= 1e5) return v.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
    return v.toLocaleString("en", { maximumSignificantDigits: 6 });
  }

  // Times ---------------------------------------------------------------------------------------------

  function parse(label) {
    const found = /^(\d{4})-(\d\d)(?:-(\d\d))?(?: (\d\d):(\d\d))?/.exec(label);
    if (!found) return null;
    const [year, month, day, hour, minute] = found.slice(1).map((v) => (v === undefined ? null : +v));
    const date = Math.floor(Date.UTC(year, month - 1, day || 1) / 864e5);
    return { year, month: month - 1, day, hour, minute, date, weekday: DAYS[(((date + 4) % 7) + 7) % 7] };
  }
  // A time as people write it: Mon 25 Apr 2016, or Apr 2016.
  function moment(label) {
    const t = parse(label);
    if (t === null) return label;
    const month = `${MONTHS[t.month]} ${t.year}`;
    if (t.day === null) return month;
    return `${t.weekday} ${t.day} ${month}${t.hour === null ? "" : label.slice(10)}`;
  }
  const UNITS = [
    ["year", (t) => t.year], ["quarter", (t) => t.year * 4 + Math.floor(t.month / 3)],
    ["month", (t) => t.year * 12 + t.month], ["week", (t) => (t.day === null ? null : Math.floor((t.date + 3) / 7))],
    ["day", (t) => (t.day === null ? null : t.date)],
    ["quarter day", (t) => (t.hour === null ? null : t.date * 4 + Math.floor(t.hour / 6))],
    ["hour", (t) => (t.hour === null ? null : t.date * 24 + t.hour)],
  ];
  // Where a year, quarter, month, week, day or hour begins: the finest of them that fits.
  function timeTicks(labels, most) {
    const thin = (list) => list.filter((_, n) => n % Math.ceil(list.length / most) === 0);
    const times = labels.map(parse);
    if (times.some((t) => t === null)) return thin(labels.map((_, i) => [i, labels[i]]));
    let best = null, unit = null;
    for (const [name, of] of UNITS) {
      if (of(times[0]) === null) break;
      const found = times.map((_, i) => i).filter((i) => i > 0 && of(times[i]) !== of(times[i - 1]));
      if (found.length >= 2 && (best === null || found.length <= most)) [best, unit] = [found, name];
    }
    const finer = UNITS[UNITS.findIndex(([name]) => name === unit) + 1];
    if (best !== null && best.length < 3 && finer && finer[1](times[0]) !== null) {
      best = times.map((_, i) => i).filter((i) => i > 0 && finer[1](times[i]) !== finer[1](times[i - 1]));
      unit = finer[0];
    }
    if (best === null) [best, unit] = [times.map((_, i) => i), times[0].hour === null ? "day" : "hour"];
    let before = null;
    return thin(best.map((i) => [i, ""])).map(([i]) => {
      const t = times[i];
      const year = before === null || before.year !== t.year ? ` ${t.year}` : "";
      const day = before === null || before.date !== t.date;
      before = t;
      if (unit === "year") return [i, `${t.year}`];
      if (t.day === null || unit === "quarter" || unit === "month") return [i, MONTHS[t.month] + year];
      if (unit === "week" || unit === "day") return [i, `${t.weekday} ${t.day} ${MONTHS[t.month]}`];
      return [i, day ? `${t.day} ${MONTHS[t.month]}` : labels[i].slice(11)];
    });
  }
  // Where a week begins, of daily values that are few enough to see it.
  function weeks(labels) {
    const times = labels.map(parse);
    if (labels.length > 200 || times.some((t) => t === null || t.day === null || t.hour !== null)) return [];
    return times.map((_, i) => i).filter((i) => times[i].weekday === "Mon" && i > 0 && times[i].date - times[i - 1].date < 7);
  }

  // The chart -----------------------------------------------------------------------------------------

  /* Draws one chart into a box. spec: x (positions), xTicks [[position, text]], minor [position], xName, yName,
     yText, low/high (optional), lines [{name, at (first index), values, look, from (value before the first), dots}],
     bands [{name, at, low, high, from, look, swatch}], lanes [{name, values}] (below the axis),
     cutoff (position), say(index) -> text, label. */
  function chart(box, spec) {
    const kept = box.contains(document.activeElement) && document.activeElement.tagName === "svg";
    box.replaceChildren();
    const width = Math.max(280, Math.round(box.clientWidth || 800));
    const lanes = spec.lanes || [];
    const LANE = 30;  // height of one
    const height = Math.round(Math.min(spec.tall || 320, Math.max(240, width * 0.62))) + lanes.length * LANE;
    const all = spec.lines.flatMap((l) => [...l.values]).concat(spec.bands.flatMap((b) => [...b.low, ...b.high])).filter(known);
    if (!all.length) {
      box.append(make("p", { class: "muted" }, "No values to draw."));
      return;
    }
    let low = known(spec.low) ? spec.low : all.reduce((a, b) => Math.min(a, b));
    let high = known(spec.high) ? spec.high : all.reduce((a, b) => Math.max(a, b));
    if (!known(spec.low)) {
      if (low > 0 && low < high * 0.6) low = 0;  // start at 0 where that costs little room
      const room = (high - low || Math.abs(high) || 1) * 0.06;
      low = low === 0 ? 0 : low - room;
      high += room;
    }
    const yTicks = ticks(low, high, Math.max(3, Math.round((height - lanes.length * LANE) / 60)));
    const largest = Math.max(...yTicks.map(Math.abs));  // one notation for all of an axis
    const text = spec.yText || ((v) => axisNumber(v, largest));
    const left = 14 + 7.2 * Math.max(...yTicks.map((t) => text(t).length));
    const right = 14, top = 26, bottom = 42 + lanes.length * LANE;
    const x0 = spec.x[0], x1 = spec.x[spec.x.length - 1];
    const X = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (width - left - right);
    const Y = (v) => top + (1 - (v - low) / (high - low || 1)) * (height - top - bottom);

    const svg = draw(box, "svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": spec.label,
    });
    if (known(spec.cutoff)) {
      draw(svg, "rect", { class: "ahead", x: X(spec.cutoff), y: top, width: width - right - X(spec.cutoff), height: height - top - bottom });
    }
    for (const t of yTicks) {
      draw(svg, "line", { class: t === 0 ? "grid zero" : "grid", x1: left, x2: width - right, y1: Y(t), y2: Y(t) });
      draw(svg, "text", { x: left - 6, y: Y(t) + 4, "text-anchor": "end" }, text(t));
    }
    for (const v of spec.minor || []) {
      draw(svg, "line", { class: "axis minor", x1: X(v), x2: X(v), y1: height - bottom, y2: height - bottom + 3 });
    }
    for (const [v, name] of spec.xTicks) {
      draw(svg, "line", { class: "axis", x1: X(v), x2: X(v), y1: height - bottom, y2: height - bottom + 6 });
      const half = 3.4 * name.length;
      const anchor = X(v) < left + half - 14 ? "start" : X(v) > width - half ? "end" : "middle";
      draw(svg, "text", { x: X(v), y: height - bottom + 19, "text-anchor": anchor }, name);
    }
    draw(svg, "text", { x: 0, y: 13, class: "name" }, spec.yName);
    draw(svg, "text", { x: width - right, y: height - 5, "text-anchor": "end", class: "name" }, spec.xName);

    lanes.forEach((lane, j) => {
      const base = height - 22 - (lanes.length - 1 - j) * LANE, room = 13;
      const seen = lane.values.filter(known);
      const least = seen.reduce((a, b) => Math.min(a, b), Infinity), most = seen.reduce((a, b) => Math.max(a, b), -Infinity);
      draw(svg, "line", { class: "grid", x1: left, x2: width - right, y1: base, y2: base });
      draw(svg, "text", { x: left, y: base - room - 3 }, `${lane.name}${least < most ? "" : ` ${axisNumber(least)}`}`);
      if (!(least < most)) return;
      const wide = (X(x1) - X(x0)) / Math.max(1, lane.values.length - 1);
      const flag = least === 0 && seen.every((v) => v === 0 || v === most);
      let d = "", before = false;
      lane.values.forEach((v, n) => {
        const p = X(spec.x[n]);
        if (flag && v) draw(svg, "rect", { class: "lane", x: p - wide / 2, y: base - 9, width: Math.max(1, wide - 0.5), height: 9 });
        if (!flag && known(v)) d += `${before ? "L" : "M"}${p.toFixed(1)} ${(base - 1 - ((v - least) / (most - least)) * (room - 1)).toFixed(1)}`;
        before = known(v);
      });
      if (d) draw(svg, "path", { class: "lane", d });
    });

    const place = (at, v, n) => `${X(spec.x[at + n]).toFixed(1)} ${Y(v).toFixed(1)}`;
    for (const band of spec.bands) {
      let run = [];
      const flush = () => {
        if (!run.length) return;
        const ends = run[0] === 0 && known(band.from) && band.at > 0 ? [-1, ...run] : run;
        const value = (side, n) => (n < 0 ? band.from : side[n]);
        if (ends.length === 1) {
          const p = X(spec.x[band.at + ends[0]]);
          const d = `M${p - 4} ${Y(band.low[ends[0]])}H${p + 4}V${Y(band.high[ends[0]])}H${p - 4}Z`;
          draw(svg, "path", { ...band.look, d });
        } else {
          const there = ends.map((n) => place(band.at, value(band.high, n), n));
          const back = [...ends].reverse().map((n) => place(band.at, value(band.low, n), n));
          draw(svg, "path", { ...band.look, d: `M${there.concat(back).join("L")}Z` });
        }
        run = [];
      };
      for (let n = 0; n < band.low.length; n++) {
        if (known(band.low[n]) && known(band.high[n])) run.push(n);
        else flush();
      }
      flush();
    }
    if (known(spec.cutoff)) {
      draw(svg, "line", { class: "cutoff", x1: X(spec.cutoff), x2: X(spec.cutoff), y1: top, y2: height - bottom });
    }
    for (const line of spec.lines) {
      let d = "", gaps = "", last = known(line.from) && line.at > 0 ? -1 : null;
      if (last === -1) d = `M${place(line.at, line.from, -1)}`;
      for (let n = 0; n < line.values.length; n++) {
        const v = line.values[n];
        if (!known(v)) continue;
        if (last !== null && n - last > 1) {
          gaps += `M${place(line.at, last < 0 ? line.from : line.values[last], last)}L${place(line.at, v, n)}`;
        }
        d += (last !== null && n - last === 1 ? "L" : "M") + place(line.at, v, n);
        last = n;
      }
      if (gaps) draw(svg, "path", { ...line.look, class: `${line.look.class || ""} bridge`, d: gaps });
      draw(svg, "path", { ...line.look, d });
      if (line.dots || line.values.length === 1) {
        for (let n = 0; n < line.values.length; n++) {
          if (known(line.values[n])) draw(svg, "circle", { ...line.look, r: 2.6, cx: X(spec.x[line.at + n]), cy: Y(line.values[n]) });
        }
      }
    }

    const legend = make("ul", { class: "legend" });
    const entry = (name, fill) => {
      const li = make("li");
      fill(draw(li, "svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }));
      li.append(name);
      legend.append(li);
    };
    const earlier = (one) => /\bthen\b/.test(one.look.class || "");  // comes last
    for (const line of [...spec.lines].sort((a, b) => earlier(a) - earlier(b))) {
      entry(line.name, (k) => {
        draw(k, "path", { ...line.look, d: "M0 6H26" });
        if (line.dots) draw(k, "circle", { ...line.look, cx: 13, cy: 6, r: 3 });
      });
    }
    for (const band of spec.bands) {
      entry(band.name, (k) => {
        for (let i = 0; i < (band.swatch || 1); i++) draw(k, "path", { ...band.look, d: "M0 0H26V12H0Z" });
      });
    }
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
    readout.textContent = "Point at the chart, or use the arrow keys, to read values.";
    box.append(readout);
    if (kept) svg.focus();
  }

  return { known, make, draw, number, percent, decimalsOf, ticks, moment, timeTicks, weeks, chart };
})();
