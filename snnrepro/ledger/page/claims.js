// The claims table, and the counts of verdicts that filter it.

// A sign for each verdict: a colour of Okabe and Ito, each of another lightness, and a shape.
const CARRIED = ["holds", "does not hold", "undecided"]; // of claims carried over to small experiments
const VERDICTS = ["reproduced", "not reproduced", ...CARRIED, "reduced", "not run", "blocked"];
const SIGNS = {
  reproduced: ["circle", { cx: 8, cy: 8, r: 7 }, "M4.5 8.2 7 10.8 11.6 5.4"],
  "not reproduced": ["rect", { x: 1.5, y: 1.5, width: 13, height: 13 }, "M5 5 11 11 M11 5 5 11"],
  holds: ["circle", { cx: 8, cy: 8, r: 7 }, "M4.5 8.2 7 10.8 11.6 5.4"],
  "does not hold": ["rect", { x: 1.5, y: 1.5, width: 13, height: 13 }, "M5 5 11 11 M11 5 5 11"],
  undecided: ["path", { d: "M8 0.5 15.5 8 8 15.5 0.5 8Z" }, "M5 8H11"],
  reduced: ["path", { d: "M8 1 15 14.5H1Z" }, "M8 6V10 M8 12V12.6"],
  "not run": ["circle", { cx: 8, cy: 8, r: 6.5 }, "M6 8H10"],
  blocked: ["path", { d: "M5 1H11L15 5V11L11 15H5L1 11V5Z" }, "M4.5 8H11.5"],
};

function verdictSign(verdict) {
  const [tag, attributes, line] = SIGNS[verdict];
  return svg(
    "svg",
    { viewBox: "0 0 16 16", class: `sign ${verdict.replaceAll(" ", "-")}`, "aria-hidden": "true" },
    svg(tag, attributes),
    svg("path", { d: line, class: "line" }),
  );
}

const verdictOf = (verdict) => h("span", { class: "verdict" }, SIGNS[verdict] ? verdictSign(verdict) : "", verdict);

// A value with what qualifies it in small print; an order of many runs takes several lines.
const qualified = (value, small) =>
  value
    ? h("span", value.length > 24 ? { class: "long" } : {}, value, small ? h("small", {}, ` ${small}`) : "")
    : EMPTY;

const opened = new Set(); // names of the claims whose details are seen

const CLAIM_COLUMNS = [
  { key: "name", label: "Claim", value: (claim) => claim.name, cell: claimButton },
  {
    key: "verdict",
    label: "Verdict",
    value: ({ verdict }) => VERDICTS.indexOf(verdict),
    cell: ({ verdict }) => verdictOf(verdict),
  },
  {
    key: "value",
    label: "Claimed",
    numeric: true,
    value: ({ value }) => leading(value),
    cell: ({ value, tolerance }) => qualified(value, tolerance),
  },
  {
    key: "ours",
    label: "Ours",
    numeric: true,
    value: ({ ours }) => leading(ours),
    cell: ({ ours, interval }) => qualified(ours, interval),
  },
  {
    key: "seeds",
    label: "Seeds",
    numeric: true,
    value: ({ seeds }) => seeds,
    cell: ({ seeds, min_seeds }) => `${seeds} of ${min_seeds}`,
  },
  { key: "metric", label: "Metric", value: ({ metric }) => metric, cell: ({ metric }) => metric },
  { key: "dataset", label: "Data set", value: ({ dataset }) => dataset, cell: ({ dataset }) => dataset },
  { key: "paper", label: "Paper", value: ({ paper }) => paper, cell: ({ paper }) => paper },
];

function claimButton(claim) {
  const open = () => {
    if (!opened.delete(claim.name)) opened.add(claim.name);
    const row = button.closest("tr");
    button.setAttribute("aria-expanded", opened.has(claim.name));
    if (opened.has(claim.name)) row.after(claimDetails(claim));
    else row.nextElementSibling.remove();
  };
  const button = h(
    "button",
    { type: "button", class: "opener", "aria-expanded": String(opened.has(claim.name)), onclick: open },
    path(claim.name),
  );
  return button;
}

