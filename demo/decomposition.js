// Draws the messages of decomposition_view.py. Scrubbing only repaints: all maps are already here.
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
const photo = new Image();
let shown = null;
let cancelled = null;
let latest = 0;

for (const [part, what] of [["now", "At this t"], ["all", "Over all t"]]) {
  const row = `<div class="row ${part}"><b>${what}</b> <span></span></div>`;
  const figures = NAMES.map((name) => `<figure><canvas class="${part}-${name}" role="img" aria-label="${TITLE[name]}, ${what}"></canvas><figcaption><b>${TITLE[name]}</b> <span class="say-${part}-${name}"></span></figcaption></figure>`);
  $(".maps").insertAdjacentHTML("beforeend", (part === "now" ? "" : row) + figures.join(""));
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
  if (head.run && head.run === cancelled) return;
  if (head.kind === "full" || head.kind === "partial") result(head, arrays);
  else if (head.kind === "working") working(head);
  else if (head.kind === "stopped" && root.dataset.state === "working") stopped();
}

function result(head, arrays) {
  pause();
  const ready = head.kind === "full";
  const same = shown && shown.head.kind === "full" && shown.head.total === head.total && ready;
  const step = same ? +slider.value : head.times.length - 1;
  shown = { head, arrays };
  root.dataset.state = ready ? "ready" : "working";
  slider.max = Math.max(0, head.times.length - 1);
  // Opens where the defect is best seen: late enough to be sharp, not yet ruled by the last speckled times.
  slider.value = ready && !same ? Math.round(0.65 * (head.times.length - 1)) : step;
  slider.disabled = $(".play").disabled = !ready;
  $(".note").textContent = ready ? `${head.name} ${head.note}` : head.name;
  scaleBar();
  repaint();
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
  chart(step);
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

// ---- the identity ----
function decimals(step) {
  const { values } = shown.head;
  const largest = Math.max(...NAMES.map((name) => Math.abs(values[name][step])), 1e-9);
  return Math.min(6, Math.max(0, 4 - Math.floor(Math.log10(largest))));
}

function headline(step) {
  const { head } = shown;
  const share = (name) => Math.round((100 * head.values[name][step]) / head.values.mismatch[step]);
  const at = `At t = ${head.times[step].toFixed(2)}`;
  if (head.law === "image") return `${at}: a single picture, so all of the mismatch is Fisher term`;
  return signedText(`${at}: denoising ${share("denoising")} %, Fisher ${share("fisher")} %, cross ${share("cross")} % of the mismatch`);
}

function identity(step) {
  const { head } = shown;
  const digits = decimals(step);
  const format = (value, places = digits) => signedText((Math.abs(value) < 0.5 * 10 ** -places ? 0 : value).toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places }));
  const term = (name) =>
    `<div class="term" data-term="${name}" style="border-color:${COLOUR[name]}"><span><span class="formula">${FORMULA[name]}</span><span class="name">${head.names[name]}</span></span>` +
    `<span><span class="number">${format(head.values[name][step])}</span> <span class="error">± ${format(head.errors[name][step])}</span></span></div>`;
  const sign = (text) => `<span class="sign" aria-hidden="true">${text}</span>`;
  $(".identity").innerHTML = term("mismatch") + sign("=") + term("denoising") + sign("+") + term("fisher") + sign("+") + term("cross");
  const parts = [];
  if (head.posterior) parts.push(`In closed form, E tr Cov<sub>q</sub>(u | x<sub>t</sub>) = ${format(head.posterior[step])} is what the denoising term estimates.`);
  if (head.divergence) {
    const t = head.times[step];
    const closed = head.closed_fisher ? ` Without draws: ${format(head.closed_fisher[step])}.` : "";
    parts.push(`Both fields are exact, so the Fisher term is ((1 − t)/t)² E‖∇ log p<sub>t</sub> − ∇ log q<sub>t</sub>‖² = ${((1 - t) / t) ** 2 < 1e-2 ? (((1 - t) / t) ** 2).toExponential(2) : (((1 - t) / t) ** 2).toFixed(4)} × ${signedText(Number(head.divergence[step].toPrecision(6)).toLocaleString("en-US", { maximumSignificantDigits: 6 }))}.${closed}`);
  }
  $(".closing").innerHTML = parts.join(" ");
  $(".closing").hidden = !parts.length;
}

