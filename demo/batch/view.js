// A card per picture; moving the threshold relabels all of them here, without the server.
const root = $(".bt");
const slider = $(".threshold");
const heat = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
const overlay = new Uint32Array(256).map((_, i) => {
  const alpha = Math.round(205 * Math.min(1, Math.max(0, i - 64) / 96));
  return ((alpha << 24) | (heat[3 * i + 2] << 16) | (heat[3 * i + 1] << 8) | heat[3 * i]) >>> 0;
});
let shown = null; // header and arrays of the last batch
let cards = [];
let ends = [0, 1]; // of the slider
let threshold = null; // null: no verdicts
const short = (value) => String(Number(value.toPrecision(4)));

async function receive() {
  const message = await newest();
  if (!message) return;
  const [head, arrays] = message;
  if (head.kind === "batch") await full(head, arrays);
  else if (head.kind === "working") says("working", "Scoring", head.note);
  else if (head.kind === "stopped" && root.dataset.state === "working") says("empty", "Stopped", "");
  else if (head.kind === "empty" && head.note) says("empty", "Many pictures at once", head.note);
}

function says(state, word, note) {
  root.dataset.state = state;
  $(".word").textContent = word;
  $(".figures").textContent = "";
  $(".note").textContent = note;
}

async function full(head, arrays) {
  shown = { head, arrays };
  const scores = [...head.rows.map((row) => row.score), ...(head.threshold === null ? [] : [head.threshold])];
  ends = [0.98 * Math.min(...scores), 1.02 * Math.max(...scores)];
  cards = await Promise.all(head.rows.map(card));
  if (shown.head !== head) return;
  $(".own").hidden = head.threshold === null;
  $(".second").hidden = head.auroc === null;
  $(".skipped").hidden = !head.skipped.length;
  $(".skipped summary").textContent = `${head.skipped.length} left out`;
  $(".skipped ul").replaceChildren(...head.skipped.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  $(".only [value=wrong]").hidden = !head.rows.some((row) => row.label);
  $(".only").value = "all";
  move(head.threshold ?? ends[1]);
  root.dataset.state = "ready";
}

async function card(row, index) {
  const item = document.createElement("li");
  item.className = "card";
  item.innerHTML = '<button type="button"><canvas></canvas></button><p class="name"></p><p class="says"></p><p class="mistake"></p>';
  item.querySelector(".name").textContent = row.name;
  item.querySelector("button").setAttribute("aria-label", `Enlarge ${row.name}`);
  const image = await decoded(row.image);
  const one = { row, index, item, image };
  item.querySelector("button").addEventListener("click", () => enlarge1(one));
  picture(one, item.querySelector("canvas"));
  return one;
}

function picture({ index, image }, canvas) {
  const codes = shown.arrays.maps;
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  if (!$(".overlay").checked) return;
  const map = document.createElement("canvas");
  paint(map, codes, index, overlay, image);
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
}

function enlarge1(one) {
  picture(one, $(".large canvas"));
  $(".large p").textContent = `${one.row.name}, ${one.row.size[1]} × ${one.row.size[0]} pixels: score ${short(one.row.score)}`;
  $(".large").showModal();
}

// ---- the threshold ----
// Scores far apart: the slider moves along their logarithm.
const isWide = () => ends[0] > 0 && ends[1] / ends[0] > 8;
const along = (value) => (isWide() ? Math.log(value) : value);

function move(value) {
  threshold = value;
  const [low, high] = ends.map(along);
  slider.value = 1000 * ((along(value) - low) / (high - low));
  relabel();
}

function relabel() {
  const { head } = shown;
  const judged = head.threshold !== null || threshold < ends[1];
  const counts = { above: 0, missed: 0, alarms: 0 };
  for (const { row, item } of cards) {
    const anomalous = judged && row.score > threshold;
    const mistake = judged && row.label ? (row.label === "good" ? anomalous && "false alarm" : !anomalous && `missed: ${row.label}`) : "";
    item.classList.toggle("anomalous", anomalous);
    item.classList.toggle("none", !judged);
    item.dataset.mistake = mistake || "";
    item.querySelector(".says").textContent = judged ? `${anomalous ? "anomalous" : "normal"}, ${short(row.score)}` : short(row.score);
    item.querySelector(".mistake").textContent = mistake || (row.label && row.label !== "good" ? "" : "");
    counts.above += anomalous;
    counts.missed += mistake && row.label !== "good" ? 1 : 0;
    counts.alarms += mistake && row.label === "good" ? 1 : 0;
  }
  const good = head.rows.filter((row) => row.label === "good").length, bad = head.rows.filter((row) => row.label && row.label !== "good").length;
  $(".word").textContent = judged ? `${counts.above} of ${cards.length} anomalous` : `${cards.length} scored`;
  $(".figures").textContent = good + bad && judged ? `missed ${counts.missed} of ${bad}, false alarms ${counts.alarms} of ${good}` : "";
  const own = threshold === head.threshold;
  $(".note").textContent = (head.stopped ? "Stopped: these were finished. " : "") + `${head.title}. ` + (own
    ? `Threshold of the model: at most ${Math.round(100 * head.rate)} % of good pictures should exceed it.`
    : head.threshold === null ? `${head.note} Move the threshold to set one by hand.` : "Threshold set by hand.");
  $(".at").textContent = judged ? short(threshold) : "none";
  slider.setAttribute("aria-valuetext", $(".at").textContent);
  arrange();
  draw();
}

function arrange() {
  const only = $(".only").value, by = $(".sort").value;
  const keep = { all: () => true, anomalous: (c) => c.item.classList.contains("anomalous"), normal: (c) => !c.item.classList.contains("anomalous"), wrong: (c) => c.item.dataset.mistake };
  const order = by === "score" ? (a, b) => b.row.score - a.row.score : (a, b) => a.row.name.localeCompare(b.row.name, undefined, { numeric: true });
  const items = cards.filter(keep[only]).sort(order).map((one) => one.item);
  const list = $(".cards");
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) list.replaceChildren(...items);
  list.classList.toggle("rows", $(".list").checked);
}

// ---- the charts ----
const draw = drawer(async (chart) => {
  const { head } = shown;
  await chart.react($(".histogram"), ...histogram(head.rows, head.good, threshold), QUIET_CHART);
  if (head.auroc !== null) await chart.react($(".roc"), ...roc(head.rows, threshold), QUIET_CHART);
  $(".scores-say").textContent = head.good.length ? `The gray line: ${head.good.length} good pictures held out in the fit.` : "";
  $(".roc-say").textContent = head.auroc === null ? "" : `Image AUROC ${head.auroc.toFixed(3)}: how often a defective picture scores above a good one.`;
}, () => ($(".scores-say").textContent = "The charts could not be loaded; scores and verdicts are below."));

slider.addEventListener("input", () => {
  const [low, high] = ends.map(along), at = low + (slider.value / 1000) * (high - low);
  threshold = isWide() ? Math.exp(at) : at;
  relabel();
});
$(".own").addEventListener("click", () => move(shown.head.threshold));
for (const name of ["sort", "only", "list"]) $(`.${name}`).addEventListener("change", arrange);
$(".overlay").addEventListener("change", () => cards.forEach((one) => picture(one, one.item.querySelector("canvas"))));
$(".save").addEventListener("click", () => {
  const judged = shown.head.threshold !== null || threshold < ends[1];
  trigger("download", { threshold: judged ? threshold : null });
});
// Charts have their colours from the page when they are drawn.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown && setTimeout(draw, 300));
watch("value", receive);
receive();
