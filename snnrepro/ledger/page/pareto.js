// Accuracy against energy and against training speed, of the runs that pass the filter, one setting at a time.

// How neurons are drawn does not depend on which are shown.
const NEURONS = [...new Set(data.runs.map(({ neuron }) => neuron))].sort(compareValues);

// What accuracies compare within: data set, architecture, protocol, and whether the run was made smaller.
const settingOf = (run) =>
  [
    run.dataset,
    run.architecture,
    `${run.protocol} protocol`,
    ...(absent(run.reduced) ? [] : ["reduced"]),
    ...(run.partial ? ["partial data"] : []),
  ].join(" · ");

// Least or greatest first, those that nothing before them equals in accuracy.
function frontOf(points, better) {
  const front = [];
  for (const point of points.toSorted((a, b) => (better === "down" ? a.x - b.x : b.x - a.x) || b.y - a.y)) {
    if (!front.length || point.y > front.at(-1).y) front.push(point);
  }
  return front;
}

// Configs of completed runs as means over their seeds, and the seeds themselves where there are several.
function pointsOf(runs, cost, accuracy) {
  const having = runs.filter((run) => run.metrics[cost.key] > 0 && !absent(run.metrics[accuracy.key]));
  const unit = (picojoulesOf(cost) ?? 1) * cost.scale;
  const groups = new Map();
  for (const run of having) groups.set(groupOf(run), [...(groups.get(groupOf(run)) ?? []), run]);
  const point = (runs, key, what) => {
    const [x, y] = [cost, accuracy].map((metric) => spread(runs, metric.key).mean);
    return {
      x: x * unit,
      y: y * accuracy.scale,
      neuron: runs[0].neuron,
      pick: key,
      runs,
      tip: [what, measured(accuracy, y), measured(cost, x), ...notesOf(runs).map(([short]) => short)].join("\n"),
    };
  };
  return {
    means: [...groups].map(([key, runs]) =>
      runs.length === 1
        ? point(runs, runs[0].key, runs[0].id)
        : point(runs, key, `${runs[0].group}, mean of ${runs.length} seeds`),
    ),
    seeds: [...groups.values()]
      .filter(({ length }) => length > 1)
      .flat()
      .map((run) => point([run], run.key, run.id)),
  };
}

const JOULE_LABELS = JOULES.slice(0, -1).reduceRight(
  (rest, [unit, size]) => `datum.value >= ${size} ? format(datum.value / ${size}, '~g') + ' ${unit}' : ${rest}`,
  "format(datum.value, '~g') + ' pJ'",
);

function paretoSpec({ means, seeds }, cost, accuracy, width) {
  const names = NEURONS.filter((name) => means.some(({ neuron }) => neuron === name));
  const { color, shape } = scalesOf(names, NEURONS);
  const legend = { title: null, columns: legendColumns(names, width) };
  const axis = picojoulesOf(cost) ? { labelExpr: JOULE_LABELS } : { format: "~s" };
  const channels = (size) => ({
    color: { field: "neuron", type: "nominal", scale: color, legend },
    shape: { field: "neuron", type: "nominal", scale: shape, legend },
    tooltip: { field: "tip", type: "nominal" },
    size: { value: size },
  });
  const points = (values, size, opacity) => ({
    data: { values: values.map(({ runs, ...point }) => point) },
    mark: { type: "point", filled: true, opacity, cursor: "pointer", aria: false },
    encoding: channels(size),
  });
  return {
    height: 380,
    encoding: {
      x: {
        field: "x",
        type: "quantitative",
        title: titled(cost),
        scale: { type: "log", nice: false, padding: 16 },
        axis: { ...axis, tickCount: Math.floor(width / 90), labelOverlap: true },
      },
      y: { field: "y", type: "quantitative", title: titled(accuracy), scale: { zero: false } },
    },
    layer: [
      {
        data: { values: frontOf(means, cost.better).map(({ x, y }) => ({ x, y })) },
        mark: {
          type: "line",
          interpolate: cost.better === "down" ? "step-after" : "step-before",
          stroke: INK,
          strokeDash: [5, 4],
          opacity: 0.6,
          aria: false,
        },
      },
      points(seeds, 28, 0.55),
      points(means, 120, 0.95),
    ],
  };
}

