// Scores what is on the paper, one request at a time, and always the latest state.
const root = $(".dr");
const heat = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
const table = new Uint32Array(256).map((_, i) => ((255 << 24) | (heat[3 * i + 2] << 16) | (heat[3 * i + 1] << 8) | heat[3 * i]) >>> 0);
const short = (value) => String(Number(value.toPrecision(4)));
let number = 0, course = [], begun = 0;

const chosen = () => ({ model: $(".model").value, category: $(".category").value });

async function call(name, body) {
  try {
    const answer = await server[name](body);
    if (!answer.error) return answer;
    says("", "No score", "", answer.error);
  } catch {
    says("", "No score", "", "The server did not answer: check the connection, then draw again.");
  }
  return null;
}

function says(anomalous, word, figures, note) {
  $(".dot").style.background = anomalous === "" || anomalous === null ? "var(--line)" : LOOK.colours[anomalous ? "anomalous" : "normal"];
  $(".word").textContent = word;
  $(".figures").textContent = figures;
  $(".note").textContent = note;
}

async function begin() {
  const mine = ++begun;
  root.dataset.state = "preparing";
  says("", "Getting to know good pictures", "", "This is done once, when the app was just started.");
  const answer = await call("begin", { ...chosen(), number });
  if (!answer || mine !== begun) return;
  photo = await decoded(answer.image);
  lay(photo);
  course = [];
  await told(answer);
  $(".note").textContent = "This picture is good. Draw a scratch or a stain on it, and watch the score move.";
}

let busy = false, again = false;
async function changed() {
  for (const button of [".undo", ".clear"]) $(button).disabled = !steps.length;
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    const mine = begun;
    const answer = await call("score", { ...chosen(), picture: paper.toDataURL("image/png") });
    if (answer && mine === begun) await told(answer);
  } while (again);
  busy = false;
}

async function told(answer) {
  const arrays = await unpack(answer);
  paint($(".found canvas"), arrays.map, 0, table, photo);
  const word = answer.anomalous === null ? "No verdict" : answer.anomalous ? "Anomalous" : "Normal";
  const rule = answer.threshold === null ? "" : ` ${answer.anomalous ? ">" : "≤"} threshold ${short(answer.threshold)}`;
  says(answer.anomalous, word, `score ${short(answer.score)}${rule}`, answer.note || (answer.anomalous ? "Above the threshold, which few good pictures exceed." : "Below the threshold, which few good pictures exceed: draw on."));
  course.push(answer.score);
  if (course.length > 200) course.shift();
  graph(answer.threshold);
  for (const button of [".undo", ".clear"]) $(button).disabled = !steps.length;
  root.dataset.score = answer.score;
  root.dataset.scored = 1 + +(root.dataset.scored || 0);
  root.dataset.state = "ready";
}

function graph(threshold) {
  const svg = $(".course svg"), width = svg.clientWidth || 200, height = 110;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const top = 1.1 * Math.max(...course, threshold ?? 0);
  const x = (i) => 4 + (i / Math.max(1, course.length - 1)) * (width - 12), y = (v) => height - 4 - (v / top) * (height - 14);
  let body = "";
  if (threshold !== null) body += `<line x1="0" x2="${width}" y1="${y(threshold)}" y2="${y(threshold)}" stroke="${LOOK.colours.normal}" stroke-dasharray="4 3"/><text x="${width}" y="${y(threshold) - 4}" text-anchor="end">threshold</text>`;
  body += `<polyline fill="none" stroke="${LOOK.colours.anomalous}" stroke-width="2" points="${course.map((v, i) => `${x(i)},${y(v)}`).join(" ")}"/>`;
  body += `<circle cx="${x(course.length - 1)}" cy="${y(course.at(-1))}" r="4" fill="${LOOK.colours.anomalous}"/>`;
  svg.innerHTML = body;
}

// ---- choices ----
const options = (select, pairs, value) => {
  select.replaceChildren(...pairs.map(([label, name]) => new Option(label, name)));
  if (pairs.some(([, name]) => name === value)) select.value = value;
};
function categories() {
  const model = LOOK.models.find((one) => one.name === $(".model").value);
  options($(".category"), (model?.categories || []).map((name) => [name, name]), $(".category").value || LOOK.opening);
}
options($(".model"), LOOK.models.map((one) => [one.label, one.name]));
categories();
$(".model").addEventListener("change", () => { categories(); begin(); });
$(".category").addEventListener("change", () => { number = 0; begin(); });
$(".next").addEventListener("click", () => { number += 1; begin(); });
listen(changed);
// Nothing is asked of the server before the tab is first seen.
new IntersectionObserver((seen, self) => {
  if (!seen.some((one) => one.isIntersecting)) return;
  self.disconnect();
  if (LOOK.models.length) begin();
}).observe(root);
