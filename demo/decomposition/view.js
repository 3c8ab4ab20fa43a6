// Draws the messages of view.py. Scrubbing only repaints: all maps are already here.
const root = $(".fd");
const slider = $(".time");
const NAMES = ["mismatch", "denoising", "fisher", "cross"];
const COLOUR = { mismatch: "var(--body-text-color)", denoising: LOOK.colours.denoising_term, fisher: LOOK.colours.fisher_term, cross: "#8c8c8c" };
const FORMULA = {
  mismatch: "E‖v<sub>p</sub> − u‖²",
  denoising: "E‖v<sub>q</sub> − u‖²",
  fisher: "E‖v<sub>p</sub> − v<sub>q</sub>‖²",
  cross: "2E⟨v<sub>p</sub> − v<sub>q</sub>, v<sub>q</sub> − u⟩",
};
const TITLE = { mismatch: "Mismatch", denoising: "Denoising", fisher: "Fisher", cross: "Cross" };
const heat = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
// Zero is black in both tables, and both grow brighter with size; below zero the same lightness is told in blues.
const rgba = (code, below) => {
  const [r, g, b] = heat.slice(3 * code, 3 * code + 3);
  const [red, green, blue] = below ? [g, (r + g) >> 1, r] : [r, g, b];
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
};
const positive = new Uint32Array(256).map((_, i) => rgba(i, false));
const signed = new Uint32Array(256).map((_, i) => {
  const size = Math.min(255, Math.round((Math.abs(i - LOOK.zero) * 255) / (LOOK.zero - 1)));
  return rgba(size, i < LOOK.zero);
});
let shown = null;
let cancelled = null;

for (const [part, what] of [["now", "At this t"], ["all", "Over all t"]]) {
  const row = `<div class="row ${part}"><b>${what}</b> <span></span></div>`;
  const figures = NAMES.map((name) => `<figure><canvas class="${part}-${name}" role="img" aria-label="${TITLE[name]}, ${what}"></canvas><figcaption><b>${TITLE[name]}</b> <span class="say-${part}-${name}"></span></figcaption></figure>`);
  $(".maps").insertAdjacentHTML("beforeend", (part === "now" ? "" : row) + figures.join(""));
}

// ---- messages ----
async function receive() {
  const message = await newest();
  if (!message) return;
  const [head, arrays] = message;
  if (head.run && head.run === cancelled) return;
  if (head.kind === "full" || head.kind === "partial") result(head, arrays);
  else if (head.kind === "working") working(head);
  else if (head.kind === "current" || head.kind === "outdated") outdated(head.kind === "outdated");
  else if (head.kind === "empty" && head.note) emptied(head.note);
  else if (head.kind === "stopped" && root.dataset.state === "working") stopped();
}

function result(head, arrays) {
  pause();
  const ready = head.kind === "full";
  const same = shown && shown.head.kind === "full" && shown.head.total === head.total && ready;
  const step = same ? +slider.value : head.times.length - 1;
  shown = { head, arrays };
  outdated(false);
  root.dataset.state = ready ? "ready" : "working";
  slider.max = Math.max(0, head.times.length - 1);
  // Opens where the defect is best seen: late enough to be sharp, not yet ruled by the last speckled times.
  slider.value = ready && !same ? Math.round(0.65 * (head.times.length - 1)) : step;
  slider.disabled = $(".play").disabled = !ready;
  $(".note").textContent = ready ? `${head.name} ${head.note}` : head.name;
  scaleBar();
  repaint();
}

function outdated(is) {
  root.dataset.outdated = is;
  $(".changed").hidden = !is;
}

function emptied(note) {
  pause();
  shown = null;
  outdated(false);
  root.dataset.state = "empty";
  $(".word").textContent = "Nothing decomposed yet";
  $(".note").textContent = note;
}

function working(head) {
  pause();
  shown = { head: { ...head, kind: "working" }, arrays: {} };
  root.dataset.state = "working";
  $(".word").textContent = head.text;
  $(".note").textContent = head.name;
}

