// Draws the messages of viewer.py. Moving a slider only repaints: all maps of a picture are already here.
const root = $(".fm");
const picture = $(".picture canvas");
const slider = $(".time");
const heat = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
const opaque = new Uint32Array(256).map((_, i) => colour(i, 255));
const blended = new Uint32Array(256);
const overlay = document.createElement("canvas");
const photo = new Image();
let shown = null; // header and arrays of the last message
let place = null; // chosen pixel of the map, [row, column]
let cancelled = null; // run whose late messages are to be ignored
let latest = 0;

function colour(code, alpha) {
  return ((alpha << 24) | (heat[3 * code + 2] << 16) | (heat[3 * code + 1] << 8) | heat[3 * code]) >>> 0;
}

// ---- messages ----
async function receive() {
  const ticket = ++latest;
  const head = JSON.parse(props.value || '{"kind":"empty"}');
  const arrays = head.blob ? await unpack(head) : {};
  if (head.image) {
    photo.src = head.image;
    await photo.decode();
  }
  if (ticket !== latest) return; // a newer message came while this one was being decoded
  if (head.kind === "full") full(head, arrays);
  else if (head.kind === "partial" && head.run !== cancelled) partial(head, arrays);
  else if (head.kind === "stopped" && root.dataset.state === "scoring") stopped();
  else if (head.kind === "empty" && head.note) emptied(head.note);
}

function full(head, arrays) {
  pause();
  const same = shown && shown.head.kind === "full" && shown.head.name === head.name && shown.head.times.length === head.times.length;
  const step = same ? +slider.value : head.times.length - 1;
  shown = { head, arrays };
  if (!same || !place) place = head.peak;
  slider.max = head.times.length - 1;
  slider.value = step;
  slider.disabled = $(".play").disabled = false;
  const verdict = head.anomalous === null ? "No verdict" : head.anomalous ? "Anomalous" : "Normal";
  const above = head.threshold === null ? "" : head.anomalous ? ` > threshold ${head.threshold_text}` : ` ≤ threshold ${head.threshold_text}`;
  say(verdict, `score ${head.score_text}${above}`, head.note);
  $(".dot").style.background = head.anomalous === null ? "var(--line)" : LOOK.colours[head.anomalous ? "anomalous" : "normal"];
  root.dataset.score = head.score;
  root.dataset.state = "ready";
  scaleBar();
  repaint();
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
  say("Scoring", `t = ${head.t.toFixed(2)}, ${head.done} of ${head.total}`, head.name);
  scaleBar();
  repaint();
}

function stopped() {
  cancelled = shown.head.run;
  root.dataset.state = "stopped";
  $(".dot").style.background = "var(--line)";
  say("Stopped", "", "The map shows the times that were finished.");
}

function emptied(note) {
  pause();
  shown = place = null;
  root.dataset.state = "empty";
  picture.getContext("2d").clearRect(0, 0, picture.width, picture.height);
  $(".dot").style.background = "var(--line)";
  say("Nothing scored yet", "", note);
}

function say(word, figures, note) {
  $(".word").textContent = word;
  $(".figures").textContent = figures;
  $(".note").textContent = note;
}

// ---- painting ----
function repaint() {
  if (!shown) return;
  const { head, arrays } = shown;
  const ready = head.kind === "full";
  const step = ready ? +slider.value : 0;
  const last = ready ? head.times.length - 1 : 0;
  if (ready) paint($(".now canvas"), arrays.weighted, step, opaque, photo);
  paint($(".running canvas"), arrays.running, step, opaque, photo);
  if (ready) paint($(".final canvas"), arrays.running, last, opaque, photo);
  paint(overlay, arrays.running, step, blended, photo);
  paintPicture();
  if (ready) {
    $(".clock").textContent = `t = ${head.times[step].toFixed(2)}`;
    slider.setAttribute("aria-valuetext", $(".clock").textContent);
    root.dataset.step = step;
    chart(step);
  } else $(".clock").textContent = `t = ${head.t.toFixed(2)}`;
  $(".outlined").hidden = !arrays.outline;
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
  if (shown.arrays.outline) trace(context, shown.arrays.outline, width / photo.naturalWidth, height / photo.naturalHeight, ratio);
  if (place && shown.head.kind === "full") mark(context, width, height, ratio);
}

