// Maps of speed-up over T and N. They are tables: each ratio is text and leads to its record.

const kernelOf = ({ kernel, device, threads, dtype }) =>
  [kernel, device, threads ? counted(threads, "thread") : null, dtype].filter(Boolean).join(" · ");

const SELECTS = [
  ["Neuron", "speed_neuron", (row) => row.neuron],
  ["Baseline", "speed_baseline", (row) => row.baseline],
  ["Pass", "speed_pass", (row) => row.pass],
  ["Kernel and device", "speed_kernel", kernelOf],
];

// What is shown until something else is chosen.
const PREFERRED = { speed_neuron: "psn", speed_baseline: "loop", speed_pass: "forward_backward" };

// Faster and slower are told apart by sign and word, not by colour alone; = where the repeats' range holds 1.
function ratio({ speedup, low, high, link: url }, most) {
  if (absent(speedup)) return h("div", { class: "ratio" }, link(url, "failed"));
  const even = !absent(low) && !absent(high) && low <= 1 && high >= 1;
  const [side, sign, word] = even
    ? ["even", "=", "as fast"]
    : speedup > 1
      ? ["faster", "▲", "faster"]
      : ["slower", "▼", "slower"];
  const cell = h(
    "div",
    { class: `ratio ${side}` },
    h("span", { "aria-hidden": "true" }, `${sign} `),
    h("span", { class: "unseen" }, `${word} `),
    link(url, `${number(speedup)} ${TIMES}`),
    absent(low) || absent(high) ? "" : h("small", {}, `[${number(low)}, ${number(high)}]`),
  );
  cell.style.setProperty("--share", `${60 * Math.min(1, Math.abs(Math.log2(speedup)) / most)}%`);
  return cell;
}

function speedMap(rows) {
  const axis = (key) => [...new Set(rows.map((row) => row[key]))].sort(compareValues);
  const most = Math.max(
    1,
    ...rows.filter(({ speedup }) => speedup > 0).map(({ speedup }) => Math.abs(Math.log2(speedup))),
  );
  const at = (T, N) => rows.filter((row) => row.T === T && row.N === N).map((row) => ratio(row, most));
  return plainTable(
    "Speed-up over T and N",
    ["T \\ N", ...axis("N").map((N) => exact(N))],
    axis("T").map((T) => [
      exact(T),
      ...axis("N").map((N) => {
        const cells = at(T, N);
        return cells.length ? h("div", {}, ...cells) : EMPTY;
      }),
    ]),
    1,
    "map",
  );
}

function drawSpeedups() {
  const section = sectionOf("speedups");
  section.replaceChildren(byId("speedups"));
  if (!data.speedups.length) {
    section.append(h("p", {}, "No speed-up has been recorded."));
    return;
  }
  let rows = data.speedups;
  const selects = SELECTS.map(([label, key, get]) => {
    const values = [...new Set(rows.map(get))].sort(compareValues);
    if (!values.includes(state[key])) state[key] = "";
    const value = state[key] || (values.includes(PREFERRED[key]) ? PREFERRED[key] : values[0]);
    rows = rows.filter((row) => get(row) === value);
    return choice(
      label,
      values.map((each) => [each, each]),
      value,
      (next) => {
        state[key] = next;
        redrawBySelect(section, drawSpeedups);
        writeHash();
      },
    );
  });
  section.append(
    h("div", { class: "controls" }, ...selects),
    h(
      "p",
      { class: "quiet" },
      "Time of the baseline over time of the neuron, measured side by side; rows are time-steps T, columns neurons " +
        "N. ▲ faster, ▼ slower, = where the range of the repeats holds 1.",
    ),
    speedMap(rows),
  );
}