// ---- the bars ----
function chart(step) {
  const { head } = shown;
  const svg = $(".chart svg");
  const [width, height, left, right, top, bottom] = [svg.clientWidth || 600, svg.clientHeight || 230, 56, 6, 20, 32];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const share = $(".units [data-unit=share]").ariaPressed === "true";
  const unit = head.times.map((_, j) => (share ? 100 / head.values.mismatch[j] : 1));
  const value = (name, j) => head.values[name][j] * unit[j];
  const error = (name, j) => head.errors[name][j] * unit[j];
  const above = head.times.map((_, j) => Math.max(value("mismatch", j) + error("mismatch", j), ["denoising", "fisher", "cross"].reduce((sum, name) => sum + Math.max(0, value(name, j)) + (name === "cross" ? error("cross", j) : 0), 0)));
  const below = head.times.map((_, j) => Math.min(0, value("cross", j) - error("cross", j)));
  const most = Math.max(...above);
  const least = Math.min(...below);
  const ticks = nice(least < -0.03 * most ? least : 0, most); // no empty half below for a cross term of nothing but noise
  const [low, high] = [ticks[0], ticks.at(-1)];
  const x = (t) => left + t * (width - left - right);
  const y = (v) => top + ((high - v) / (high - low || 1)) * (height - top - bottom);
  const wide = Math.min(34, (0.62 * (width - left - right)) / (head.total + 1));
  let body = "";
  for (const tick of ticks) {
    const text = share ? `${tick} %` : Math.abs(tick) >= 1e4 ? `${short(tick / 1000)}k` : short(tick);
    body += `<line x1="${left}" x2="${width - right}" y1="${y(tick)}" y2="${y(tick)}" stroke="var(--line)" ${tick ? "" : 'stroke-width="2"'}/>`;
    body += `<text x="${left - 6}" y="${y(tick) + 4}" text-anchor="end">${signedText(text)}</text>`;
  }
  for (const t of [0, 0.25, 0.5, 0.75, 1]) body += `<text x="${x(t)}" y="${height - bottom + 16}" text-anchor="middle">${t}</text>`;
  body += `<text x="${(left + width - right) / 2}" y="${height - 2}" text-anchor="middle">t, from noise (0) to the picture (1)</text>`;
  body += `<text x="0" y="10">${share ? "% of the mismatch at t" : "sum over pixels"}; whiskers: ± 1 standard error; n = ${head.paths}</text>`;
  head.times.forEach((t, j) => {
    const at = x(t) - wide / 2;
    let up = 0;
    let column = "";
    const whisker = (v, e, dx) => `<path d="M${x(t) + dx} ${y(v - e)}V${y(v + e)}" stroke="var(--body-text-color)" stroke-width="1.2"/>`;
    ["denoising", "fisher", "cross"].forEach((name, i) => {
      const v = value(name, j);
      const from = v < 0 ? 0 : up;
      if (v >= 0) up += v;
      const [a, b] = [y(from + v), y(from)];
      column += `<rect class="bar-${name}" data-value="${head.values[name][j]}" x="${at}" width="${wide}" y="${Math.min(a, b)}" height="${Math.abs(b - a)}" fill="${COLOUR[name]}"/>`;
      if (head.errors[name][j] > 0) column += whisker(from + v, error(name, j), ((i - 1) * wide) / 4);
    });
    const total = y(value("mismatch", j));
    column += `<line x1="${at - 3}" x2="${at + wide + 3}" y1="${total}" y2="${total}" stroke="var(--body-text-color)" stroke-width="2"/>`;
    const frame = j === step ? `<rect x="${at - 5}" y="${top - 4}" width="${wide + 10}" height="${height - top - bottom + 8}" fill="var(--color-accent)" fill-opacity="0.12" rx="3"/>` : "";
    body += `<g class="column" data-step="${j}">${frame}<rect x="${at - 4}" y="${top}" width="${wide + 8}" height="${height - top - bottom}" fill="transparent"/>${column}</g>`;
  });
  svg.innerHTML = body;
  const key = (name, text) => `<span><i class="swatch" style="background:${COLOUR[name]}${name === "mismatch" ? ";height:2px;vertical-align:middle" : ""}"></i>${text}</span>`;
  $(".keys").innerHTML = [key("denoising", "denoising"), key("fisher", "Fisher"), key("cross", "cross, below the axis where negative"), key("mismatch", "mismatch, their sum")].join("&ensp; ");
}

function nice(low, high) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999);
  const ticks = [];
  for (let i = Math.floor(low / step + 0.02); i <= Math.ceil(high / step - 0.15); i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

// ---- controls ----
const pause = player(slider, $(".play"), repaint, 2400);
for (const button of element.querySelectorAll(".units button")) {
  button.addEventListener("click", () => {
    for (const other of element.querySelectorAll(".units button")) other.setAttribute("aria-pressed", other === button);
    repaint();
  });
}
$(".chart svg").addEventListener("click", (event) => {
  const column = event.target.closest(".column");
  if (!column || !shown || shown.head.kind !== "full") return;
  pause();
  slider.value = column.dataset.step;
  repaint();
});

new ResizeObserver(() => repaint()).observe(root);
watch("value", receive);
receive();
