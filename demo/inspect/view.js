// Draws the messages of view.py. Moving a slider only repaints: all maps of a picture are already here.
const root = $(".fm");
const picture = $(".picture canvas");
const slider = $(".time");
const heat = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
const opaque = new Uint32Array(256).map((_, i) => colour(i, 255));
const blended = new Uint32Array(256);
const overlay = document.createElement("canvas");
let shown = null; // header and arrays of the last message
let place = null; // chosen pixel of the map, [row, column]
let cancelled = null; // run whose late messages are to be ignored

function colour(code, alpha) {
  return ((alpha << 24) | (heat[3 * code + 2] << 16) | (heat[3 * code + 1] << 8) | heat[3 * code]) >>> 0;
}

// ---- messages ----
async function receive() {
  const message = await newest();
  if (!message) return;
  const [head, arrays] = message;
  if (head.kind === "full") full(head, arrays);
  else if (head.kind === "partial" && head.run !== cancelled) partial(head, arrays);
  else if (head.kind === "stopped" && root.dataset.state === "scoring") stopped();
  else if (head.kind === "stopped" && root.dataset.state === "preparing") emptied("Stopped before there was a map.");
  else if (head.kind === "preparing") preparing(head.note);
  else if (head.kind === "empty" && head.note) {
    emptied(head.note);
    address({});
  }
}

function full(head, arrays) {
  pause();
  const same = shown && shown.head.kind === "full" && shown.head.name === head.name && shown.arrays.running.shape.join() === arrays.running.shape.join();
  const step = same ? +slider.value : head.times.length - 1;
  shown = { head, arrays };
  if (!same || !place) place = head.peak;
  slider.max = head.times.length - 1;
  slider.value = step;
  slider.disabled = $(".play").disabled = false;
  say(head.word, `score ${head.score_text}`, head.note, head.aside, head.name);
  $(".dot").style.background = head.anomalous === null ? "var(--line)" : LOOK.colours[head.anomalous ? "anomalous" : "normal"];
  address(head.link);
  root.dataset.score = head.score;
  root.dataset.state = "ready";
  repaint();
}

// What the page's address says of this result; nothing for a visitor's own pictures.
function address(link) {
  dispatchEvent(new CustomEvent("fm-link", { detail: link }));
  $(".link").hidden = !Object.keys(link).length;
}

function partial(head, arrays) {
  pause();
  shown = { head, arrays };
  place = null;
  root.dataset.state = "scoring";
  slider.disabled = $(".play").disabled = true;
  slider.max = head.total;
  slider.value = head.done;
  $(".dot").style.background = "var(--color-accent)";
  say("Scoring", `t = ${head.t.toFixed(2)}, ${head.done} of ${head.total}`, "", "", head.name);
  repaint();
}

// The model itself is still being made.
function preparing(note) {
  emptied(note);
  root.dataset.state = "preparing";
  $(".dot").style.background = "var(--color-accent)";
  $(".word").textContent = "Getting to know good pictures";
}

function stopped() {
  cancelled = shown.head.run;
  root.dataset.state = "stopped";
  $(".dot").style.background = "var(--line)";
  say("Stopped", "", "The map shows the times that were finished.", "", shown.head.name);
}

function emptied(note) {
  pause();
  shown = place = null;
  root.dataset.state = "empty";
  picture.getContext("2d").clearRect(0, 0, picture.width, picture.height);
  $(".dot").style.background = "var(--line)";
  say("Nothing scored yet", "", note);
}

function say(word, figures, note, aside = "", name = "") {
  $(".named").textContent = name;
  $(".aside").textContent = aside;
  $(".word").textContent = word;
  $(".figures").textContent = figures;
  $(".note").textContent = note;
}

// ---- painting ----
function repaint() {
  if (!shown) return;
  blend();
  const { head, arrays } = shown;
  const ready = head.kind === "full";
  const step = ready ? +slider.value : 0;
  const last = ready ? head.times.length - 1 : 0;
  if (ready) paint($(".now canvas"), arrays.weighted, step, opaque, photo);
  paint($(".running canvas"), arrays.running, step, opaque, photo);
  if (ready) paint($(".final canvas"), arrays.running, last, opaque, photo);
  paint(overlay, arrays.running, step, blended, photo);
  paintPicture();
  paintSight(step);
  scaleBar(step);
  if (ready) {
    $(".clock").textContent = `t = ${head.times[step].toFixed(2)}`;
    slider.setAttribute("aria-valuetext", $(".clock").textContent);
    root.dataset.step = step;
    chart(step);
  } else $(".clock").textContent = `t = ${head.t.toFixed(2)}`;
  $(".outlined").hidden = !arrays.outline;
  $(".marking").hidden = !ready || head.marked_area === null;
  if (ready && head.marked_area !== null) $(".regions").textContent = `: ${told(head)}.`;
}

