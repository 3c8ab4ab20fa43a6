// Two sides, each scored by the server once; one slider moves the time of both, without the server.
const root = $(".cp");
const slider = $(".time");
const heat = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
const colour = (i, alpha) => ((alpha << 24) | (heat[3 * i + 2] << 16) | (heat[3 * i + 1] << 8) | heat[3 * i]) >>> 0;
const opaque = new Uint32Array(256).map((_, i) => colour(i, 255));
const blended = new Uint32Array(256).map((_, i) => colour(i, Math.round(205 * Math.min(1, Math.max(0, i - 64) / 96))));
const sides = [...element.querySelectorAll(".side")].map((item) => ({ item, asked: 0, shown: null, of: (name) => item.querySelector(`.${name}`) }));
const percent = (value) => `${value && value < 0.1 ? "< 0.1" : value.toFixed(1)} %`;

const options = (select, pairs, value) => {
  select.replaceChildren(...pairs.map(([label, name]) => new Option(label, name)));
  if (pairs.some(([, name]) => String(name) === String(value))) select.value = value;
};
const modelsOf = (category) => LOOK.models.filter((one) => one.categories.includes(category));
const exact = (name) => LOOK.models.find((one) => one.name === name)?.exact;

// ---- choices ----
const MINE = "mine"; // instead of the number of an example
let mine = null; // the visitor's own picture, as the server takes it

// Asks for a picture, reduces it to what the server takes, and scores it where it was asked for.
function pick(one) {
  const input = $(".file");
  input.onchange = async () => {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const image = await createImageBitmap(file);
      const factor = Math.min(1, LOOK.most / Math.max(image.width, image.height));
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [Math.max(1, Math.round(image.width * factor)), Math.max(1, Math.round(image.height * factor))];
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      mine = canvas.toDataURL("image/png");
    } catch {
      return failed(one, `'${file.name}' cannot be read as a picture: give a PNG or JPEG file.`);
    }
    for (const each of sides) if (each.of("example").value === MINE) ask(each);
  };
  input.click();
}
function fill() {
  const category = $(".category").value;
  const examples = (LOOK.examples[category] || []).map((name, index) => [`${index + 1}: ${name}`, index]);
  for (const one of sides) {
    options(one.of("model"), modelsOf(category).map((m) => [m.label, m.name]), one.of("model").value);
    options(one.of("example"), [...examples, ["My picture...", MINE]], one.of("example").value);
    if (!one.of("aggregator").options.length) options(one.of("aggregator"), LOOK.aggregators.map(([name, label]) => [label, name]));
    limit(one);
  }
}

// The exact mean over all noise has no draws of which anything could be taken.
function limit(one) {
  const select = one.of("aggregator");
  select.disabled = exact(one.of("model").value);
  if (select.disabled) select.value = LOOK.aggregators[0][0];
}

function preset(name) {
  const [left, right] = sides, category = $(".category").value, models = modelsOf(category);
  const good = (LOOK.examples[category] || []).indexOf("good");
  const drawn = models.find((m) => !m.exact) || models[0];
  const own = LOOK.aggregators[0][0];
  const set = (one, model, example, aggregator) => {
    one.of("model").value = model?.name;
    one.of("example").value = example;
    one.of("aggregator").value = aggregator;
    limit(one);
  };
  const now = left.of("example").value;
  const first = now === MINE && mine ? MINE : +now === good ? 0 : +now || 0;
  if (name === "models") { set(left, models[0], first, own); set(right, models[1] || models[0], first, own); }
  if (name === "pictures") { set(left, models[0], first, own); set(right, models[0], Math.max(good, 0), own); }
  if (name === "aggregators") { set(left, drawn, first, "min"); set(right, drawn, first, "mean"); }
  pressed(name);
  sides.forEach(ask);
}

function pressed(name) {
  for (const button of element.querySelectorAll("[data-preset]")) button.setAttribute("aria-pressed", button.dataset.preset === name);
}

