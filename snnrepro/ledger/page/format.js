// Numbers as text: three or four significant digits, thousands separated, energy in the unit that fits.

const EMPTY = "–";
const TIMES = "×";
const DIGITS = {
  3: new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 }),
  4: new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 4 }),
};
const LARGE = [
  ["T", 1e12],
  ["G", 1e9],
  ["M", 1e6],
];
const JOULES = [
  ["J", 1e12],
  ["mJ", 1e9],
  ["µJ", 1e6],
  ["nJ", 1e3],
  ["pJ", 1],
]; // in pJ

const absent = (value) => value === null || value === undefined || value === "";

function number(value) {
  if (absent(value)) return EMPTY;
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-3)) return value.toExponential(2).replace("e+", "e");
  for (const [letter, unit] of LARGE) if (size >= unit) return `${DIGITS[4].format(value / unit)} ${letter}`;
  return DIGITS[size < 10 ? 3 : 4].format(value);
}

function percent(value) {
  const size = Math.abs(value);
  return size < 1 ? number(value) : value.toFixed(size < 99.995 ? 2 : 1);
}

function energy(picojoules) {
  if (absent(picojoules)) return EMPTY;
  const [unit, size] = JOULES.find(([, size]) => Math.abs(picojoules) >= size) ?? JOULES.at(-1);
  return `${number(picojoules / size)} ${unit}`;
}

// pJ in a metric's unit, or undefined where it is no energy.
const picojoulesOf = (metric) => JOULES.find(([unit]) => unit === metric.unit)?.[1];

// A metric's value, as recorded, in its unit; the unit itself stands in the column's head, but of energies.
function shown(metric, value) {
  if (absent(value)) return EMPTY;
  const scaled = value * metric.scale;
  const joules = picojoulesOf(metric);
  if (joules) return energy(scaled * joules);
  return metric.unit === "%" ? percent(scaled) : number(scaled);
}

const unitOf = (metric) => (picojoulesOf(metric) ? "" : metric.unit);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const titled = (metric) => capital([metric.label, unitOf(metric)].filter(Boolean).join(", "));
const measured = (metric, value) =>
  [capital(metric.label), shown(metric, value), unitOf(metric)].filter(Boolean).join(" ");

// The number a text begins with, else the text: by which claims' values are sorted.
function leading(text) {
  const value = parseFloat(text.replace(/,/g, "").replace("−", "-"));
  return Number.isNaN(value) ? text : value;
}

const EXACT = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const exact = (count) => EXACT.format(count);
const counted = (count, one) => `${exact(count)} ${one}${count === 1 ? "" : "s"}`;
