// The controls beside the planes, and the first look.
const pause = player(slider, $(".play"), repaint, 3600);

function choose(tool) {
  now.tool = tool;
  for (const button of $$(".tools button")) button.setAttribute("aria-checked", button.dataset.tool === tool);
  repaint();
}
for (const button of $$(".tools button")) button.addEventListener("click", () => choose(button.dataset.tool));

$(".law").addEventListener("change", () => {
  now.law = $(".law").value;
  const own = now.law === "own";
  $(".own").hidden = $('[data-tool="draw"]').hidden = !own;
  choose(own ? "draw" : "target");
  if (own) now.targets = [];
  begin();
});
$(".clear").addEventListener("click", () => { now.points = []; begin(); });
$(".fewer").addEventListener("click", () => {
  if (now.starts.length <= 1) return;
  now.starts.pop();
  repaint();
  ask();
});
$(".another").addEventListener("click", () => {
  if (!scene?.starts) return;
  // The next draw of the same seed; where the visitor removed some, the first that is not there.
  const has = (draw) => now.starts.some((start) => start[0] === draw[0] && start[1] === draw[1]);
  const next = scene.starts.find((draw) => !has(draw));
  if (next && now.starts.length < LOOK.most.starts) now.starts.push(next);
  repaint();
  ask();
});
$(".redraw").addEventListener("click", async () => {
  now.seed += 1;
  const answer = enough() && (await call("scene", { ...request(), network: null }));
  if (!answer) return;
  scene.starts = answer.starts;
  now.starts = answer.starts.slice(0, now.starts.length);
  ask();
});
for (const name of ["times", "alpha", "exponent", "width"]) $(`.${name}`).addEventListener("input", () => { repaint(); if (name === "width") stopTraining(); ask(); });
$(".spread").addEventListener("input", () => { repaint(); look(); });
$(".shared").addEventListener("input", repaint);
for (const { name, description } of LOOK.aggregators) $(".aggregator").add(new Option(`${name}: ${description}`, name));
$(".aggregator").addEventListener("change", () => {
  const { parameter } = LOOK.aggregators.find(({ name }) => name === $(".aggregator").value);
  $(".parameter").hidden = !parameter;
  if (parameter) {
    Object.assign($(".alpha"), { min: parameter.low, max: parameter.high, value: parameter.default });
    $(".parameter-text").textContent = parameter.description;
  }
  repaint();
  ask();
});

// ---- the first look: not before the tab is seen ----
if (element.clientWidth < 760) $(".more").open = false;
legends();
let width = 0;
new ResizeObserver(() => {
  if (!root.clientWidth || root.clientWidth === width) return;
  const first = !width;
  width = root.clientWidth;
  if (first) begin();
  else repaint();
}).observe(root);
new MutationObserver(repaint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
