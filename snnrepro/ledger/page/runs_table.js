// The runs table: configs with their seeds folded together, or single runs; each number leads to its record.

const ROWS = 100;
const unfolded = new Set(); // keys of the entries whose seeds or details are seen

const one =
  (get) =>
  ({ runs }) =>
    [...new Set(runs.map(get))]
      .filter((value) => !absent(value))
      .sort(compareValues)
      .join(", ");
const plain = (key, label, get) => ({ key, label, value: one(get), cell: (entry) => one(get)(entry) || EMPTY });

const meaning = ({ about, better }) =>
  [about, { up: "Higher is better.", down: "Lower is better." }[better]].filter(Boolean).join(" ");

const metricColumns = data.metrics.map((metric) => ({
  key: `metric:${metric.key}`,
  label: [capital(metric.label), { up: "↑", down: "↓" }[metric.better]].filter(Boolean).join("\u00a0"),
  unit: unitOf(metric),
  title: meaning(metric),
  numeric: true,
  value: ({ runs }) => spread(runs, metric.key)?.mean,
  cell: ({ runs }) => metricCell(metric, runs),
}));

const RUN_COLUMNS = [
  { key: "compare", label: "Compare", cell: compareBox },
  { key: "id", label: "Run", value: ({ name }) => name, cell: nameCell },
  plain("neuron", "Neuron", ({ neuron }) => neuron),
  {
    key: "seed",
    label: "Seeds",
    numeric: true,
    value: ({ runs }) => (runs.length === 1 ? runs[0].seed : runs.length),
    cell: seedCell,
  },
  { key: "status", label: "Status", value: one(({ status }) => status), cell: statusCell },
  {
    key: "notes",
    label: "Notes",
    value: ({ runs }) =>
      notesOf(runs)
        .map(([short]) => short)
        .join(", "),
    cell: notesCell,
  },
  ...metricColumns,
  plain("dataset", "Data set", ({ dataset }) => dataset),
  plain("architecture", "Architecture", ({ architecture }) => architecture),
  plain("protocol", "Protocol", ({ protocol }) => protocol),
  plain("device", "Device", ({ device }) => device),
  plain("commit", "Commit", ({ commit }) => commit?.slice(0, 8)),
];

function compareBox({ key, name }) {
  const box = h("input", {
    type: "checkbox",
    "aria-label": `compare ${name}`,
    "data-entry": key,
    checked: state.chosen.includes(key),
  });
  box.addEventListener("change", () => chooseToo(key, box.checked));
  return h("label", { class: "box" }, box);
}

function nameCell(entry) {
  const { key, name, runs } = entry;
  const open = () => {
    if (!unfolded.delete(key)) unfolded.add(key);
    const row = button.closest("tr");
    button.setAttribute("aria-expanded", unfolded.has(key));
    if (unfolded.has(key)) row.after(...below(entry));
    else while (row.nextElementSibling?.dataset.below === key) row.nextElementSibling.remove();
  };
  const what = runs.length === 1 && !entry.of ? "details" : "seeds";
  const button = h("button", {
    type: "button",
    class: "opener",
    "aria-expanded": String(unfolded.has(key)),
    "aria-label": `${what} of ${name}`,
    onclick: open,
  });
  return h("div", { class: "name" }, button, what === "details" ? link(runs[0].link, path(name)) : path(name));
}

function seedCell({ runs, of }) {
  if (!of) return `seed ${runs[0].seed}`;
  return runs.length < of ? `${runs.length} of ${of}` : `n = ${runs.length}`;
}

function statusCell({ runs }) {
  const counts = new Map();
  for (const { status } of runs) counts.set(status, (counts.get(status) ?? 0) + 1);
  const words = [...counts].map(([status, count]) =>
    runs.length > 1 && counts.size > 1 ? `${count} ${status}` : status,
  );
  const errors = [...new Set(runs.map(({ error }) => error).filter(Boolean))];
  return h(
    "div",
    { class: errors.length ? "status failed" : "status" },
    words.join(", "),
    ...errors.map((error) => h("div", { class: "error", title: error }, error)),
  );
}

function notesCell({ runs }) {
  const notes = notesOf(runs);
  return notes.length
    ? h("div", { class: "tags" }, ...notes.map(([short, long]) => h("span", { class: "tag", title: long }, short)))
    : EMPTY;
}

