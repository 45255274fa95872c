// The head's lines, the counters, and the foot.

function drawHead() {
  document.title = data.title;
  byId("title").textContent = data.title;
  const { commit, dirty } = data.made;
  byId("made").textContent = commit
    ? `Made at commit ${commit.slice(0, 12)}${dirty ? ", with changes that no commit holds (dirty)" : ""}. `
    : "Made outside a git repository. ";
  byId("made").append(`${counted(data.claims.length, "claim")}, ${counted(data.runs.length, "run")}.`);
}

function drawCounters() {
  const section = sectionOf("counters");
  section.replaceChildren(byId("counters"));
  if (!data.counters.length) {
    section.append(h("p", {}, "No counter has been recorded."));
    return;
  }
  const heads = ["Counter", "ACs", "MACs", "Neurons' ACs", "Neurons' MACs", "State moved, bytes", "Energy", "Leaves out"];
  section.append(
    h(
      "p",
      { class: "quiet" },
      "Accumulates (AC) and multiply-accumulates (MAC) a sample, as different counters count the same net.",
    ),
  );
  for (const net of new Set(data.counters.map((row) => row.net))) {
    const rows = data.counters
      .filter((row) => row.net === net)
      .map((row) => [
        link(row.link, row.counter),
        ...["acs", "macs", "neuron_acs", "neuron_macs", "state_bytes"].map((key) => number(row[key])),
        energy(row.energy_pj),
        row.leaves_out || EMPTY,
      ]);
    const table = plainTable(`Counters of ${net}`, heads, rows);
    table.querySelectorAll("tr > :last-child").forEach((cell) => (cell.className = "wrap"));
    const opened = section.querySelector("details") ? {} : { open: "" };
    section.append(h("details", opened, h("summary", {}, h("h3", {}, net)), table));
  }
}

function drawFoot() {
  const broken = data.broken.length
    ? [
        h("p", {}, `Left out of all above, because they could not be read: ${counted(data.broken.length, "record")}.`),
        plainTable(
          "Broken records",
          ["File", "Why"],
          data.broken.map(({ file, why }) => [file, why]),
          Infinity,
          "side",
        ),
      ]
    : [h("p", {}, "Every record could be read.")];
  byId("foot").parentElement.append(
    h("h3", {}, "How verdicts are decided"),
    h(
      "p",
      {},
      "A claim is reproduced or not reproduced only by full, clean runs of as many seeds as it asks for, under its " +
        "own protocol. A reduced run, or one on a part of the data, decides nothing. A claim carried over to a small " +
        "experiment holds there or does not; a lead that seeds could explain is undecided.",
    ),
    h("h3", {}, "Broken records"),
    ...broken,
    h("h3", {}, "How this page is made"),
    command(data.made.command),
  );
}