// The point that was clicked: its numbers in words, its records, and a button that adds it to the comparison.
function picked(place, { pick, tip }) {
  const { key, runs } = entries.get(pick);
  const words = () => (state.chosen.includes(key) ? "Leave out of the comparison" : "Add to the comparison");
  const button = h(
    "button",
    {
      type: "button",
      onclick: () => {
        chooseToo(key, !state.chosen.includes(key));
        button.textContent = words();
      },
    },
    words(),
  );
  place.replaceChildren(
    h("p", { class: "lines" }, tip),
    h(
      "p",
      {},
      "Records: ",
      ...runs.flatMap((run, at) => [at ? ", " : "", link(run.link, runs.length > 1 ? `seed ${run.seed}` : run.id)]),
    ),
    button,
  );
}

function paretoTable({ means }, cost, accuracy) {
  const front = new Set(frontOf(means, cost.better));
  const name = ({ runs }) => (runs.length === 1 ? link(runs[0].link, runs[0].id) : runs[0].group);
  return plainTable(
    "Points",
    ["Config", titled(accuracy), titled(cost), "Seeds", "On the front"],
    means
      .toSorted((a, b) => b.y - a.y)
      .map((point) => [
        name(point),
        spreadText(accuracy, point.runs),
        spreadText(cost, point.runs),
        String(point.runs.length),
        front.has(point) ? "yes" : "",
      ]),
  );
}

function drawPareto() {
  const section = sectionOf("pareto");
  for (const host of section.querySelectorAll(".plot")) forget(host);
  section.replaceChildren(byId("pareto"));
  const costs = [["energy"], ["train", "samples_per_second"]].map((words) => metricWith(...words)[0]).filter(Boolean);
  const settings = new Map();
  for (const run of passing()) {
    if (run.status === "completed") settings.set(settingOf(run), [...(settings.get(settingOf(run)) ?? []), run]);
  }
  if (!settings.size || !costs.length) {
    section.append(h("p", {}, "No completed run passes the filter of the runs table."));
    return;
  }
  const ordered = [...settings].sort(([a, some], [b, others]) => others.length - some.length || compareValues(a, b));
  const setting = settings.has(state.setting) ? state.setting : ordered[0][0];
  const runs = settings.get(setting);
  const accuracy = metricWith("accuracy").toSorted(
    (a, b) => (spread(runs, b.key)?.n ?? 0) - (spread(runs, a.key)?.n ?? 0),
  )[0];
  section.append(
    h(
      "div",
      { class: "controls" },
      choice(
        "Data set and architecture",
        ordered.map(([name, some]) => [name, `${name} (${counted(some.length, "run")})`]),
        setting,
        (value) => {
          state.setting = value;
          redrawBySelect(section, drawPareto);
          writeHash();
        },
      ),
    ),
    h(
      "p",
      { class: "quiet" },
      "The completed runs that pass the filter of the runs table: large points are means over the seeds of a config, " +
        "small ones the seeds, the dashed steps the Pareto front of the means. Click on a point to open its record " +
        "or to compare it.",
    ),
  );
  for (const cost of accuracy ? costs : []) {
    const points = pointsOf(runs, cost, accuracy);
    const place = h("div", { role: "status" });
    const machines = new Set(
      points.means.flatMap((point) => point.runs.map(({ device, threads }) => `${device}, ${threads}`)),
    );
    const title = `${capital(accuracy.label)} against ${cost.label.toLowerCase()}`;
    section.append(
      h("h3", {}, title),
      cost.key.includes("second") && machines.size > 1 ? h("p", { class: "warning" }, `⚠ ${APART}`) : "",
      plotOf(title, (width) =>
        points.means.length
          ? { spec: paretoSpec(points, cost, accuracy, width), pick: (datum) => picked(place, datum) }
          : `No run of this setting has both ${accuracy.label.toLowerCase()} and ${cost.label.toLowerCase()}.`,
      ),
      place,
      h("details", {}, h("summary", {}, "As a table"), paretoTable(points, cost, accuracy)),
    );
  }
}
