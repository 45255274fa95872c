// Tables that are sorted by their heads.
// A column: key, label; value(row), by which it is sorted; cell(row), what it shows; unit, title, numeric.

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return collator.compare(a, b);
}

// "key" is ascending, "key:down" descending; empty values come last in both.
function sorted(rows, columns, order) {
  const down = order.endsWith(":down");
  const column = columns.find(({ key }) => key === (down ? order.slice(0, -5) : order));
  if (!column) return rows;
  const valued = rows.map((row) => [column.value(row), row]);
  valued.sort(([a], [b]) => {
    if (absent(a) || absent(b)) return absent(a) - absent(b);
    return down ? compareValues(b, a) : compareValues(a, b);
  });
  return valued.map(([, row]) => row);
}

function headOf(columns, key, changed) {
  const cells = columns.map((column) => {
    const sort = () => {
      state[key] = state[key] === column.key ? `${column.key}:down` : column.key;
      mark();
      changed();
    };
    const name = [h("span", {}, column.label), column.unit ? h("small", {}, ` ${column.unit}`) : null];
    const inside = column.value
      ? h("button", { type: "button", title: column.title, onclick: sort }, ...name)
      : h("span", { class: "still" }, ...name);
    return h("th", { scope: "col", class: column.numeric ? "number" : null, "data-column": column.key }, inside);
  });
  const mark = () =>
    columns.forEach((column, place) => {
      if (!column.value) return;
      const order = { [column.key]: "ascending", [`${column.key}:down`]: "descending" }[state[key]] ?? "none";
      cells[place].setAttribute("aria-sort", order);
    });
  mark();
  return h("thead", {}, h("tr", {}, ...cells));
}

function cellsOf(columns, row) {
  return columns.map((column) => h("td", { class: column.numeric ? "number" : null }, column.cell(row)));
}

// Text below a row, as wide as what is seen of the table.
const detailRow = (width, ...children) =>
  h("tr", { class: "detail" }, h("td", { colspan: width }, h("div", {}, ...children)));

// A table in a box of its own that scrolls sideways; the keyboard can scroll it too.
const scrolling = (label, table) =>
  h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, table);

// A table of headings and rows of cells, without sorting.
function plainTable(label, heads, rows, numericFrom = 1, kind = null) {
  const side = (place) => (place >= numericFrom ? "number" : null);
  return scrolling(
    label,
    h(
      "table",
      { class: kind },
      h("thead", {}, h("tr", {}, ...heads.map((head, place) => h("th", { scope: "col", class: side(place) }, head)))),
      h(
        "tbody",
        {},
        ...rows.map((cells) =>
          h(
            "tr",
            {},
            ...cells.map((cell, place) =>
              h(place ? "td" : "th", { scope: place ? null : "row", class: side(place) }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}
