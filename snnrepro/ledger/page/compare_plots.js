// Learning curves and firing rates of the chosen, each with its colour and shape.

// The mark of the n-th chosen, as in the plots.
const OUTLINES = {
  circle: "M8 2A6 6 0 1 0 8.01 2Z",
  square: "M2.5 2.5H13.5V13.5H2.5Z",
  "triangle-up": "M8 2 14.5 13.5H1.5Z",
  diamond: "M8 1 13 8 8 15 3 8Z",
  cross: "M6 2H10V6H14V10H10V14H6V10H2V6H6Z",
  "triangle-down": "M8 14 1.5 2.5H14.5Z",
  "triangle-right": "M14 8 2.5 14.5V1.5Z",
  "triangle-left": "M2 8 13.5 1.5V14.5Z",
};
const entryMark = (place) =>
  svg(
    "svg",
    { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" },
    svg("path", { d: OUTLINES[shapeOf(place)], fill: colourOf(place) }),
  );

const SHOWN_POINTS = 12; // of a curve

const seedsOf = (count) => (count > 1 ? `, mean of ${count} seeds` : "");

// Mean, least and greatest over seeds at each epoch.
function overSeeds(runs, key) {
  const at = new Map();
  for (const { curve } of ended(runs)) {
    curve?.epochs.forEach((epoch, place) => {
      const value = curve[key][place];
      if (!absent(value)) at.set(epoch, [...(at.get(epoch) ?? []), value]);
    });
  }
  return [...at]
    .sort(([a], [b]) => a - b)
    .map(([epoch, values]) => ({
      epoch,
      mean: values.reduce((sum, value) => sum + value, 0) / values.length,
      low: Math.min(...values),
      high: Math.max(...values),
      n: values.length,
    }));
}

function curves(taken) {
  const [accuracy] = metricWith("accuracy");
  const scale = accuracy?.scale ?? 1;
  const unit = accuracy ? unitOf(accuracy) : "";
  const rows = taken.flatMap(({ name, runs }) =>
    [
      ["accuracy", "judged"],
      ["train", "train"],
    ].flatMap(([key, split]) =>
      overSeeds(runs, key).map((point, place, { length }) => ({
        name,
        split,
        epoch: point.epoch,
        mean: point.mean * scale,
        low: point.low * scale,
        high: point.high * scale,
        marked: place % Math.ceil(length / SHOWN_POINTS) === 0 || place === length - 1,
        tip:
          `${name}\n${split === "train" ? "on training batches" : "on the judged split"}, epoch ${point.epoch}\n` +
          `${number(point.mean * scale)} ${unit}${seedsOf(point.n)}`,
      })),
    ),
  );
  const missing = taken.filter(({ runs }) => ended(runs).every(({ curve }) => !curve)).map(({ name }) => name);
  const make = (width) => {
    if (!rows.length) return "No learning curve was recorded for these.";
    const { names, color, shape } = marksOf(taken);
    const x = {
      field: "epoch",
      type: "quantitative",
      title: "epoch",
      axis: { tickMinStep: 1, tickCount: Math.floor(width / 60), grid: false },
      scale: { nice: false },
    };
    const y = {
      field: "mean",
      type: "quantitative",
      title: unit ? `accuracy, ${unit}` : "accuracy",
      scale: { zero: false },
    };
    const legend = { title: null, columns: legendColumns(names, width) };
    const named = { field: "name", type: "nominal", scale: color, legend };
    return {
      spec: {
        height: 320,
        data: { values: rows },
        encoding: { x },
        resolve: { scale: { strokeDash: "independent" } },
        layer: [
          {
            transform: [{ filter: "datum.split === 'judged' && datum.high > datum.low" }],
            mark: { type: "area", opacity: 0.18, aria: false },
            encoding: { y: { field: "low", type: "quantitative" }, y2: { field: "high" }, color: named },
          },
          {
            mark: { type: "line", strokeWidth: 2, aria: false },
            encoding: {
              y,
              color: named,
              strokeDash: {
                field: "split",
                type: "nominal",
                scale: {
                  domain: ["judged", "train"],
                  range: [
                    [1, 0],
                    [4, 4],
                  ],
                },
                legend: null,
              },
            },
          },
          {
            transform: [{ filter: "datum.marked" }],
            mark: { type: "point", filled: true, size: 60, opacity: 1, aria: false },
            encoding: {
              y,
              color: named,
              shape: { field: "name", type: "nominal", scale: shape, legend },
              tooltip: { field: "tip", type: "nominal" },
            },
          },
        ],
      },
    };
  };
  return [
    h(
      "p",
      { class: "quiet" },
      "Solid: the judged split, with the range over seeds as a band. Dashed: training batches.",
    ),
    missing.length ? h("p", { class: "quiet" }, `No curve was recorded for ${missing.join(", ")}.`) : "",
    plotOf("Accuracy over epochs", make),
  ];
}

function marksOf(taken) {
  const names = taken.map(({ name }) => name);
  return { names, ...scalesOf(names, names) };
}

function ratesOf(taken) {
  return taken.flatMap(({ name, runs }) => {
    const layers = new Map();
    for (const layer of ended(runs).flatMap((run) => run.layers))
      layers.set(layer.name, [...(layers.get(layer.name) ?? []), layer]);
    const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
    return [...layers].map(([layer, all]) => {
      const [rate, silent, saturated] = ["rate", "silent", "saturated"].map((key) =>
        mean(all.map((one) => one[key]).filter((value) => !absent(value))),
      );
      return { name, layer, rate, silent, saturated, n: all.length };
    });
  });
}

function firingRates(taken) {
  const rows = ratesOf(taken);
  const share = (value) => (absent(value) ? EMPTY : `${percent(100 * value)} %`);
  const drawn = rows
    .filter(({ rate }) => !absent(rate))
    .map((row) => ({
      ...row,
      tip:
        `${row.name}\n${row.layer}: ${number(row.rate)}${seedsOf(row.n)}\n` +
        `silent ${share(row.silent)}, saturated ${share(row.saturated)}`,
    }));
  const layers = [...new Set(rows.map(({ layer }) => layer))];
  const make = (width) => {
    if (!drawn.length) return "No firing rate was recorded for these.";
    const { names, color, shape } = marksOf(taken);
    const legend = { title: null, columns: legendColumns(names, width) };
    return {
      spec: {
        height: layers.length * 28 + 60 + 20 * Math.ceil(names.length / legend.columns),
        data: { values: drawn },
        mark: { type: "point", filled: true, size: 110, opacity: 0.9, aria: false },
        encoding: {
          x: {
            field: "rate",
            type: "quantitative",
            title: "spikes per neuron and time-step",
            scale: { zero: true },
            axis: { tickCount: Math.floor(width / 90) },
          },
          y: {
            field: "layer",
            type: "nominal",
            title: null,
            sort: layers,
            axis: { grid: true, labelLimit: Math.max(90, width / 4) },
          },
          color: { field: "name", type: "nominal", scale: color, legend },
          shape: { field: "name", type: "nominal", scale: shape, legend },
          tooltip: { field: "tip", type: "nominal" },
        },
      },
    };
  };
  const table = rows.length
    ? h(
        "details",
        {},
        h("summary", {}, "As a table"),
        plainTable(
          "Firing rates",
          ["Layer", "Run", "Rate", "Silent neurons", "Saturated neurons"],
          rows.map(({ layer, name, rate, silent, saturated }) => [
            layer,
            name,
            number(rate),
            share(silent),
            share(saturated),
          ]),
          2,
        ),
      )
    : "";
  return [plotOf("Firing rates by layer", make), table];
}
