// The table of orders: search, sort, filter by reason, pages, download.
const showOrders = ({ data, column, view, tools, choose }) => {
  const { known, make, number, percent, decimalsOf } = tools;
  const get = (id) => document.getElementById(id);
  if (!get("orders")) return;
  const PER_PAGE = 50;
  const columns = data.orders.columns.map((one) => {
    const values = column(one.values);
    const decimals = decimalsOf([values.reduce((a, b) => (known(b) ? Math.max(a, Math.abs(b)) : a), 0)]);
    return { ...one, values, text: one.share ? percent : (v) => number(v, decimals) };
  });
  const reasons = data.orders.why.names, codes = column(data.orders.why.codes);
  const state = { sort: "order", down: true, query: "", why: "", page: 0 };
  let list = [];

  function filtered() {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let i = 0; i < view.series; i++) {
      if (state.why !== "" && codes[i] !== +state.why) continue;
      if (words.every((w) => view.lower[i].includes(w))) found.push(i);
    }
    const sign = state.down ? -1 : 1;
    const by = columns.find(({ id }) => id === state.sort);
    const text = { name: (i) => view.lower[i], why: (i) => reasons[codes[i]] }[state.sort];
    const less = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    found.sort((a, b) => {
      if (text) return sign * less(text(a), text(b)) || a - b;
      const [x, y] = [by.values[a], by.values[b]];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
      return sign * (x - y) || a - b;
    });
    return found;
  }

  function show() {
    list = filtered();
    const count = (n) => n.toLocaleString("en");
    const pages = Math.max(1, Math.ceil(list.length / PER_PAGE));
    state.page = Math.max(0, Math.min(state.page, pages - 1));
    get("order-count").textContent = list.length === view.series
      ? `${count(view.series)} items` : `${count(list.length)} of ${count(view.series)} items`;
    get("order-page").textContent = `Page ${count(state.page + 1)} of ${count(pages)}`;
    get("order-before").disabled = state.page === 0;
    get("order-after").disabled = state.page === pages - 1;
    get("order-pages").hidden = pages === 1;
    const table = get("order-table"), head = make("thead"), titles = make("tr");
    const shown = [["name", "Item"], ...columns.map(({ id, title }) => [id, title]), ["why", "Why"]];
    shown.forEach(([id, name], place) => {
      const sorted = state.sort === id;
      const th = make("th", { scope: "col", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : "none" });
      const button = make("button", { type: "button", class: "sort" }, name + (sorted ? (state.down ? " ↓" : " ↑") : ""));
      button.addEventListener("click", () => {
        state.down = sorted ? !state.down : id !== "name" && id !== "why";
        state.sort = id;
        state.page = 0;
        show();
        table.querySelectorAll(".sort")[place].focus();
      });
      th.append(button);
      titles.append(th);
    });
    head.append(titles);
    const body = make("tbody");
    for (const i of list.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE)) {
      const line = body.insertRow();
      const th = make("th", { scope: "row" });
      const button = make("button", { type: "button", class: "link" }, view.names[i]);
      button.addEventListener("click", () => choose(i));
      th.append(button);
      line.append(th);
      for (const { values, text } of columns) line.append(make("td", {}, known(values[i]) ? text(values[i]) : "–"));
      line.append(make("td", {}, reasons[codes[i]]));
    }
    table.replaceChildren(head, body);
  }

  function csv() {
    const quote = (v) => (/[",\n\r]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
    const safe = (v) => quote(/^[=+\-@\t\r]/.test(v) ? `'${v}` : v);  // a spreadsheet would run a formula
    const exact = (v) => (Number.isInteger(v) ? String(v) : known(v) ? String(+v.toPrecision(7)) : "");
    const lines = [[...view.keyNames, ...columns.map(({ id }) => id), "why"].map(safe).join(",")];
    for (const i of list) {
      lines.push([...view.key(i).map(safe), ...columns.map(({ values }) => exact(values[i])), reasons[codes[i]]].join(","));
    }
    return lines.join("\n") + "\n";
  }

  get("order-why").replaceChildren(
    make("option", { value: "" }, "all orders"), ...reasons.map((name, code) => make("option", { value: String(code) }, name)),
  );
  get("order-search").addEventListener("input", (e) => { state.query = e.target.value; state.page = 0; show(); });
  get("order-why").addEventListener("change", (e) => { state.why = e.target.value; state.page = 0; show(); });
  get("order-before").addEventListener("click", () => { state.page -= 1; show(); });
  get("order-after").addEventListener("click", () => { state.page += 1; show(); });
  get("order-download").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    make("a", { href: address, download: "orders.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  show();
};
