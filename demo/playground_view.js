// The playground's state and events. The server is asked for one answer at a time, and always for the latest state;
// moving the time slider asks it nothing.
const root = $(".pg");
const slider = $(".time");
const planes = $$(".plane canvas");
const now = { law: "semicircle", points: [], network: null, seed: 0, tool: "target", targets: [], starts: [] };
let scene = null, found = null, ground = null, codes = null, training = 0, dragging = null;
const asked = { look: 0, scores: 0 };

// ---- asking ----
function request() {
  return {
    law: now.law,
    points: now.points,
    width: +$(".width").value,
    network: now.network,
    seed: now.seed,
    targets: now.targets,
    starts: now.starts,
    times: +$(".times").value,
    aggregator: $(".aggregator").value,
    percentile: +$(".percentile").value,
    exponent: +$(".exponent").value,
    spread: +$(".spread").value,
  };
}

async function call(name, body) {
  try {
    const answer = await server[name](body);
    say(answer.error || "");
    return answer.error ? null : answer;
  } catch {
    say("The server did not answer: check the connection, then change any setting to ask again.");
    return null;
  }
}

// One request in flight; what was asked for meanwhile is asked once, with the state of then.
function latest(name, receive) {
  let busy = false, again = false;
  return async () => {
    if (busy) { again = true; return; }
    busy = true;
    do {
      again = false;
      const since = dragging?.moved, law = now.law;
      const answer = enough() && (await call(name, request()));
      asked[name] += 1;
      if (answer && law === now.law) await receive(answer, since);
    } while (again);
    busy = false;
  };
}

const look = latest("look", (answer, since) => {
  found = answer;
  const last = answer.times.length - 1;
  if (+slider.max !== last) {
    const part = +slider.value / (+slider.max || 1);
    slider.max = last;
    slider.value = Math.round(part * last);
  }
  repaint();
  root.dataset.state = "ready";
  if (since) {
    planes[0].getContext("2d").getImageData(0, 0, 1, 1); // waits for the drawing
    root.dataset.latency = (performance.now() - since).toFixed(1);
  }
});

