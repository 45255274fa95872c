// The firing rate of the chosen at every time-step, over all layers together.

// Mean over the completed seeds that tell it.
function overTime(runs) {
  const at = new Map();
  for (const { rates } of ended(runs)) {
    rates?.steps.forEach((step, place) => {
      const value = rates.rate[place];
      if (!absent(value)) at.set(step, [...(at.get(step) ?? []), value]);
    });
  }
  return [...at]
    .sort(([a], [b]) => a - b)
    .map(([step, values]) => ({
      step,
      rate: values.reduce((sum, value) => sum + value, 0) / values.length,
      n: values.length,
    }));
}

function ratesOverTime(taken) {
  const rows = taken.flatMap(({ name, runs }) =>
    overTime(runs).map((point, place, { length }) => ({
      name,
      ...point,
      marked: place % Math.ceil(length / SHOWN_POINTS) === 0 || place === length - 1,
      tip: `${name}\nstep ${point.step}: ${number(point.rate)}${seedsOf(point.n)}`,
    })),
  );
  const make = (width) => {
    if (!rows.length) return "No firing rate over time was recorded for these.";
    const { names, color, shape } = marksOf(taken);
    const legend = { title: null, columns: legendColumns(names, width) };
    const y = { field: "rate", type: "quantitative", title: "firing rate", scale: { zero: true } };
    const named = { field: "name", type: "nominal", scale: color, legend };
    return {
      spec: {
        height: 220,
        data: { values: rows },
        encoding: {
          x: {
            field: "step",
            type: "quantitative",
            title: "time-step",
            axis: { tickMinStep: 1, tickCount: Math.floor(width / 60), grid: false },
            scale: { nice: false },
          },
          y,
          color: named,
        },
        layer: [
          { mark: { type: "line", strokeWidth: 2, aria: false } },
          {
            transform: [{ filter: "datum.marked" }],
            mark: { type: "point", filled: true, size: 60, opacity: 1, aria: false },
            encoding: {
              shape: { field: "name", type: "nominal", scale: shape, legend },
              tooltip: { field: "tip", type: "nominal" },
            },
          },
        ],
      },
    };
  };
  return [plotOf("Firing rate over time", make)];
}