function trace(context, lines, sx, sy, ratio) {
  context.beginPath();
  for (let i = 0; i < lines.length; i += 4) {
    context.moveTo(lines[i] * sx, lines[i + 1] * sy);
    context.lineTo(lines[i + 2] * sx, lines[i + 3] * sy);
  }
  context.lineCap = "square";
  for (const [style, size] of [["rgba(0,0,0,0.55)", 3], ["#fff", 1.25]]) {
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

// The overlay fades out towards zero, so that the picture itself stays visible where nothing is unusual.
function blend() {
  const opacity = $(".opacity").value / 100;
  for (let i = 0; i < 256; i++) blended[i] = colour(i, Math.round(255 * opacity * Math.min(1, i / 80)));
}

function scaleBar() {
  const { head, arrays } = shown;
  const canvas = $(".ramp canvas");
  const context = canvas.getContext("2d");
  const data = context.createImageData(256, 1);
  new Uint32Array(data.data.buffer).set(opaque);
  context.putImageData(data, 0, 0);
  $(".over").style.borderLeftColor = `rgb(${heat.slice(-3).join()})`;
  $(".middle").textContent = short(head.scale / 2);
  $(".top").textContent = short(head.scale);
  if (head.kind !== "full") return;
  const [times, height, width] = arrays.running.shape;
  const clipped = arrays.running.subarray((times - 1) * height * width).filter((code) => code === LOOK.over).length;
  const part = (100 * clipped) / (height * width);
  const share = clipped ? `; ${part < 0.1 ? "< 0.1" : part.toFixed(1)} % of the final map is clipped above (▸)` : "";
  $(".bar .legend").textContent = `Weighted mismatch, ${head.scale_note}${share}.`;
  // A picture of something else is unlike the good images nearly everywhere; the map then shows no place.
  if (part > 50) $(".note").textContent = "Most of it is unlike this category. Another kind of object? Choose its model and category, or “My own good images”.";
}

const short = (value) => String(Number(value.toPrecision(3)));

// ---- the curve of one place ----
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
}

function chart(step) {
  const { head, arrays } = shown;
  const svg = $(".chart svg");
  const [width, height, left, right, top, bottom] = [svg.clientWidth || 360, 200, 44, 6, 24, 32];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const [count, rows, columns] = arrays.per_time.shape;
  const curve = head.times.map((t, j) => [t, half(arrays.per_time[(j * rows + place[0]) * columns + place[1]])]);
  const band = head.band_times.map((t, j) => {
    const grid = arrays.lower.shape[1];
    const cell = (j * grid + arrays.rows[place[0]]) * grid + arrays.columns[place[1]];
    return [t, arrays.lower[cell], arrays.upper[cell]];
  });
  const values = [...curve.map((p) => p[1]), ...band.flatMap((p) => [p[1], p[2]])].filter((v) => v > 0);
  let low = Math.floor(Math.log10(Math.min(...values)));
  let high = Math.ceil(Math.log10(Math.max(...values)));
  if (!(high > low)) [low, high] = [Number.isFinite(low) ? low : 0, (Number.isFinite(low) ? low : 0) + 1];
  const x = (t) => left + t * (width - left - right);
  const y = (v) => top + ((high - Math.log10(Math.max(v, 10 ** low))) / (high - low)) * (height - top - bottom);
  const path = (points) => points.map(([t, v], i) => `${i ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  let body = "";
  const every = Math.max(1, Math.ceil((high - low) / 4));
  for (let d = low; d <= high; d += every) {
    const at = y(10 ** d);
    body += `<line x1="${left}" x2="${width - right}" y1="${at}" y2="${at}" stroke="var(--line)"/>`;
    body += `<text x="${left - 6}" y="${at + 4}" text-anchor="end">${d >= -2 && d <= 4 ? 10 ** d : `1e${d}`}</text>`;
  }
  for (const t of [0, 0.25, 0.5, 0.75, 1]) body += `<text x="${x(t)}" y="${height - bottom + 15}" text-anchor="middle">${t}</text>`;
  body += `<text x="${(left + width - right) / 2}" y="${height - 3}" text-anchor="middle">t, from noise (0) to the picture (1)</text>`;
  body += `<text x="0" y="11">mismatch of one pixel, unweighted, log scale</text>`;
  if (band.length) {
    const edge = [...band.map((p) => [p[0], p[2]]), ...band.toReversed().map((p) => [p[0], p[1]])];
    body += `<path class="band" d="${path(edge)}Z" fill="${LOOK.colours.normal}" fill-opacity="0.3" stroke="${LOOK.colours.normal}"/>`;
  }
  const cursor = x(head.times[step]);
  body += `<line class="cursor" x1="${cursor}" x2="${cursor}" y1="${top}" y2="${height - bottom}" stroke="var(--color-accent)" stroke-dasharray="3 3"/>`;
  body += `<path class="curve" d="${path(curve)}" fill="none" stroke="${LOOK.colours.anomalous}" stroke-width="2"/>`;
  body += curve.map(([t, v], j) => `<circle cx="${x(t)}" cy="${y(v)}" r="${j === step ? 5 : 2.5}" fill="${LOOK.colours.anomalous}"/>`).join("");
  svg.innerHTML = body;
  $(".place").textContent = `Row ${place[0]}, column ${place[1]} of ${rows} × ${columns}: ${short(curve[step][1])} at t = ${head.times[step].toFixed(2)}.`;
  const key = (name, text) => `<span class="swatch" style="background:${LOOK.colours[name]}"></span>${text}`;
  const range = band.length ? `&ensp;${key("normal", `5 % to 95 % of ${head.held_out} good images`)}` : `&ensp;${head.band_note}`;
  $(".keys").innerHTML = key("anomalous", "this place") + range;
}

// ---- controls ----
const pause = player(slider, $(".play"), repaint, 2400);
$(".opacity").addEventListener("input", () => { blend(); repaint(); });

for (const canvas of element.querySelectorAll("figure:not(.chart) canvas")) {
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

blend();
new ResizeObserver(() => repaint()).observe(root);
watch("value", receive);
receive();