const scores = latest("scores", async (answer) => {
  const packed = Uint8Array.from(atob(answer.codes), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  codes = new Uint8Array(await new Response(stream).arrayBuffer());
  ground = answer;
  repaint();
  root.dataset.landscapes = 1 + +(root.dataset.landscapes || 0);
});

let patience = null;
function soonScores() { // a landscape costs a fraction of a second: not one for each step of a slider
  clearTimeout(patience);
  patience = setTimeout(scores, 120);
}

const ask = () => { look(); soonScores(); };
const enough = () => now.law !== "own" || now.points.length >= LOOK.fewest;

async function begin() { // a new law, or new noise
  stopTraining();
  found = ground = null;
  if (now.law === "own" && !enough()) {
    scene = { ...(scene || {}), window: LOOK.window, samples: now.points };
    if (!now.targets.length) now.targets = [[0, 4], [0, -4]];
    return repaint();
  }
  const answer = await call("scene", request());
  if (!answer) return;
  const count = now.starts.length || 8;
  scene = answer;
  now.targets = answer.targets;
  now.starts = answer.starts.slice(0, count);
  ask();
}

const say = (text) => { if ($(".say").textContent !== text) $(".say").textContent = text; };

// ---- painting ----
function repaint() {
  if (!scene) return;
  const step = +slider.value;
  const K = now.starts.length;
  planes.forEach((canvas, i) => {
    canvas.dataset.tool = now.tool;
    const one = found && found.targets[i].states.length > step ? found.targets[i] : null;
    paintPlane(canvas, scene, now.targets[i], "AB"[i], HUES[i], one, now.starts, step, now.tool);
    const last = one && one.running[one.running.length - 1];
    $$(".plane .score")[i].textContent = one ? `score ${digits(last)}` : "";
  });
  $(".paths-text").textContent = K;
  $(".fewer").disabled = K <= 1;
  $(".another").disabled = K >= LOOK.most.starts;
  $(".count").textContent = `${now.points.length} of at most ${LOOK.most.points} points${enough() ? "" : `, at least ${LOOK.fewest}`}.`;
  for (const name of ["times", "percentile", "exponent", "spread", "width"]) $(`.${name}-text`).textContent = $(`.${name}`).value;
  if (found) charts(step);
  if (ground) landscapes(step);
  root.dataset.step = step;
}

function charts(step) {
  const { times, targets } = found;
  const t = times[step];
  $(".clock").textContent = `t = ${t.toFixed(2)}`;
  slider.setAttribute("aria-valuetext", $(".clock").textContent);
  const totals = targets.map((one) => Math.max(...one.fisher.map((v, j) => v + one.denoising[j])) * 1.05 || 1);
  targets.forEach((one, i) => chart($$(".terms svg")[i], {
    xs: times,
    bars: [
      { name: "denoising", ys: one.denoising, colour: LOOK.colours.denoising_term },
      { name: "fisher", ys: one.fisher, colour: LOOK.colours.fisher_term },
    ],
    top: $(".shared").checked ? Math.max(...totals) : totals[i],
    cursor: step,
    across: "t, from noise (0) to the target (1)",
    up: "mismatch",
  }));
  // Only against the exact field is the gap a Fisher divergence: a network's own error is in it too.
  const fisher = now.network === null ? "Fisher term" : "Fisher term, the network's error included";
  const keys = key(LOOK.colours.denoising_term, "denoising term: 0 for a single point, s = 0") + key(LOOK.colours.fisher_term, fisher) + key(HUES[0], "A") + key(HUES[1], "B");
  if ($(".term-keys").dataset.of !== fisher) $(".term-keys").innerHTML = keys;
  $(".term-keys").dataset.of = fisher;
  chart($(".running svg"), {
    xs: times,
    series: targets.map((one, i) => ({ name: "run", ys: one.running, colour: HUES[i] })),
    log: true,
    cursor: step,
    across: "t",
    up: `mean of t^${$(".exponent").value} × mismatch so far, log scale`,
  });
}

function landscapes(step) {
  const area = ground.side ** 2, T = ground.times.length;
  if (step >= T) return;
  const t = ground.times[step].toFixed(2), r = $(".exponent").value;
  paintLandscape($(".at canvas"), ground, codes.subarray(step * area, (step + 1) * area), scene, now.targets);
  paintLandscape($(".all canvas"), ground, codes.subarray((T + step) * area, (T + step + 1) * area), scene, now.targets);
  $(".at .head b").textContent = `Score landscape at t = ${t}`;
  $(".combined").innerHTML = `Combined up to t = ${t}, weighted t<sup>${r}</sup>`;
  const [low, high] = ground.scale;
  [low, Math.sqrt(low * high), high].forEach((v, i) => ($$(".ticks span")[i].textContent = digits(v)));
  const pair = (single, running) => [
    { name: "single", ys: single, colour: "var(--quiet)", width: 1.5, dash: "4 3" },
    { name: "combined-line", ys: running, colour: "var(--color-accent)", width: 2.5 },
  ];
  const common = { xs: ground.times, cursor: step, across: "t" };
  chart($(".bias svg"), { ...common, series: pair(ground.basin, ground.running_basin), up: "share of the window" });
  chart($(".variance svg"), { ...common, series: pair(ground.spread, ground.running_spread), up: "standard deviation / mean" });
}

function legends() {
  const c = LOOK.colours;
  $(".keys").innerHTML = key(c.predicted_velocity, "predicted velocity") + key(c.geometric_velocity, "geometric velocity") +
    key(c.normal, "normal points", "spot") + key("var(--quiet)", "noise starts, t = 0", "ring") + key("var(--body-text-color)", "states at t", "spot");
  $(".trade-keys").innerHTML = key("var(--quiet)", "at one t (dashed)") + key("var(--color-accent)", "weighted average up to t") +
    "<span>normal: below what 95 % of normal points stay below; variance over 8 redraws of the starts</span>";
  $$(".plane .dot").forEach((dot, i) => (dot.style.background = HUES[i]));
  paintRamp($(".colours canvas"));
}

// ---- the pointer ----
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

function place(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const [left, right, bottom, top] = scene.window;
  const x = left + ((event.clientX - box.left) / box.width) * (right - left);
  const y = top - ((event.clientY - box.top) / box.height) * (top - bottom);
  return [+clamp(x, left, right).toFixed(3), +clamp(y, bottom, top).toFixed(3)];
}

function near(canvas, event, point, pixels) {
  const scale = canvas.clientWidth / (scene.window[1] - scene.window[0]);
  const [x, y] = place(canvas, event);
  return Math.hypot(x - point[0], y - point[1]) * scale <= pixels;
}

function drawPoint(point) {
  const last = now.points[now.points.length - 1];
  const far = !last || Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.22;
  if (now.points.length >= LOOK.most.points) return say(`${LOOK.most.points} points are the most: clear some to draw others.`);
  if (!far) return;
  now.points.push(point);
  scene.samples = now.points;
  repaint();
}

planes.forEach((canvas, index) => {
  canvas.addEventListener("touchstart", (event) => {
    // A finger on the target drags it; one elsewhere scrolls the page.
    if (scene && now.tool === "target" && near(canvas, event.touches[0], now.targets[index], 34)) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (!scene || event.button) return;
    const at = place(canvas, event);
    if (now.tool === "draw") {
      dragging = { kind: "draw" };
      drawPoint(at);
    } else if (now.tool === "starts") {
      const held = now.starts.findIndex((start) => near(canvas, event, start, 14));
      if (held < 0 && now.starts.length >= LOOK.most.starts) return say(`${LOOK.most.starts} starts are the most.`);
      if (held < 0) now.starts.push(at);
      dragging = { kind: "start", held: held < 0 ? now.starts.length - 1 : held, remove: held >= 0 };
      ask();
    } else {
      const grabbed = near(canvas, event, now.targets[index], 34);
      if (event.pointerType === "touch" && !grabbed) return;
      dragging = { kind: "target", index, moved: event.timeStamp };
      if (!grabbed) moveTarget(index, at, event);
    }
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragging || !scene) return;
    const at = place(canvas, event);
    if (dragging.kind === "draw") return drawPoint(at);
    if (dragging.kind === "target") return moveTarget(index, at, event);
    const start = now.starts[dragging.held];
    if (dragging.remove && near(canvas, event, start, 4)) return;
    dragging.remove = false;
    now.starts[dragging.held] = at;
    look();
  });
  const end = () => {
    if (!dragging) return;
    const { kind, held, remove } = dragging;
    dragging = null;
    if (kind === "start" && remove && now.starts.length > 1) now.starts.splice(held, 1);
    if (kind === "start") ask();
    if (kind === "draw") pointsChanged();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("click", (event) => {
    // A tap beside the target, which a drag would have taken for scrolling.
    if (event.pointerType === "touch" && now.tool === "target" && scene) moveTarget(index, place(canvas, event));
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!move || !scene) return;
    event.preventDefault();
    const size = event.shiftKey ? 0.5 : 0.1;
    const [left, right, bottom, top] = scene.window;
    const [x, y] = now.targets[index];
    moveTarget(index, [clamp(x + size * move[0], left, right), clamp(y + size * move[1], bottom, top)].map((v) => +v.toFixed(3)));
  });
});