// The keyboard reaches a run's record by its name in the same row: its numbers, which lead to the same file, are left
// out of the order of Tab.
function numberLink(metric, run) {
  const value = run.metrics[metric.key];
  return link(run.link, shown(metric, value), { tabindex: "-1", title: `${value}: ${run.id}` });
}

function metricCell(metric, runs) {
  const over = spread(runs, metric.key);
  if (!over) return EMPTY;
  if (runs.length === 1) return numberLink(metric, over.low);
  if (over.n === 1) return h("span", {}, numberLink(metric, over.low), h("small", {}, " n = 1"));
  return h(
    "span",
    { title: `mean of ${over.n}: ${over.mean}` },
    h("strong", {}, shown(metric, over.mean)),
    h(
      "small",
      {},
      " [",
      numberLink(metric, over.low),
      ", ",
      numberLink(metric, over.high),
      "]",
      over.n < runs.length ? ` n = ${over.n}` : "",
    ),
  );
}

// Under a group its seeds, under a run what else its record says.
function below({ key, runs, of }) {
  const rows = of ? runs.flatMap((run) => rowsFor(entries.get(run.key))) : [runDetails(runs[0])];
  for (const row of rows) {
    row.dataset.below = key;
    if (of) row.classList.add("seed");
  }
  return rows;
}

function runDetails(run) {
  const version = run.experiment && !absent(run.version) ? `version ${run.version} of its experiment` : "";
  const code = [run.commit ? `commit ${run.commit}` : "", version].filter(Boolean).join(", ");
  return detailRow(
    RUN_COLUMNS.length,
    terms([
      ["Record", link(run.link, run.link)],
      ["Error", run.error || null],
      [
        "Notes",
        notesOf([run])
          .map(([, long]) => long)
          .join("; ") || null,
      ],
      ["Experiment", run.experiment || EMPTY],
      ["Code", code || EMPTY],
      ["Device", `${run.device}${absent(run.threads) ? "" : `, ${counted(run.threads, "thread")}`}`],
      ["Command", command(run.command)],
    ]),
  );
}

function rowsFor(entry) {
  const row = h("tr", {}, ...cellsOf(RUN_COLUMNS, entry));
  return [row, ...(unfolded.has(entry.key) ? below(entry) : [])];
}

const columnsMeaning = () =>
  h(
    "details",
    {},
    h("summary", {}, "What the columns mean"),
    terms(data.metrics.map((metric) => [titled(metric), meaning(metric)])),
  );

function drawRuns() {
  const section = sectionOf("runs");
  section.replaceChildren(byId("runs"));
  if (!data.runs.length) {
    section.append(h("p", {}, "No run has been recorded: python train.py makes one."));
    return;
  }
  const body = h("tbody");
  const count = h("p", { role: "status", class: "quiet" });
  const more = h("button", {
    type: "button",
    onclick: () => {
      state.all = "1";
      fill();
    },
  });
  const fill = () => {
    const runs = passing();
    const rows = sorted(rowsOf(runs), RUN_COLUMNS, state.runs_sort);
    const drawn = state.all ? rows : rows.slice(0, ROWS);
    const configs = state.single ? "" : ` in ${counted(rows.length, "config")}`;
    count.textContent = `${exact(runs.length)} of ${counted(data.runs.length, "run")}${configs}`;
    more.hidden = drawn.length === rows.length;
    more.textContent = `Show all ${exact(rows.length)} rows (${exact(drawn.length)} are drawn)`;
    body.replaceChildren(...drawn.flatMap(rowsFor));
  };
  const filtered = () => {
    fill();
    drawPareto();
    writeHash();
  };
  const again = () => {
    fill();
    writeHash();
  };
  const filter = (label, key) =>
    filterBy(
      label,
      `runs_${key}`,
      data.runs.map((run) => run[key]),
      filtered,
    );
  section.append(
    h(
      "div",
      { class: "controls" },
      filter("Paper", "paper"),
      filter("Data set", "dataset"),
      filter("Neuron", "neuron"),
      filter("Status", "status"),
      search("Search runs", "runs_text", filtered),
      toggle("Single runs", "single", again),
    ),
    h(
      "p",
      { class: "quiet" },
      "A row is a config: the mean of its completed seeds, [least, greatest]. Numbers lead to their records; " +
        "tick rows to compare them.",
    ),
    columnsMeaning(),
    count,
    skipTo("compare"),
    scrolling("Runs", h("table", { class: "runs" }, headOf(RUN_COLUMNS, "runs_sort", again), body)),
    more,
  );
  fill();
}
