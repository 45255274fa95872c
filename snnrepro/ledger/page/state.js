// What is shown: the filters, the order, the choices. It stands in the address after #, so that a link shows the same.

const data = JSON.parse(byId("data").textContent);

const DEFAULTS = {
  claims_text: "",
  claims_paper: "",
  claims_verdict: "",
  claims_sort: "",
  runs_text: "",
  runs_paper: "",
  runs_dataset: "",
  runs_neuron: "",
  runs_status: "",
  runs_sort: "",
  single: "",
  all: "",
  chosen: [],
  every_key: "",
  setting: "",
  speed_neuron: "",
  speed_baseline: "",
  speed_pass: "",
  speed_kernel: "",
};
const state = {};

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(DEFAULTS)) {
    state[key] = Array.isArray(value) ? given.getAll(key) : (given.get(key) ?? value);
  }
}

let pending = null;

// Not at once: browsers limit how often an address changes, and a search changes it with every letter.
function writeHash() {
  clearTimeout(pending);
  pending = setTimeout(putHash, 150);
}

function putHash() {
  const kept = new URLSearchParams();
  for (const key of Object.keys(DEFAULTS)) for (const value of [state[key]].flat()) if (value) kept.append(key, value);
  history.replaceState(null, "", kept.size ? `#${kept}` : location.href.split("#")[0]);
}

const metricWith = (...words) => data.metrics.filter(({ key }) => words.every((word) => key.includes(word)));