function moveTarget(index, at, event) {
  now.targets[index] = at;
  if (dragging && event) dragging.moved = event.timeStamp;
  look(); // the answer repaints everything; until then only the target itself is moved
  requestAnimationFrame(repaint);
}

function pointsChanged() {
  stopTraining();
  if (!enough()) return repaint();
  if (!now.starts.length || !found) return begin().then(() => (now.points.length ? repaint() : null));
  ask();
}

// ---- controls ----
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
for (const name of ["times", "percentile", "exponent", "width"]) $(`.${name}`).addEventListener("input", () => { repaint(); if (name === "width") stopTraining(); ask(); });
$(".spread").addEventListener("input", () => { repaint(); look(); });
$(".shared").addEventListener("input", repaint);
$(".aggregator").addEventListener("change", () => {
  $(".alpha").hidden = $(".aggregator").value !== "percentile";
  ask();
});

// ---- training ----
for (const radio of $$('[name="pg-field"]')) radio.addEventListener("change", () => {
  const network = radio.value === "network" && radio.checked;
  $(".loss").hidden = !network;
  if (network) return train();
  stopTraining();
  ask();
});
$(".train").addEventListener("click", () => (training ? (training = 0) : train()));

function stopTraining() { // the law has changed, or the exact field is wanted: the network is of no more use
  training = 0;
  now.network = null;
  const exact = $('[name="pg-field"][value="exact"]');
  if (exact.checked) return;
  exact.checked = true;
  $(".loss").hidden = true;
}

async function train() {
  if (!enough()) { stopTraining(); return say(`Draw at least ${LOOK.fewest} points first.`); }
  const run = (training = Date.now());
  now.network = null;
  $(".train").textContent = "Stop";
  let answer = null;
  do {
    answer = await call("train", request());
    if (!answer || training !== run) break;
    now.network = answer.network;
    showLoss(answer);
    look();
  } while (answer.step < answer.steps);
  if (training === run || training === 0) {
    training = 0;
    $(".train").textContent = "Train anew";
  }
  if (now.network) scores();
}

function showLoss({ step, steps, losses, every, floor }) {
  $(".trained").textContent = `step ${step} of ${steps}`;
  root.dataset.trained = step;
  root.dataset.loss = losses[losses.length - 1];
  chart($(".loss svg"), {
    xs: losses.map((_, i) => (i + 1) * every),
    series: [
      { name: "losses", ys: losses, colour: "var(--color-accent)" },
      { name: "floor", xs: [0, steps], ys: [floor, floor], colour: "var(--quiet)", dash: "4 3", width: 1.5 },
    ],
    span: [0, steps],
    across: "step",
    up: "loss",
  });
}

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
