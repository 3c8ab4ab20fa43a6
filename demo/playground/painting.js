// What the playground shows of its state: planes, charts, landscapes.
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
  for (const name of ["times", "alpha", "exponent", "spread", "width"]) $(`.${name}-text`).textContent = $(`.${name}`).value;
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