function paintPicture() {
  picture.style.aspectRatio = `${photo.naturalWidth || 1} / ${photo.naturalHeight || 1}`;
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(picture.clientWidth * ratio);
  const height = Math.round((picture.clientWidth * ratio * (photo.naturalHeight || 1)) / (photo.naturalWidth || 1));
  if (!width) return;
  if (picture.width !== width || picture.height !== height) [picture.width, picture.height] = [width, height];
  const context = picture.getContext("2d");
  context.imageSmoothingQuality = "high";
  if (photo.naturalWidth) context.drawImage(photo, 0, 0, width, height);
  context.drawImage(overlay, 0, 0, width, height);
  const [sx, sy] = [width / photo.naturalWidth, height / photo.naturalHeight];
  if (shown.arrays.outline && !root.classList.contains("guessing")) trace(context, shown.arrays.outline, sx, sy, ratio);
  if (shown.arrays.marked && $(".marked").checked) trace(context, shown.arrays.marked, sx, sy, ratio, LOOK.colours.geometric_velocity);
  if (place && shown.head.kind === "full" && !root.classList.contains("guessing")) mark(context, width, height, ratio);
}

function trace(context, lines, sx, sy, ratio, colour = "#fff") {
  context.beginPath();
  for (let i = 0; i < lines.length; i += 4) {
    context.moveTo(lines[i] * sx, lines[i + 1] * sy);
    context.lineTo(lines[i + 2] * sx, lines[i + 3] * sy);
  }
  context.lineCap = "square";
  for (const [style, size] of [["rgba(0,0,0,0.55)", 3], [colour, 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = size * ratio;
    context.stroke();
  }
}

function mark(context, width, height, ratio) {
  const [, rows, columns] = shown.arrays.running.shape;
  context.beginPath();
  context.arc(((place[1] + 0.5) / columns) * width, ((place[0] + 0.5) / rows) * height, 6 * ratio, 0, 7);
  for (const [style, size] of [["rgba(0,0,0,0.6)", 4], [LOOK.colours.denoising_term, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = size * ratio;
    context.stroke();
  }
}

// The overlay fades out towards what good images reach, a third of the scale, or else towards zero: the picture itself
// stays visible where nothing is unusual.
function blend() {
  const opacity = $(".opacity").value / 100;
  const [from, over] = shown?.head.of_good ? [64, 96] : [0, 80];
  for (let i = 0; i < 256; i++) blended[i] = colour(i, Math.round(255 * opacity * Math.min(1, Math.max(0, i - from) / over)));
}

// Each time has its own scale, or the early maps would be black; where it ends is said beside each map.
function scaleBar(step) {
  const { head } = shown;
  const ends = (name, [low, high]) => ($(`.${name} .ends`).textContent = `Colours: ${short(low)} to ${short(high)}.`);
  ends("running", head.scales.running[step]);
  if (head.kind !== "full") return;
  ends("now", head.scales.weighted[step]);
  ends("final", head.scales.running.at(-1));
  $(".now .says").textContent = head.exact ? "the mean over all noise, so nothing is speckled." : "early times are broad, late ones sharp but speckled.";
  $(".running .says").textContent = head.exact ? "of the times up to this one." : "watch the speckle fade and the defect stay.";
  $(".third").hidden = !head.of_good;
  $(".bottom").textContent = head.of_good ? "least" : "0";
  $(".third").textContent = "most of good images";
  $(".top").textContent = head.of_good ? "3 × as far" : "its largest";
  const part = 100 * head.beyond;
  const share = part ? `; ${part < 0.1 ? "< 0.1" : part.toFixed(1)} % of the final map is brighter still (▸)` : "";
  const what = head.of_good
    ? "For each map and time, colours start at the least that good images have and end three times as far as their most"
    : "For each map and time, colours end at its largest value: no range of good images is stored";
  $(".bar .legend").textContent = `${what}${share}.`;
}

function ramp() {
  const context = $(".ramp canvas").getContext("2d");
  const data = context.createImageData(256, 1);
  new Uint32Array(data.data.buffer).set(opaque);
  context.putImageData(data, 0, 0);
  $(".over").style.borderLeftColor = `rgb(${heat.slice(-3).join()})`;
}

const short = (value) => String(Number(value.toPrecision(3)));

// ---- controls ----
const pause = player(slider, $(".play"), repaint, 2400);
$(".opacity").addEventListener("input", repaint);
$(".marked").addEventListener("change", repaint);
$(".link").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  try { await navigator.clipboard.writeText(location.href); button.textContent = "Copied"; } catch { prompt("The link to this result:", location.href); }
  setTimeout(() => (button.textContent = "Copy link"), 2000);
});

for (const canvas of element.querySelectorAll("figure:not(.chart, .sight figure) canvas")) {
  canvas.addEventListener("click", (event) => {
    if (!shown || shown.head.kind !== "full") return;
    const box = canvas.getBoundingClientRect();
    const [, rows, columns] = shown.arrays.running.shape;
    choose(Math.floor(((event.clientY - box.top) / box.height) * rows), Math.floor(((event.clientX - box.left) / box.width) * columns));
  });
}
picture.addEventListener("keydown", (event) => {
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!move || !place || !shown || shown.head.kind !== "full") return;
  event.preventDefault();
  choose(place[0] + move[0], place[1] + move[1]);
});

function choose(row, column) {
  const [, rows, columns] = shown.arrays.running.shape;
  place = [Math.min(Math.max(row, 0), rows - 1), Math.min(Math.max(column, 0), columns - 1)];
  repaint();
}

ramp();
new ResizeObserver(() => repaint()).observe(root);
watch("value", receive);
receive();