function stopped() {
  cancelled = shown.head.run;
  root.dataset.state = "stopped";
  $(".word").textContent = "Stopped";
  $(".note").textContent = shown.head.kind === "partial" ? "What is shown are the times that were finished." : "Nothing was finished.";
}

// ---- painting ----
function repaint() {
  if (!shown || !shown.head.times) return;
  const { head, arrays } = shown;
  const ready = head.kind === "full";
  const step = ready ? +slider.value : head.times.length - 1;
  for (const name of NAMES) {
    if (ready) paint($(`.now-${name}`), arrays[name], step, name === "cross" ? signed : positive, photo);
    paint($(`.all-${name}`), arrays[`all_${name}`], 0, name === "cross" ? signed : positive, photo);
  }
  paintPhoto();
  $(".clock").textContent = `t = ${head.times[step].toFixed(2)}`;
  slider.setAttribute("aria-valuetext", $(".clock").textContent);
  root.dataset.step = step;
  if (ready) $(".word").textContent = headline(step);
  else $(".word").textContent = `Decomposing, ${head.times.length} of ${head.total} times`;
  identity(step);
  bars();
  for (const [key, text] of Object.entries(head.says)) $(`.say-${key}`).textContent = text;
  $(".row.all span").textContent = head.all_note;
  $(".chart-title").textContent = head.chart_title;
  $(".beside").textContent = `Beside it, the terms at ${$(".clock").textContent}.`;
  $(".seen b").textContent = head.seen;
  $(".outlined").hidden = !arrays.outline;
}

function paintPhoto() {
  const canvas = $(".photo");
  if (!photo.naturalWidth) return;
  [canvas.width, canvas.height] = [photo.naturalWidth, photo.naturalHeight];
  fit(canvas, photo);
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0);
  const lines = shown.arrays.outline;
  if (!lines) return;
  const ratio = photo.naturalWidth / (canvas.clientWidth || photo.naturalWidth);
  context.beginPath();
  for (let i = 0; i < lines.length; i += 4) {
    context.moveTo(lines[i], lines[i + 1]);
    context.lineTo(lines[i + 2], lines[i + 3]);
  }
  context.lineCap = "square";
  for (const [style, size] of [["rgba(0,0,0,0.55)", 3], ["#fff", 1.25]]) {
    context.strokeStyle = style;
    context.lineWidth = size * ratio;
    context.stroke();
  }
}

function scaleBar() {
  const canvas = $(".ramp canvas");
  const context = canvas.getContext("2d");
  const data = context.createImageData(511, 1);
  const pixels = new Uint32Array(data.data.buffer);
  for (let i = 0; i < 511; i++) pixels[i] = rgba(Math.abs(i - 255), i < 255);
  context.putImageData(data, 0, 0);
  const css = (code) => `rgb(${code & 255}, ${(code >> 8) & 255}, ${(code >> 16) & 255})`;
  $(".over").style.borderLeftColor = css(rgba(255, false));
  $(".under").style.borderRightColor = css(rgba(255, true));
  $(".top").textContent = short(shown.head.scale);
  $(".low").textContent = `−${short(shown.head.scale)}`;
  $(".scale").textContent = shown.head.scale_note;
}

const short = (value) => String(Number(value.toPrecision(3)));
const signedText = (text) => text.replace("-", "−");

// ---- controls ----
const pause = player(slider, $(".play"), repaint, 2400);
for (const button of element.querySelectorAll(".units button")) {
  button.addEventListener("click", () => {
    for (const other of element.querySelectorAll(".units button")) other.setAttribute("aria-pressed", other === button);
    repaint();
  });
}
function chosen(step) { // in the chart
  if (!shown || shown.head.kind !== "full") return;
  pause();
  slider.value = step;
  repaint();
}

new ResizeObserver(() => repaint()).observe(root);
watch("value", receive);
receive();
