// The page is drawn from the state in the address, again when the address changes.

function drawAll() {
  readHash();
  drawClaims();
  drawRuns();
  drawCompare();
  drawPareto();
  drawSpeedups();
}

// A link to a section moves there and leaves the state in the address as it is.
document.addEventListener("click", (event) => {
  const target = event.target.closest("a")?.getAttribute("href");
  if (!/^#\w+$/.test(target ?? "")) return;
  event.preventDefault();
  goTo(target.slice(1));
});
addEventListener("hashchange", drawAll);
addEventListener(
  "scroll",
  () => {
    byId("tip").hidden = true;
  },
  { passive: true },
);

const asked = location.hash.slice(1);
drawHead();
drawVerdicts();
drawAll();
drawCounters();
drawFoot();
if (/^\w+$/.test(asked) && byId(asked)) goTo(asked);
window.reportReady = performance.now();
