// Elements are made here, and text enters the page as text only: nothing that a record holds is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);
const sectionOf = (id) => byId(id).parentElement;

// A link to a file beside this page. A record could name any URL: one with another scheme or host stays text.
function link(url, text, attributes = {}) {
  let target = null;
  try {
    target = url ? new URL(url, document.baseURI) : null;
  } catch {
    target = null;
  }
  if (target?.protocol !== location.protocol || target.host !== location.host) return h("span", attributes, text);
  return h("a", { ...attributes, href: url }, text);
}

// A path that may be broken after each slash.
const path = (text) =>
  h("span", {}, ...text.split("/").flatMap((part, place) => (place ? ["/", h("wbr"), part] : [part])));

// A section's heading comes into view and takes the focus.
function goTo(id) {
  byId(id).focus({ preventScroll: true });
  byId(id).scrollIntoView();
}

// A section is drawn anew by one of its selects, which keeps the focus.
function redrawBySelect(section, redraw) {
  const place = [...section.querySelectorAll("select")].indexOf(document.activeElement);
  redraw();
  section.querySelectorAll("select")[place]?.focus();
}

const skipTo = (id) => h("a", { class: "skip", href: `#${id}` }, "Skip this table");

// A command with a button that copies it; where copying is not allowed, it is selected instead.
function command(text) {
  if (!text) return EMPTY;
  const code = h("code", {}, text);
  const said = h("span", { role: "status", class: "quiet" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      said.textContent = "selected: copy it with Ctrl+C";
    }
  };
  return h("div", { class: "command" }, code, h("button", { type: "button", onclick: copy }, "Copy"), said);
}

// Terms and what they say; a row whose text is null is left out.
function terms(rows) {
  const kept = rows.filter(([, value]) => value !== null);
  return h("dl", {}, ...kept.flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

function choice(label, values, chosen, onchange) {
  const select = h("select", { onchange: () => onchange(select.value) });
  for (const [value, text] of values) select.append(h("option", { value }, text));
  select.value = chosen;
  return h("label", { class: "field" }, h("span", {}, label), select);
}

// A select of the values that occur, and "all".
function filterBy(label, key, values, changed) {
  const present = [...new Set(values)].filter((value) => !absent(value)).sort(compareValues);
  if (!present.includes(state[key])) state[key] = "";
  return choice(label, [["", "all"], ...present.map((value) => [value, value])], state[key], (value) => {
    state[key] = value;
    changed();
  });
}

function search(label, key, changed) {
  const input = h("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  input.value = state[key];
  input.addEventListener("input", () => {
    state[key] = input.value;
    changed();
  });
  return h("label", { class: "field wide" }, h("span", {}, label), input);
}

function toggle(label, key, changed) {
  const input = h("input", { type: "checkbox" });
  input.checked = state[key] === "1";
  input.addEventListener("change", () => {
    state[key] = input.checked ? "1" : "";
    changed();
  });
  return h("label", { class: "toggle" }, input, h("span", {}, label));
}

// Whether every word of a search occurs in a text (both without regard to case).
function found(text, words) {
  const lower = text.toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => lower.includes(word));
}
