// The chosen runs and configs side by side: conditions, config, metrics, learning curves, firing rates.

function configOf({ runs }, key) {
  const values = new Set(
    runs.map(({ config }) => (data.configs.own[config] ?? {})[key] ?? data.configs.common[key] ?? ""),
  );
  return [...values]
    .sort(compareValues)
    .map((value) => value || "(not set)")
    .join(", ");
}

// A table of texts, a column for each entry; what differs from the first column has a sign and another weight.
function sideBySide(label, heads, rows) {
  return plainTable(
    label,
    ["", ...heads],
    rows.map(([name, ...texts]) => [
      name,
      ...texts.map((text) =>
        text === texts[0]
          ? text
          : h(
              "span",
              { class: "differs" },
              h("span", { "aria-hidden": "true" }, "≠ "),
              h("span", { class: "unseen" }, "differs: "),
              text,
            ),
      ),
    ]),
    Infinity,
    "side",
  );
}

function conditions(taken) {
  const over = (label, get) => [label, ...taken.map((entry) => one(get)(entry) || EMPTY)];
  return [
    over("Protocol", ({ protocol }) => protocol),
    over("Data set", ({ dataset }) => dataset),
    over("Architecture", ({ architecture }) => architecture),
    [
      "Seeds",
      ...taken.map(({ runs }) =>
        runs
          .map(({ seed }) => seed)
          .sort(compareValues)
          .join(", "),
      ),
    ],
    over("Status", ({ status }) => status),
    [
      "Notes",
      ...taken.map(
        ({ runs }) =>
          notesOf(runs)
            .map(([, long]) => long)
            .join("; ") || EMPTY,
      ),
    ],
    over("Commit", ({ commit }) => commit?.slice(0, 8)),
    over("Device", ({ device, threads }) => `${device}${absent(threads) ? "" : `, ${counted(threads, "thread")}`}`),
  ];
}

// Why the numbers of the chosen do not compare, where they do not.
function warnings(taken) {
  const several = (get) => new Set(taken.flatMap(({ runs }) => runs.map(get))).size > 1;
  return [
    several(({ protocol }) => protocol) && "These follow different protocols: their accuracies do not compare.",
    several(({ dataset }) => dataset) && "These are of different data sets: their accuracies do not compare.",
    several(({ device, threads }) => `${device} ${threads}`) && APART,
  ]
    .filter(Boolean)
    .map((text) => h("p", { class: "warning" }, "⚠ ", text));
}

// The best of each metric, where it is known what is better and they differ.
function metricRows(taken) {
  return data.metrics
    .map((metric) => {
      const means = taken.map(({ runs }) => spread(runs, metric.key)?.mean);
      const known = means.filter((mean) => !absent(mean));
      const best =
        metric.better && new Set(known).size > 1 ? Math[metric.better === "up" ? "max" : "min"](...known) : null;
      return [
        titled(metric),
        ...taken.map(({ runs }, place) => {
          const text = spreadText(metric, runs);
          return best !== null && means[place] === best ? h("strong", {}, `${text} ★ best`) : text;
        }),
      ];
    })
    .filter(([, ...cells]) => cells.some((cell) => cell !== EMPTY));
}

function drawChosen(taken) {
  const bar = byId("chosen");
  bar.hidden = !taken.length;
  bar.replaceChildren(
    h("span", {}, taken.length === 1 ? "1 chosen: tick another to compare" : `${taken.length} chosen`),
    taken.length > 1 ? h("button", { type: "button", onclick: () => goTo("compare") }, "Compare") : "",
    h("button", { type: "button", onclick: () => choose([]) }, "Clear"),
  );
}

function drawCompare() {
  const taken = chosen();
  const section = sectionOf("compare");
  for (const host of section.querySelectorAll(".plot")) forget(host);
  section.replaceChildren(byId("compare"));
  drawChosen(taken);
  if (taken.length < 2) {
    section.append(
      h(
        "p",
        {},
        "Tick two or more rows of the table of runs: config, numbers, learning curves and firing rates appear here " +
          "side by side.",
      ),
    );
    return;
  }
  const heads = taken.map((entry, place) =>
    h(
      "span",
      { class: "head" },
      entryMark(place),
      entry.runs.length === 1 ? link(entry.runs[0].link, path(entry.name)) : path(entry.name),
      h(
        "button",
        {
          type: "button",
          "aria-label": `leave out ${entry.name}`,
          title: "leave out",
          onclick: () => chooseToo(entry.key, false),
        },
        "✕",
      ),
    ),
  );
  const names = () => taken.map(({ name }) => path(name));
  const configTable = h("div");
  const fill = () => {
    const keys = [
      ...new Set(
        [
          data.configs.common,
          ...taken.flatMap(({ runs }) => runs.map(({ config }) => data.configs.own[config] ?? {})),
        ].flatMap(Object.keys),
      ),
    ].sort(compareValues);
    const rows = keys.map((key) => [key, ...taken.map((entry) => configOf(entry, key))]);
    const differing = rows.filter(([, ...texts]) => new Set(texts).size > 1);
    configTable.replaceChildren(
      h(
        "p",
        { class: "quiet" },
        `Keys that differ: ${exact(differing.length)} of ${exact(keys.length)}. ≠: not as in the first column.`,
      ),
      sideBySide("Config", names(), state.every_key ? rows : differing),
    );
  };
  section.append(
    h("button", { type: "button", onclick: () => choose([]) }, "Clear"),
    ...warnings(taken),
    h("h3", {}, "Metrics"),
    plainTable("Metrics", ["", ...heads], metricRows(taken), Infinity, "side"),
    h("h3", {}, "Conditions"),
    sideBySide("Conditions", names(), conditions(taken)),
    h("h3", {}, "Config"),
    toggle("All keys", "every_key", () => {
      fill();
      writeHash();
    }),
    configTable,
    h("h3", {}, "Learning curves"),
    ...curves(taken),
    h("h3", {}, "Firing rates by layer"),
    ...firingRates(taken),
    h("h3", {}, "Firing rate over time"),
    ...ratesOverTime(taken),
  );
  fill();
}
