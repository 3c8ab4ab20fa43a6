// The small network, trained while the visitor looks.
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