function claimDetails(claim) {
  const runs = claim.runs.map((place) => data.runs[place]);
  const compare = () => {
    choose(runs.map(({ key }) => key));
    goTo("compare");
  };
  const records = [...runs.map((run) => [run.link, run.id]), ...claim.links.map((url) => [url, url])];
  const listed = h("ul", {}, ...records.map(([url, text]) => h("li", {}, link(url, text))));
  return detailRow(
    CLAIM_COLUMNS.length,
    terms([
      ["Statement", claim.statement],
      ["Experiment", claim.experiment],
      ...(claim.of.length ? [["Stands for", claim.of.join(", ")]] : []),
      ["Source", claim.source],
      ["Kind, protocol", `${claim.kind}, ${claim.protocol}`],
      ["Why", claim.why || EMPTY],
      ["Command", command(claim.command)],
      ["Records", records.length ? listed : "none yet"],
    ]),
    runs.length > 1 ? h("button", { type: "button", onclick: compare }, "Compare these runs") : "",
  );
}

function claimsPass({ paper, verdict, ...claim }) {
  const text = [
    claim.name,
    claim.experiment,
    claim.dataset,
    claim.statement,
    claim.kind,
    claim.metric,
    claim.source,
    claim.value,
    claim.ours,
    claim.why,
    paper,
    verdict,
  ].join(" ");
  return (
    (!state.claims_paper || paper === state.claims_paper) &&
    (!state.claims_verdict || verdict === state.claims_verdict) &&
    found(text, state.claims_text)
  );
}

function drawVerdicts() {
  if (!data.claims.length) return;
  const counts = VERDICTS.map((verdict) => [
    verdict,
    data.claims.filter((claim) => claim.verdict === verdict).length,
  ]).filter(([verdict, count]) => count || !CARRIED.includes(verdict));
  byId("verdicts").replaceChildren(
    ...counts.map(([verdict, count]) => {
      const pick = () => {
        state.claims_verdict = state.claims_verdict === verdict ? "" : verdict;
        drawClaims();
      };
      return h(
        "button",
        { type: "button", "data-verdict": verdict, onclick: pick },
        verdictSign(verdict),
        h("strong", {}, String(count)),
        ` ${verdict}`,
      );
    }),
  );
}

function drawClaims() {
  const section = sectionOf("claims");
  section.replaceChildren(byId("claims"));
  if (!data.claims.length) {
    section.append(h("p", {}, "No claim has been read: claims stand in the experiments' files, configs/experiment."));
    return;
  }
  const body = h("tbody");
  const count = h("p", { role: "status", class: "quiet" });
  const fill = () => {
    const claims = sorted(data.claims.filter(claimsPass), CLAIM_COLUMNS, state.claims_sort);
    count.textContent = `${exact(claims.length)} of ${counted(data.claims.length, "claim")}`;
    body.replaceChildren(
      ...claims.flatMap((claim) => [
        h("tr", {}, ...cellsOf(CLAIM_COLUMNS, claim)),
        ...(opened.has(claim.name) ? [claimDetails(claim)] : []),
      ]),
    );
    for (const button of byId("verdicts").children) {
      button.setAttribute("aria-pressed", button.dataset.verdict === state.claims_verdict);
    }
    writeHash();
  };
  section.append(
    h(
      "div",
      { class: "controls" },
      filterBy(
        "Paper",
        "claims_paper",
        data.claims.map(({ paper }) => paper),
        fill,
      ),
      filterBy(
        "Verdict",
        "claims_verdict",
        data.claims.map(({ verdict }) => verdict),
        fill,
      ),
      search("Search claims", "claims_text", fill),
    ),
    count,
    skipTo("runs"),
    scrolling("Claims", h("table", {}, headOf(CLAIM_COLUMNS, "claims_sort", fill), body)),
  );
  fill();
}
