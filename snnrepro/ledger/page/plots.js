// Plots by Vega-Lite, each drawn when it comes into view and again when what it shows or its width has changed.

// Okabe and Ito's colours without black and yellow, which one of the two backgrounds would swallow; with as many
// shapes plus one, 56 pairs of colour and shape are different.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a8a"];
const SHAPES = [
  "circle",
  "square",
  "triangle-up",
  "diamond",
  "cross",
  "triangle-down",
  "triangle-right",
  "triangle-left",
];
const colourOf = (place) => COLOURS[place % COLOURS.length];
const shapeOf = (place) => SHAPES[place % SHAPES.length];

const INK = "currentColor"; // of the page: also when it is printed or the scheme changes
const FONT = "system-ui, sans-serif";
const LOOK = {
  background: null,
  font: FONT,
  view: { stroke: null },
  axis: {
    labelColor: INK,
    titleColor: INK,
    domainColor: INK,
    tickColor: INK,
    gridColor: INK,
    gridOpacity: 0.15,
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: "normal",
    labelLimit: 160,
    titleLimit: 280,
  },
  legend: {
    labelColor: INK,
    titleColor: INK,
    labelFontSize: 12,
    titleFontSize: 12,
    labelLimit: 300,
    symbolSize: 90,
    symbolOpacity: 1,
    titleFontWeight: "normal",
    orient: "bottom",
  },
};

const plots = new Map();

function loadVega() {
  if (!window.vegaEmbed) document.head.append(h("script", {}, byId("vega").textContent));
}

function showTip(handler, event, item, value) {
  const tip = byId("tip");
  tip.hidden = absent(value);
  if (tip.hidden) return;
  tip.textContent = value;
  const room = (place, size, whole) => Math.max(4, place + size + 16 > whole ? place - size - 12 : place + 12);
  tip.style.left = `${room(event.clientX, tip.offsetWidth, innerWidth)}px`;
  tip.style.top = `${room(event.clientY, tip.offsetHeight, innerHeight)}px`;
}

async function draw(plot) {
  if (!plot.stale || !plot.visible || !plot.host.clientWidth) return;
  plot.stale = false;
  const turn = (plot.turn += 1);
  const made = plot.make(plot.host.clientWidth);
  if (typeof made === "string") {
    plot.view?.finalize();
    plot.view = null;
    plot.host.replaceChildren(h("p", { class: "quiet" }, made));
    return;
  }
  const place = h("div");
  try {
    loadVega();
    const spec = {
      ...made.spec,
      width: plot.host.clientWidth,
      autosize: { type: "fit", contains: "padding" },
      config: LOOK,
    };
    const { view } = await window.vegaEmbed(place, spec, {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      ast: true,
      defaultStyle: false,
      tooltip: showTip,
    });
    if (turn !== plot.turn) {
      view.finalize();
      return;
    }
    plot.view?.finalize();
    plot.view = view;
    plot.host.replaceChildren(place);
    if (made.pick) view.addEventListener("click", (event, item) => item?.datum?.pick && made.pick(item.datum));
  } catch (error) {
    console.error(error);
    plot.host.replaceChildren(h("p", {}, `This plot could not be drawn: ${error.message}`));
  }
}

function redraw(host) {
  const plot = plots.get(host);
  plot.stale = true;
  draw(plot);
}

const inView = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const plot = plots.get(target);
      plot.visible = isIntersecting;
      draw(plot);
    }
  },
  { rootMargin: "200px" },
);

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = plots.get(target);
    if (plot.width !== target.clientWidth) {
      plot.width = target.clientWidth;
      redraw(target);
    }
  }
});

// A place for a plot. make(width) gives {spec, pick(datum)}, or a sentence where there is nothing to draw.
function plotOf(label, make) {
  const host = h(
    "div",
    { class: "plot", role: "group", "aria-label": label },
    h("p", { class: "quiet" }, "The plot is drawn when it comes into view."),
  );
  plots.set(host, { host, make, stale: true, visible: false, turn: 0, view: null, width: 0 });
  inView.observe(host);
  resized.observe(host);
  return host;
}

// A plot that leaves the page.
function forget(host) {
  const plot = plots.get(host);
  plot.turn += 1;
  plot.view?.finalize();
  inView.unobserve(host);
  resized.unobserve(host);
  plots.delete(host);
}

// Colour and shape of names, as Vega's scales; every name keeps its pair whatever else is shown.
function scalesOf(names, all) {
  const places = names.map((name) => all.indexOf(name));
  return {
    color: { domain: names, range: places.map(colourOf) },
    shape: { domain: names, range: places.map(shapeOf) },
  };
}

const legendColumns = (names, width) => {
  const longest = Math.max(4, ...names.map((name) => name.length));
  return Math.max(1, Math.floor(width / (Math.min(longest, 42) * 7 + 36)));
};