// ---- asking ----
async function ask(one) {
  if (one.of("example").value === MINE && !mine) return failed(one, "Choose “My picture...” once more to give one.");
  const turn = ++one.asked;
  one.of("word").textContent = "Scoring";
  for (const name of ["figures", "aside", "regions"]) one.of(name).textContent = "";
  one.of("dot").style.background = "var(--color-accent)";
  const which = one.of("example").value === MINE ? { picture: mine } : { example: +one.of("example").value };
  const request = { model: one.of("model").value, category: $(".category").value, ...which, aggregator: one.of("aggregator").value };
  let answer;
  try {
    answer = await server.side(request);
  } catch {
    answer = { error: "The server did not answer: check the connection, then choose again." };
  }
  if (turn !== one.asked) return;
  if (answer.error) return failed(one, answer.error);
  const head = JSON.parse(answer.message), arrays = await unpack(head), image = await decoded(head.image);
  if (turn !== one.asked) return;
  one.shown = { head, arrays, image };
  one.of("word").textContent = head.word;
  one.of("figures").textContent = `score ${head.score_text}`;
  one.of("aside").textContent = head.aside;
  one.of("dot").style.background = head.anomalous === null ? "var(--line)" : LOOK.colours[head.anomalous ? "anomalous" : "normal"];
  one.of("regions").textContent = told(head);
  repaint();
  if (sides.every((each) => each.shown)) root.dataset.state = "ready";
  root.dataset.answers = 1 + +(root.dataset.answers || 0);
}

function failed(one, text) {
  one.shown = null;
  one.of("word").textContent = "No result";
  one.of("regions").textContent = text;
  one.of("dot").style.background = "var(--line)";
  one.item.querySelector("canvas").getContext("2d").clearRect(0, 0, 9999, 9999);
}

function told({ regions, more, marked_area: area, draws, note }) {
  const noise = draws ? `${draws} noise draws, the same on both sides where sizes agree. ` : "All noise, exact. ";
  if (area === null) return noise + note;
  if (!regions.length) return `${noise}Nothing is marked at the threshold.`;
  const list = regions.map((one) => percent(one.area)).join(", ");
  return `${noise}Marked: ${percent(area)} of the picture, in ${regions.length + more} region${regions.length + more > 1 ? "s" : ""} (${list}${more ? ", ..." : ""}).`;
}

// ---- painting ----
function repaint() {
  const part = +slider.value / +slider.max;
  for (const one of sides) {
    if (!one.shown) continue;
    const { head, arrays, image } = one.shown;
    const canvas = one.item.querySelector("canvas"), map = document.createElement("canvas");
    const step = Math.round(part * (head.times.length - 1));
    [canvas.width, canvas.height] = [2 * image.naturalWidth, 2 * image.naturalHeight];
    canvas.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
    const context = canvas.getContext("2d");
    paint(map, arrays.running, step, $(".bare").checked ? opaque : blended, image);
    if (!$(".bare").checked) context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.drawImage(map, 0, 0, canvas.width, canvas.height);
    if (arrays.outline) trace(context, arrays.outline, "#fff");
    if ($(".marked").checked && arrays.marked) trace(context, arrays.marked, LOOK.colours.geometric_velocity);
    one.item.dataset.step = step;
    $(".clock").textContent = `t = ${head.times[step].toFixed(2)}`;
  }
  slider.setAttribute("aria-valuetext", $(".clock").textContent);
}

function trace(context, lines, colour) {
  context.beginPath();
  for (let i = 0; i < lines.length; i += 4) {
    context.moveTo(2 * lines[i], 2 * lines[i + 1]);
    context.lineTo(2 * lines[i + 2], 2 * lines[i + 3]);
  }
  for (const [style, size] of [["rgba(0,0,0,0.55)", 4], [colour, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = size;
    context.stroke();
  }
}

// ---- controls ----
player(slider, $(".play"), repaint, 2400);
for (const name of ["marked", "bare"]) $(`.${name}`).addEventListener("change", repaint);
for (const one of sides) {
  for (const name of ["model", "example", "aggregator"]) {
    one.of(name).addEventListener("change", () => {
      limit(one);
      pressed("");
      if (name === "example" && one.of(name).value === MINE) pick(one);
      else ask(one);
    });
  }
}
for (const button of element.querySelectorAll("[data-preset]")) button.addEventListener("click", () => preset(button.dataset.preset));
const names = Object.keys(LOOK.examples).filter((name) => modelsOf(name).length);
options($(".category"), names.map((name) => [name, name]), LOOK.opening);
$(".category").addEventListener("change", () => { fill(); preset("models"); });
fill();
// Nothing is asked of the server before the tab is first seen.
new IntersectionObserver((seen, self) => {
  if (!seen.some((one) => one.isIntersecting)) return;
  self.disconnect();
  if (names.length) preset(modelsOf($(".category").value).length > 1 ? "models" : "pictures");
}).observe(root);
