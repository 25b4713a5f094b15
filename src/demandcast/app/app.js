"use strict";
// The page of the app. The server holds the state; each answer is the whole of it, and `show` draws it.
(() => {
  const { known, make, number, percent, decimalsOf, moment, timeTicks, weeks, chart } = charts;
  const get = (id) => document.getElementById(id);
  const base = location.pathname.replace(/[^/]*$/, "");
  const POLL = 300;  // milliseconds between looks at work under way
  const ROLES = [
    ["", "not used"], ["key", "names the item"], ["time", "date or time"], ["target", "to forecast"],
    ["known", "known ahead"], ["past", "known until today"], ["static", "fixed for an item"], ["available", "was on sale"],
  ];
  const ONE = ["time", "target", "available"];  // roles that one column has, as a rule
  const FREQS = [
    ["", "found"], ["15min", "15 minutes"], ["30min", "30 minutes"], ["h", "an hour"], ["D", "a day"], ["B", "a business day"],
    ["W-MON", "a week from Monday"], ["W-SUN", "a week from Sunday"], ["MS", "a month"], ["QS", "a quarter"], ["YS", "a year"], ["1", "a number"],
  ];
  const COARSER = [["", "as they are"], ["D", "days"], ["W-MON", "weeks from Monday"], ["W-SUN", "weeks from Sunday"], ["MS", "months"], ["QS", "quarters"]];
  const BESIDE = {
    future: ["Values ahead", "Prices, promotions and other columns that are known ahead, for the steps to forecast."],
    covariates: ["Covariates", "A calendar, or prices and promotions by item and time or by periods."],
    static_table: ["Items", "One row for each item, such as its category."],
  };
  const RULE_FIELDS = ["lead_time", "review", "cost_under", "cost_over", "service", "fill_rate", "lost_sales", "fixed_cost", "quantity", "order_days", "delivery_days", "shelf_life", "cost_spoiled"];
  const SHARES = ["service", "fill_rate"];
  const WHY = {
    enough: "stock suffices", cost: "lowest cost", service: "service", pack: "whole packs", minimum: "minimum order",
    limit: "cut by a limit", "no history": "no history", calendar: "no order day", "shelf life": "shelf life", "phase-out": "phased out",
  };
  let facts = null, now = null, shown = {}, slot = "table";

  // Talking to the server ---------------------------------------------------------------------------------

  async function ask(path, options = {}) {
    const answer = await fetch(base + path, options);
    const type = answer.headers.get("content-type") || "";
    if (!type.startsWith("application/json")) throw new Error(`${answer.status}: ${await answer.text()}`);
    const body = await answer.json();
    if (body.error) throw Object.assign(new Error(body.error.message), { fault: body.error });
    return body;
  }

  // Asks for work in a step, and draws what comes; faults are shown in the step.
  async function work(step, path, content, options = {}) {
    clear(step);
    try {
      show(await ask(path, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content), ...options,
      }));
    } catch (error) {
      fault(step, error.fault || { message: error.message, ways: [], faults: [] });
    }
  }

  async function follow() {
    while (now.busy) {
      await new Promise((done) => setTimeout(done, POLL));
      try {
        show(await ask(`api/state?seen=${now.version}`));
      } catch (error) {
        get("problem").textContent = "The app has ended, or cannot be reached. Start it again in the terminal: demandcast app";
        get("progress").hidden = true;
        return;
      }
    }
  }
  let following = false;
  async function keepFollowing() {
    if (following) return;
    following = true;
    await follow();
    following = false;
  }

  // Files ------------------------------------------------------------------------------------------------

  function open(where) {
    slot = where;
    get("picker").value = "";
    get("picker").click();
  }
  function send(file, where = slot) {
    const step = where === "stock" ? "orders" : "table";
    const path = `api/files/${where}?name=${encodeURIComponent(file.name)}`;
    get("progress").hidden = false;
    get("progress-text").textContent = `taking in ${file.name}`;
    get("progress-bar").removeAttribute("value");
    return work(step, path, null, { method: "PUT", headers: { "Content-Type": "application/octet-stream" }, body: file })
      .then(() => { if (!now.busy) get("progress").hidden = true; });
  }

  // Steps ------------------------------------------------------------------------------------------------

  const steps = [...document.querySelectorAll("[data-step]")];
  function go(id, focus = true) {
    const step = steps.find((s) => s.id === id) || steps[0];
    for (const one of steps) one.hidden = one !== step;
    for (const link of document.querySelectorAll("#steps a")) {
      if (link.hash === `#${step.id}`) link.setAttribute("aria-current", "step");
      else link.removeAttribute("aria-current");
    }
    if (location.hash !== `#${step.id}`) history.pushState(null, "", `#${step.id}`);
    document.title = `${step.querySelector("h1").textContent} · demandcast`;
    if (focus) {
      scrollTo(0, 0);
      const title = step.querySelector("h1");
      title.tabIndex = -1;
      title.focus({ preventScroll: true });
    }
    if (now) draw();
  }
  const here = () => steps.find((s) => !s.hidden).id;

  // Faults and their mends -------------------------------------------------------------------------------

  const clear = (step) => get(`${step}-faults`).replaceChildren();

  function fault(step, found) {
    const each = found.faults && found.faults.length ? found.faults : [found];
    get(`${step}-faults`).replaceChildren(...each.map((one) => {
      const box = make("div", { class: "fault" });
      box.append(make("p", {}, sentence(one.message)));
      const actions = mends(step, one.ways || [], one);
      if (actions) box.append(actions);
      return box;
    }));
  }

  const sentence = (text) => (/^[a-z]+[ ,:]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text) + (/[.!?:]$/.test(text) ? "" : ".");

  // Buttons and choices that mend a fault, or change what was done.
  function mends(step, ways, found = {}, choose = true) {
    const box = make("p", { class: "actions" });
    for (const way of ways) {
      const entries = Object.entries(way.arguments);
      const meaning = way.meaning ? ` (${way.meaning})` : "";
      if (entries.length && entries.every(([name, value]) => value !== null && isOption(name))) {
        box.append(button(`Use ${way.text}${meaning}`, () => setOptions(way.arguments)));
        continue;
      }
      for (const [name, value] of entries) {
        if (name === "horizon" && value !== null) {
          box.append(button(`Forecast ${value} steps`, () => { get("horizon").value = value; go("forecast"); startForecast(); }));
        } else if (name === "model" && value !== null) {
          box.append(button(`Forecast with ${value}`, () => { get("model").value = value; go("forecast"); startForecast(); }));
        } else if (BESIDE[name]) {
          box.append(button(`Choose a file: ${BESIDE[name][0].toLowerCase()}`, () => open(name)));
        } else if (step === "orders" && RULE_FIELDS.includes(name)) {
          box.append(button(value === null ? `Set ${way.text}` : `Use ${way.text}${meaning}`, () => setRule(way.arguments)));
          break;
        } else if (choose && value === null && isOption(name, true)) {
          box.append(columnChoice(name));
        }
      }
    }
    if (step === "forecast" && found.option === "future") {
      box.append(button("Use them as known until today only", knownAsPast));
    }
    if (step === "orders" && found.option === "stock") {
      box.append(button("Choose a table of stock", () => open("stock")));
      box.append(button("Count no stock", () => { get("without-stock").checked = true; startOrders(); }));
    }
    return box.childNodes.length ? box : null;
  }

  function button(text, act) {
    const found = make("button", { type: "button" }, text);
    found.addEventListener("click", act);
    return found;
  }

  function columnChoice(role) {
    const label = make("label", {}, `${ROLES.find(([r]) => r === role)[1]}: `);
    const select = make("select");
    select.append(make("option", { value: "" }, "choose the column"));
    for (const { name } of now.table.columns) select.append(make("option", { value: name }, name));
    select.addEventListener("change", () => setRole(select.value, role));
    label.append(select);
    return label;
  }

  const isOption = (name, role = false) => facts.options.some((o) => o.name === name && (!role || o.role));

  // The table --------------------------------------------------------------------------------------------

  const setOptions = (options) => work("table", "api/reading", options).then(() => go("table", false));

  // Options that give each column the role it has on the page, and one of them another.
  function rolesWith(column, role) {
    const roles = now.table.columns.map((c) => [c.name, c.name === column ? role : c.role || ""]);
    if (ONE.includes(role)) {
      for (const pair of roles) if (pair[1] === role && pair[0] !== column) pair[1] = "";
    }
    const having = (wanted) => roles.filter(([, r]) => r === wanted).map(([name]) => name);
    const keys = having("key"), times = having("time");
    const decided = now.table.panel !== null || role === "key" || keys.length;
    return {
      key: keys.length ? keys : decided && column !== null ? [] : null, time: times.length ? times : null,
      target: having("target")[0] || null, known: having("known"), past: having("past"), static: having("static"),
      available: having("available")[0] || null,
    };
  }
  const setRole = (column, role) => setOptions(rolesWith(column, role));
  function knownAsPast() {
    const all = rolesWith(null, "");
    go("table");
    return setOptions({ past: [...all.past, ...all.known], known: [] });
  }

  function options(select, pairs, chosen) {
    select.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
    select.value = chosen;
  }

  function cards(box, pairs) {
    box.replaceChildren(...pairs.map(([name, value, note]) => {
      const one = make("div");
      one.append(make("dt", {}, name), make("dd", value.length > 14 ? { class: "long" } : {}, value));
      if (note) one.append(make("dd", { class: "muted" }, note));
      return one;
    }));
  }

  function notes(box, texts) {
    box.replaceChildren(...texts.map((text) => make("li", {}, sentence(text))));
    box.hidden = !texts.length;
  }

  function drawTable() {
    const table = now.table;
    get("drop").hidden = table !== null;
    get("table-body").hidden = table === null;
    if (table === null) return;
    const panel = table.panel;
    get("table-title").textContent = table.name;
    get("to-forecast").disabled = panel === null;
    const errors = table.findings.filter((f) => f.severity === "error");
    if (errors.length) fault("table", { faults: errors.map((f) => ({ message: f.text, ways: f.ways })) });
    else clear("table");
    cards(get("table-cards"), panel === null ? [] : [
      ["Items", number(panel.series, 0), classes(panel.classes)],
      ["History", panel.period, `${number(panel.longest, 0)} steps at most`],
      ["One step", panel.step.replace(/^1 /, ""), panel.freq],
      ["Zeros", panel.zeros, panel.missing === "0 %" ? "none missing" : `${panel.missing} missing`],
    ]);
    drawColumns(table);
    get("grid-controls").hidden = panel === null && !table.options.freq && !table.options.to;
    const freqs = FREQS.map(([v, text]) => [v, v || !panel ? text : `${panel.step.replace(/^1 /, "a ")} (found)`]);
    const given = table.options.freq || "";
    if (given && !freqs.some(([v]) => v === given)) freqs.push([given, given]);
    options(get("freq"), freqs, given);
    options(get("to"), COARSER, table.options.to || "");
    const rest = table.findings.filter((f) => f.severity !== "error");
    get("findings-part").hidden = !rest.length;
    get("findings").replaceChildren(...rest.map(finding));
    drawBeside();
    drawRules(table);
  }

  function classes(counts) {
    const order = Object.entries(counts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]).slice(0, 3);
    return order.map(([name, n]) => `${number(n, 0)} ${name}`).join(", ");
  }

  function drawColumns(table) {
    const head = make("thead"), names = make("tr"), roles = make("tr"), body = make("tbody");
    for (const column of table.columns) {
      const used = column.role ? "" : "unused";
      const th = make("th", { scope: "col", class: used });
      th.append(make("span", { title: column.name }, column.name));
      names.append(th);
      const select = make("select", { "aria-label": `Meaning of ${column.name}` });
      options(select, ROLES.map(([v, text]) => [v, v || !table.wide ? text : "an item's values"]), column.role || "");
      select.addEventListener("change", () => setRole(column.name, select.value));
      const cell = make("td", { class: used });
      cell.append(select);
      roles.append(cell);
    }
    head.append(names);
    body.append(roles);
    const rows = Math.max(0, ...table.columns.map((c) => c.cells.length));
    for (let i = 0; i < rows; i++) {
      const line = body.insertRow();
      for (const column of table.columns) line.append(make("td", column.role ? {} : { class: "unused" }, column.cells[i]));
    }
    get("columns").replaceChildren(head, body);
    get("columns-more").textContent = table.more ? `${number(table.more, 0)} more columns, which are not used, are not shown.` : "";
  }

  function finding(found) {
    const line = make("li");
    line.append(make("span", { class: `tag ${found.severity}` }, found.severity === "warning" ? "Warning" : found.kind));
    const what = make("span", { class: "what" }, sentence(found.text));
    if (found.where) what.append(make("span", { class: "muted" }, ` ${sentence(found.where)}`));
    line.append(what);
    const actions = mends("table", found.ways, {}, false);
    if (actions) line.append(actions);
    return line;
  }

  function drawBeside() {
    get("beside-list").replaceChildren(...Object.entries(BESIDE).map(([name, [title, text]]) => {
      const box = make("div");
      box.append(make("h3", {}, title), make("p", { class: "muted" }, text));
      const actions = make("p", { class: "actions" });
      const file = now.files[name];
      if (file) {
        actions.append(make("span", {}, file), button("Remove", () => work("table", `api/files/${name}`, null, { method: "DELETE" })));
      } else actions.append(button("Choose a file", () => open(name)));
      box.append(actions);
      return box;
    }));
  }

  function drawRules(table) {
    const rules = facts.options.filter((o) => !o.role && !["freq", "to"].includes(o.name));
    const list = get("rule-list");
    list.replaceChildren(...rules.map((rule) => {
      const label = make("label", {}, rule.name.charAt(0).toUpperCase() + rule.name.slice(1).replaceAll("_", " "));
      const given = table.options[rule.name];
      let input;
      if (rule.choices.length) {
        input = make("select");
        options(input, rule.choices.map((c) => [c, c.replaceAll("_", " ")]), given || rule.default);
        input.addEventListener("change", () => setOptions({ [rule.name]: input.value === rule.default ? null : input.value }));
      } else if (rule.flags) {
        input = make("select");
        const [yes, no] = rule.flags.split("/").map((f) => f.replace("--", "").replaceAll("-", " "));
        options(input, [["", "found"], ["true", yes], ["false", no]], known(given) ? String(given) : "");
        input.addEventListener("change", () => setOptions({ [rule.name]: input.value === "" ? null : input.value === "true" }));
      } else {
        input = make("input", { type: "text", autocomplete: "off", spellcheck: "false" });
        input.value = given || "";
        input.addEventListener("change", () => setOptions({ [rule.name]: input.value.trim() || null }));
      }
      label.append(input, make("small", {}, rule.help));
      return label;
    }));
  }

  // The forecast -----------------------------------------------------------------------------------------

  function drawForecastForm() {
    const panel = now.table && now.table.panel;
    if (!panel) return;
    if (shown.horizonFor !== now.table.name + panel.horizon) {
      shown.horizonFor = now.table.name + panel.horizon;
      get("horizon").value = panel.horizon;
    }
    get("horizon-unit").textContent = unit(panel);
    drawMethod();
  }
  const unit = (panel) => (/^1 /.test(panel.step) && !/step/.test(panel.step) ? `${panel.step.slice(2)}s` : "steps");

  function drawMethod() {
    const name = get("model").value, own = facts.models.find((m) => m.name === name);
    get("budget-label").hidden = name !== "auto";
    get("measure-label").hidden = name === "auto";
    get("model-summary").textContent = own ? sentence(own.summary) : "";
  }

  function startForecast() {
    return work("forecast", "api/forecast", {
      horizon: +get("horizon").value, model: get("model").value, budget: get("budget").value, measure: get("measure").checked,
    });
  }

  function drawForecast() {
    const run = now.forecast;
    get("forecast-body").hidden = run === null;
    if (run === null) return;
    get("forecast-stale").hidden = !run.stale;
    const change = run.change ? `, ${run.change} against the ${run.span} before` : "";
    get("forecast-line").textContent = `${run.total} ${run.target}, ${run.period}${change}`;
    notes(get("forecast-notes"), now.job && now.job.kind === "forecast" ? now.job.notes : []);
    const frame = get("report");
    if (!frame.closest("section").hidden && shown.report !== run.report) {
      shown.report = run.report;
      frame.hidden = false;
      frame.src = `report?${run.report}`;
    }
  }

  // What if ----------------------------------------------------------------------------------------------

  function changeRow() {
    const run = now.forecast, box = make("div", { class: "change" });
    const field = (text, input) => {
      const label = make("label", {}, text);
      label.append(input);
      box.append(label);
      return input;
    };
    const column = field("Column", make("select", { name: "column" }));
    options(column, run.known.map((k) => [k.name, k.name]), run.known[0].name);
    const sign = field("Change", make("select", { name: "sign" }));
    const holder = make("label", {}, "Value");
    box.append(holder);
    const first = field("From", make("select", { name: "first" })), last = field("To", make("select", { name: "last" }));
    const times = run.ahead.slice(0, 1000).map((t) => [t.value, moment(t.label)]);
    options(first, [["", "the first step"], ...times], "");
    options(last, [["", "the last step"], ...times], "");
    const who = field("Of", make("select", { name: "who" }));
    const groups = run.groups.map(({ name, values }) => {
      const group = make("optgroup", { label: name });
      for (const value of values) group.append(make("option", { value: JSON.stringify([name, value]) }, value));
      return group;
    });
    who.append(make("option", { value: "" }, "all items"), ...groups);
    const kinds = () => {
      const own = run.known.find((k) => k.name === column.value);
      const numeric = own.kind === "number";
      options(sign, numeric ? [["*=", "multiply by"], ["=", "set to"], ["+=", "add"]] : [["=", "set to"]], numeric ? "*=" : "=");
      let value;
      if (numeric) {
        value = make("input", { name: "value", type: "number", step: "any", inputmode: "decimal" });
        value.value = "0.9";
      } else {
        value = make("select", { name: "value" });
        options(value, own.values.map((v) => [v, own.kind === "flag" ? (v === "1" ? "yes" : "no") : v]), own.values[0]);
      }
      holder.replaceChildren(numeric ? `Value (was ${own.values.join(" to ")})` : "Value", value);
    };
    column.addEventListener("change", kinds);
    kinds();
    const remove = button("Remove", () => { box.remove(); drawRemoves(); });
    remove.className = "remove";
    box.append(remove);
    get("changes").append(box);
    drawRemoves();
  }
  function drawRemoves() {
    const rows = [...document.querySelectorAll(".change")];
    for (const row of rows) row.querySelector(".remove").hidden = rows.length === 1;
  }

  function drawQuestionForm() {
    const run = now.forecast, needs = get("what-if-needs");
    const none = run !== null && !run.known.length;
    needs.hidden = !none;
    if (none) {
      needs.replaceChildren(make("p", {}, "No column is known ahead, so there is nothing to change. Mark the price or the promotion as “known ahead” in the table, with its values for the steps to forecast."), button("Go to the table", () => go("table")));
      get("what-if-form").hidden = true;
    }
    if (run === null || none) return;
    const of = JSON.stringify([run.table, run.known, run.ahead]);
    if (shown.changesFor !== of) {
      shown.changesFor = of;
      get("changes").replaceChildren();
      changeRow();
      get("effect").value = run.reads ? "model" : "history";
    }
    get("effect").options[0].disabled = !run.reads;
    if (!run.reads) get("effect").value = "history";
  }

  function startQuestion() {
    const value = (row, name) => row.querySelector(`[name=${name}]`).value;
    const changes = [...document.querySelectorAll(".change")].map((row) => ({
      column: value(row, "column"), sign: value(row, "sign"), value: value(row, "value"), first: value(row, "first"),
      last: value(row, "last"), where: value(row, "who") ? JSON.parse(value(row, "who")) : null,
    }));
    return work("what-if", "api/what-if", { changes, effect: get("effect").value });
  }

  const signed = (v, decimals) => (v > 0 ? "+" : "") + number(v, decimals);

  // Decimals for all of a column: none from 100 on, or for whole numbers.
  const same = (values) => (values.every((v) => !known(v) || Number.isInteger(v)) || values.some((v) => Math.abs(v) >= 100) ? 0 : 1);

  function rowsOf(table, titles, rows) {
    const head = make("thead"), line = make("tr"), body = make("tbody");
    for (const [title, kind] of titles) line.append(make("th", { scope: "col", ...(kind ? { class: kind } : {}) }, title));
    head.append(line);
    for (const row of rows) {
      const own = body.insertRow();
      own.append(make("th", { scope: "row" }, row[0]));
      row.slice(1).forEach((cell, i) => own.append(make("td", titles[i + 1][1] ? { class: titles[i + 1][1] } : {}, cell)));
    }
    table.replaceChildren(head, body);
  }

  function drawQuestion() {
    const q = now.question;
    get("what-if-body").hidden = q === null;
    if (q === null) return;
    const t = q.total, decimals = decimalsOf([t.planned, t.changed]);
    get("what-if-line").textContent = `${q.question}: ${signed(t.difference, decimals)} ${q.target} (${percent(t.ratio - 1, true)})`;
    const who = q.effect === "model" ? "as the model learned it" : "as measured in the history";
    cards(get("what-if-cards"), [
      ["As planned", number(t.planned, decimals), `${number(q.series, 0)} items that change`],
      ["With the change", number(t.changed, decimals), percent(t.ratio - 1, true)],
      ["Difference", signed(t.difference, decimals), who],
      ["80 % of cases", `${signed(t.low, decimals)} to ${signed(t.high, decimals)}`, "of the difference"],
    ]);
    notes(get("what-if-notes"), q.notes);
    const at = q.labels.map((_, i) => i), box = get("what-if-chart");
    if (box.clientWidth) {
      const own = decimalsOf([...q.planned, ...q.changed]);
      chart(box, {
        x: at, tall: 280, xTicks: timeTicks(q.labels, Math.max(3, Math.floor(box.clientWidth / 90))), minor: weeks(q.labels),
        xName: q.time, yName: `${q.target}, items that change`, bands: [], first: 0,
        lines: [
          { name: "as planned", at: 0, values: q.planned, look: { class: "median" } },
          { name: "with the change", at: 0, values: q.changed, look: { class: "actual" } },
        ],
        label: `${q.target} at each step ahead, as planned and with the change. The table below has the sums of each item.`,
        say: (i) => `${moment(q.labels[i])}: planned ${number(q.planned[i], own)} · changed ${number(q.changed[i], own)}`,
      });
    }
    const sizes = same(q.rows.flatMap((r) => [r.planned, r.changed])), gaps = same(q.rows.flatMap((r) => [r.difference, r.low, r.high]));
    rowsOf(get("what-if-table"), [["Item"], ["Planned"], ["Changed"], ["Difference"], ["80 % of cases"], ["Change"]], q.rows.map((r) => [
      r.name, number(r.planned, sizes), number(r.changed, sizes), signed(r.difference, gaps), `${signed(r.low, gaps)} to ${signed(r.high, gaps)}`, known(r.ratio) ? percent(r.ratio - 1, true) : "–",
    ]));
  }

  // Orders -----------------------------------------------------------------------------------------------

  function drawOrdersForm() {
    const stock = now.files.stock;
    get("stock-line").textContent = stock ? `Stock: ${stock}` : "How much of each item there is, after the last step of the table.";
    get("without-label").hidden = Boolean(stock);
    for (const span of document.querySelectorAll("[data-unit]")) span.textContent = now.forecast ? unit(now.forecast) : "";
    drawRule();
  }
  function drawRule() {
    for (const label of document.querySelectorAll("[data-rule]")) label.hidden = label.dataset.rule !== get("rule").value;
    for (const label of document.querySelectorAll("[data-reorder]")) label.hidden = get("kind").value === "up_to";
  }
  function setRule(given) {
    for (const [name, value] of Object.entries(given)) {
      const rule = name.startsWith("cost") ? "cost" : name;
      if (SHARES.includes(name) || rule === "cost") get("rule").value = rule;
      drawRule();
      if (value === null) get(name).focus();
      else get(name).value = SHARES.includes(name) ? 100 * value : String(value);
    }
    if (!Object.values(given).includes(null)) startOrders();
  }
  function startOrders() {
    const by = get("rule").value, kind = get("kind").value;
    const value = (id) => (get(id).value === "" ? null : +get(id).value);
    const text = (id) => get(id).value.trim() || null;
    const share = (id) => (by === id && get(id).value !== "" ? +get(id).value / 100 : null);
    return work("orders", "api/orders", {
      rule: {
        lead_time: value("lead_time"), review: value("review") ?? 1, lost_sales: get("lost_sales").value === "true",
        cost_under: by === "cost" ? value("cost_under") : null, cost_over: by === "cost" ? value("cost_over") : null,
        service: share("service"), fill_rate: share("fill_rate"),
        rule: kind, fixed_cost: kind === "up_to" ? null : value("fixed_cost"), quantity: kind === "up_to" ? null : value("quantity"),
        order_days: text("order_days"), delivery_days: text("delivery_days"),
        shelf_life: value("shelf_life"), cost_spoiled: value("cost_spoiled"),
      },
      without_stock: get("without-stock").checked && !now.files.stock,
    });
  }

  function drawOrders() {
    const o = now.orders;
    get("orders-body").hidden = o === null;
    if (o === null) return;
    get("orders-line").textContent = `Order ${number(o.units)} units of ${number(o.ordered, 0)} of ${number(o.items, 0)} items`;
    cards(get("orders-cards"), [
      ["Demand served", known(o.served) ? `${number(100 * o.served, 1)} %` : "–", "expected until the next order arrives"],
      ["Units short", number(o.lost), "expected"], ["Units left", number(o.held), "expected at the end"],
      ...(known(o.cost) ? [["Cost", number(o.cost), "expected, of units short and left"]] : []),
    ]);
    notes(get("orders-notes"), o.notes);
    const decimals = Object.fromEntries(["order", "order_up_to", "expected_demand", "expected_lost", "expected_held", "cost"].map((name) => [name, same(o.rows.map((r) => r[name]))]));
    const cell = (r, name) => number(r[name], decimals[name]);
    rowsOf(get("orders-table"), [["Item"], ["Order"], ["Order up to"], ["Expected demand"], ["Runs out"], ["Served"], ["Short"], ["Left"], ...(known(o.cost) ? [["Cost"]] : []), ["Why", "text"]], o.rows.map((r) => [
      r.name, cell(r, "order"), cell(r, "order_up_to"), cell(r, "expected_demand"), percent(r.p_stock_out), percent(r.fill_rate),
      cell(r, "expected_lost"), cell(r, "expected_held"), ...(known(o.cost) ? [cell(r, "cost")] : []), WHY[r.why] || r.why,
    ]));
    get("orders-more").textContent = o.rows.length < o.items ? `The ${o.rows.length} largest of ${number(o.items, 0)} orders; the files hold all.` : "";
  }

  // Drawing the whole ------------------------------------------------------------------------------------

  function drawProgress() {
    const job = now.job, running = now.busy && job;
    get("progress").hidden = !running;
    if (!running) return;
    get("progress-text").textContent = (job.stopping ? "Stopping at the next step: " : "") + sentence(job.text).replace(/\.$/, "");
    get("cancel").disabled = get("finish").disabled = job.stopping;
    if (known(job.share)) get("progress-bar").value = job.share;
    else get("progress-bar").removeAttribute("value");
    get("progress-time").textContent = `${Math.round(job.seconds)} s`;
    get("finish").hidden = !job.canFinish;
  }

  function drawNeeds() {
    const has = { panel: Boolean(now.table && now.table.panel), forecast: now.forecast !== null };
    for (const box of document.querySelectorAll("[data-needs]")) {
      const wanted = box.dataset.needs;
      box.hidden = has[wanted];
      if (box.hidden || box.childNodes.length) continue;
      const text = wanted === "panel" ? "Open a table first." : "Make a forecast first.";
      box.append(make("p", {}, text), button(wanted === "panel" ? "Go to the table" : "Go to the forecast", () => go(wanted === "panel" ? "table" : "forecast")));
    }
    for (const form of document.querySelectorAll("[data-with]")) form.hidden = !has[form.dataset.with];
    const links = { table: has.panel, forecast: has.forecast, "what-if": now.question !== null, orders: now.orders !== null };
    for (const link of document.querySelectorAll("#steps a")) link.parentElement.classList.toggle("done", links[link.hash.slice(1)]);
    for (const one of document.querySelectorAll("form .primary, #example, [data-open]")) one.disabled = now.busy;
  }

  const JOBS = { reading: "table", forecast: "forecast", "what-if": "what-if", orders: "orders" };
  function draw() {
    drawProgress();
    drawNeeds();
    get("file-name").textContent = now.table ? now.table.name : "";
    const step = here();
    if (step === "table" && shown.table !== now.version) {
      shown.table = now.version;
      drawTable();
    }
    drawForecastForm();
    drawForecast();
    drawQuestionForm();
    drawOrdersForm();
    if (step === "what-if" && shown.question !== now.version) {
      shown.question = now.version;
      drawQuestion();
    }
    if (step === "orders" && shown.orders !== now.version) {
      shown.orders = now.version;
      drawOrders();
    }
    document.documentElement.dataset.version = now.version;
    document.documentElement.dataset.busy = now.busy;
  }

  function show(state) {
    const before = now;
    now = { ...before, ...state };
    if (before && before.table && now.table && before.table.name !== now.table.name) shown.table = null;
    draw();
    const ended = !now.busy && now.job && shown.job !== now.job.number;
    if (ended) shown.job = now.job.number;
    if (ended && now.job.state === "failed") fault(JOBS[now.job.kind], now.job.error);
    if (ended && now.job.kind === "reading" && now.job.state === "done" && here() !== "table" && !now.forecast) go("table");
    if (now.busy) keepFollowing();
  }

  // Controls ----------------------------------------------------------------------------------------------

  for (const one of document.querySelectorAll("[data-open]")) one.addEventListener("click", () => open(one.dataset.open));
  get("picker").addEventListener("change", (e) => { if (e.target.files.length) send(e.target.files[0]); });
  get("example").addEventListener("click", () => work("table", "api/example", {}));
  get("to-forecast").addEventListener("click", () => go("forecast"));
  get("freq").addEventListener("change", (e) => setOptions({ freq: e.target.value || null }));
  get("to").addEventListener("change", (e) => setOptions({ to: e.target.value || null }));
  get("model").addEventListener("change", drawMethod);
  for (const id of ["rule", "kind"]) get(id).addEventListener("change", drawRule);
  get("more-changes").addEventListener("click", () => changeRow());
  for (const [id, start] of [["forecast-form", startForecast], ["what-if-form", startQuestion], ["orders-form", startOrders]]) {
    get(id).addEventListener("submit", (e) => { e.preventDefault(); start(); });
  }
  const stop = (how) => ask("api/stop", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ how }) }).then(show);
  get("cancel").addEventListener("click", () => stop("cancel"));
  get("finish").addEventListener("click", () => stop("finish"));
  for (const link of document.querySelectorAll("#steps a")) {
    link.addEventListener("click", (e) => { e.preventDefault(); go(link.hash.slice(1)); });
  }
  addEventListener("popstate", () => go(location.hash.slice(1) || "table", false));
  const drop = get("drop");
  addEventListener("dragover", (e) => { e.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (e) => {
    e.preventDefault();
    drop.classList.remove("over");
    if (e.dataTransfer.files.length && !now.busy) send(e.dataTransfer.files[0], "table");
  });
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    if (now && here() === "what-if") drawQuestion();
  });

  (async () => {
    facts = await ask("api/facts");
    const first = facts.models.filter((m) => m.name === "zero_shot" || m.name === "auto");
    const texts = { zero_shot: "pretrained network: seconds", auto: "best blend of many methods: minutes" };
    for (const { name } of first) get("model").append(make("option", { value: name }, texts[name]));
    const more = make("optgroup", { label: "one method" });
    for (const { name } of facts.models) if (!texts[name]) more.append(make("option", { value: name }, name));
    get("model").append(more);
    now = await ask("api/state");
    const state = now;
    go(location.hash.slice(1) || "table", false);
    show(state);
    document.documentElement.dataset.ready = "";
  })().catch((error) => {
    get("problem").textContent = `The page could not start: ${error.message}`;
    throw error;
  });
})();
