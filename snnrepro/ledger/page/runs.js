// Runs and their groups (the seeds of one config): what both are called, their means, what qualifies them, the choices.

const BUSY = 0.05; // of the processor, taken by other work: from here on a speed is not the run's own

// A key names a run or a group in the address; a second record of the same id is told from the first by a number.
const entries = new Map();
for (const run of data.runs) {
  run.key = `run:${run.id}`;
  for (let count = 2; entries.has(run.key); count += 1) run.key = `run:${run.id}#${count}`;
  entries.set(run.key, { key: run.key, name: run.key.slice(4), runs: [run] });
}
const APART = "These ran on different devices or numbers of threads: their speeds do not compare.";

const groupOf = (run) => `group:${run.group}`;
for (const run of data.runs) {
  const key = groupOf(run);
  if (!entries.has(key)) entries.set(key, { key, name: run.group, runs: [] });
  entries.get(key).runs.push(run);
}

// Of several runs those that ended; a run that is looked at alone counts as far as it got.
const ended = (runs) => (runs.length === 1 ? runs : runs.filter(({ status }) => status === "completed"));

// Mean, least and greatest of a metric, and the runs that have these two; null where none has it.
function spread(runs, key) {
  const having = ended(runs).filter(({ metrics }) => !absent(metrics[key]));
  if (!having.length) return null;
  const byValue = having.toSorted((a, b) => a.metrics[key] - b.metrics[key]);
  const mean = having.reduce((sum, { metrics }) => sum + metrics[key], 0) / having.length;
  return { mean, low: byValue[0], high: byValue.at(-1), n: having.length };
}

// A metric of an entry: its mean with range and number of seeds, or the value of its single run.
function spreadText(metric, runs) {
  const over = spread(runs, metric.key);
  if (!over) return EMPTY;
  const { mean, low, high, n } = over;
  const range = [low, high].map(({ metrics }) => shown(metric, metrics[metric.key]));
  return n === 1 ? shown(metric, mean) : `${shown(metric, mean)} [${range.join(", ")}]`;
}

const countWord = (some, all) => (some.length < all.length ? ` (${some.length} of ${all.length})` : "");

// What qualifies the numbers of runs, in words: [short, long].
function notesOf(runs) {
  const notes = [];
  const note = (holds, short, long) => {
    const some = runs.filter(holds);
    if (some.length) notes.push([short + countWord(some, runs), long(some[0]) + countWord(some, runs)]);
  };
  note(
    ({ reduced }) => !absent(reduced),
    "reduced",
    ({ reduced }) => `reduced: ${reduced}; decides nothing`,
  );
  note(
    ({ partial }) => partial,
    "partial data",
    () => "on a part of the data set; decides nothing",
  );
  note(
    ({ dirty }) => dirty,
    "dirty",
    () => "dirty: the code had changes that no commit holds",
  );
  note(
    ({ busy }) => busy > BUSY,
    "measured beside other work",
    ({ busy }) => `measured beside other work, which took ${percent(100 * busy)} % of the processor`,
  );
  return notes;
}

function runsPass(run) {
  const exact = ["paper", "dataset", "neuron", "status"];
  return (
    exact.every((key) => !state[`runs_${key}`] || run[key] === state[`runs_${key}`]) &&
    (!state.runs_text || found(textOf(run), state.runs_text))
  );
}

// What the search of runs looks through: also the keys of the config in which runs differ.
function textOf(run) {
  run.text ??= [
    run.id,
    run.experiment,
    run.dataset,
    run.architecture,
    run.neuron,
    run.protocol,
    run.status,
    run.error,
    run.commit,
    run.device,
    run.reduced,
    ...notesOf([run]).flat(),
    ...Object.entries(data.configs.own[run.config] ?? {}).map(([key, value]) => `${key}=${value}`),
  ].join(" ");
  return run.text;
}

const passing = () => data.runs.filter(runsPass);

// The rows of the table: groups of the runs that pass, or single runs; a group of one is that run.
function rowsOf(runs) {
  if (state.single) return runs.map(({ key }) => entries.get(key));
  const groups = new Map();
  for (const run of runs) {
    const key = groupOf(run);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(run);
  }
  return [...groups].map(([key, runs]) => {
    const whole = entries.get(key);
    return whole.runs.length === 1 ? entries.get(runs[0].key) : { ...whole, runs, of: whole.runs.length };
  });
}

const chosen = () => state.chosen.map((key) => entries.get(key)).filter(Boolean);

function choose(keys) {
  state.chosen = [...new Set(keys)];
  for (const box of document.querySelectorAll("input[data-entry]")) box.checked = keys.includes(box.dataset.entry);
  drawCompare();
  if (document.activeElement === document.body) byId("compare").focus({ preventScroll: true }); // its button is gone
  writeHash();
}

function chooseToo(key, on) {
  choose(on ? [...state.chosen, key] : state.chosen.filter((other) => other !== key));
}
