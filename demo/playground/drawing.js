// Pictures of the playground: planes, landscapes and charts, drawn from what the server computed.
const $$ = (selector) => [...element.querySelectorAll(selector)];
const HEAT = Uint8Array.from(atob(LOOK.heat), (c) => c.charCodeAt(0));
const HUES = [LOOK.colours.normal, LOOK.colours.anomalous]; // of the targets A and B
const ARROW = 0.2; // length of an arrow per unit of velocity
const digits = (value) => (value === 0 ? "0" : value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
const style = (name) => getComputedStyle(element).getPropertyValue(name).trim();

// ---- planes ----
function open(canvas, window) {
  const ratio = globalThis.devicePixelRatio || 1;
  const size = Math.round(canvas.clientWidth * ratio);
  if (!size) return null;
  if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
  const [left, right, bottom, top] = window;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, size, size);
  return { context, size, ratio, at: ([x, y]) => [((x - left) / (right - left)) * size, ((top - y) / (top - bottom)) * size] };
}

function disc(plane, point, radius, fill, line, width = 1.5) {
  const { context, ratio, at } = plane;
  context.beginPath();
  context.arc(...at(point), radius * ratio, 0, 2 * Math.PI);
  if (fill) { context.fillStyle = fill; context.fill(); }
  if (line) { context.strokeStyle = line; context.lineWidth = width * ratio; context.stroke(); }
}

function stroke(plane, points, colour, width) {
  const { context, ratio, at } = plane;
  context.beginPath();
  points.forEach((point, i) => (i ? context.lineTo(...at(point)) : context.moveTo(...at(point))));
  context.strokeStyle = colour;
  context.lineWidth = width * ratio;
  context.stroke();
}

function arrow(plane, from, velocity, colour, width) {
  const tip = [from[0] + ARROW * velocity[0], from[1] + ARROW * velocity[1]];
  stroke(plane, [from, tip], colour, width);
  const [x0, y0] = plane.at(from), [x1, y1] = plane.at(tip);
  const angle = Math.atan2(y1 - y0, x1 - x0), length = Math.min(3.2 * width * plane.ratio, Math.hypot(x1 - x0, y1 - y0));
  const { context } = plane;
  context.beginPath();
  for (const turn of [0, 2.6, -2.6]) {
    const reach = turn ? length : length * 0.5;
    context.lineTo(x1 + reach * Math.cos(angle + turn), y1 + reach * Math.sin(angle + turn));
  }
  context.fillStyle = colour;
  context.fill();
}

function mark(plane, point, letter, colour) {
  disc(plane, point, 11, colour, "#fff", 2);
  const { context, ratio, at } = plane;
  const [x, y] = at(point);
  context.fillStyle = "#fff";
  context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(letter, x, y + ratio);
}

function dots(plane, points, radius, colour) {
  for (const point of points) disc(plane, point, radius, colour);
}

function paintPlane(canvas, scene, target, letter, hue, found, starts, step, tool) {
  const plane = open(canvas, scene.window);
  if (!plane) return;
  dots(plane, scene.samples, 1.6, LOOK.colours.normal + "66");
  if (found) {
    const states = found.states[step];
    states.forEach((state, k) => starts[k] && stroke(plane, [starts[k], found.ends[k]], style("--quiet") + "55", 1));
    states.forEach((state, k) => found.geometric[k] && arrow(plane, state, found.geometric[k], LOOK.colours.geometric_velocity, 3.5));
    states.forEach((state, k) => arrow(plane, state, found.predicted[step][k], LOOK.colours.predicted_velocity, 1.8));
    states.forEach((state) => disc(plane, state, 3, style("--body-text-color")));
    found.ends.forEach((end) => disc(plane, end, 2, hue));
  }
  for (const start of starts) disc(plane, start, tool === "starts" ? 7 : 4.5, style("--surface"), style("--quiet"), 1.5);
  mark(plane, target, letter, hue);
}

function paintCodes(context, codes, width, height) {
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = HEAT[3 * codes[i] + c];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function paintLandscape(canvas, message, codes, scene, targets) {
  const plane = open(canvas, message.window);
  if (!plane) return;
  const side = message.side;
  const small = document.createElement("canvas");
  small.width = small.height = side;
  paintCodes(small.getContext("2d"), codes, side, side);
  // A grid point is the middle of its cell, and the first and last lie on the window's edge.
  const cell = plane.size / (side - 1);
  plane.context.imageSmoothingEnabled = true;
  plane.context.imageSmoothingQuality = "high";
  plane.context.drawImage(small, -cell / 2, -cell / 2, plane.size + cell, plane.size + cell);
  dots(plane, scene.samples, 1, "#ffffff70");
  targets.forEach((target, i) => mark(plane, target, "AB"[i], HUES[i]));
}

function paintRamp(canvas) {
  paintCodes(canvas.getContext("2d"), Uint8Array.from({ length: 256 }, (_, i) => i), 256, 1);
}

// ---- charts ----
// series: {xs, ys, colour, dash, width}; bars: stacked [{ys, colour}] at the times xs; y from 0, or logarithmic.
function chart(svg, { xs, series = [], bars = [], log = false, top = null, cursor = null, across = "t", up, span = [0, 1] }) {
  const [width, height] = [svg.clientWidth || 300, svg.clientHeight || 170];
  const [left, right, above, below] = [42, 8, 20, 30];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const all = series.flatMap((one) => one.ys).filter((v) => v > 0);
  const sums = xs.map((_, j) => bars.reduce((sum, bar) => sum + bar.ys[j], 0));
  let low = 0, high = top ?? (Math.max(...all, ...sums, 0) * 1.05 || 1);
  if (log) {
    low = Math.floor(Math.log10(Math.min(...all)));
    high = Math.max(Math.ceil(Math.log10(Math.max(...all))), low + 1);
  }
  const x = (v) => left + ((v - span[0]) / (span[1] - span[0])) * (width - left - right);
  const y = (v) => height - below - ((log ? Math.log10(Math.max(v, 10 ** low)) - low : v) / (high - low)) * (height - above - below);
  const path = (one) => (one.xs || xs).map((v, j) => `${j ? "L" : "M"}${x(v).toFixed(1)} ${y(one.ys[j]).toFixed(1)}`).join("");
  const ticks = log ? Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) : rounds(high);
  const every = Math.ceil(ticks.length / 6);
  let body = `<text x="0" y="10">${up}</text>`;
  ticks.forEach((tick, i) => {
    if (i % every) return;
    body += `<line x1="${left}" x2="${width - right}" y1="${y(tick)}" y2="${y(tick)}" stroke="var(--line)"/>`;
    body += `<text x="${left - 6}" y="${y(tick) + 4}" text-anchor="end">${tick && Math.abs(Math.log10(tick)) > 4 ? tick.toExponential(0) : digits(tick)}</text>`;
  });
  for (const part of [0, 0.5, 1]) {
    const v = span[0] + part * (span[1] - span[0]);
    const anchor = part === 1 ? "end" : "middle";
    body += `<text x="${part === 1 ? width - right : x(v)}" y="${height - below + 14}" text-anchor="${anchor}">${digits(v)}</text>`;
  }
  body += `<text x="${(left + width - right) / 2}" y="${height - 3}" text-anchor="middle">${across}</text>`;
  const room = ((width - left - right) / (xs.length + 1)) * 0.7;
  xs.forEach((v, j) => {
    let sum = 0;
    for (const bar of bars) {
      const [from, to] = [y(Math.min(sum, high)), y(Math.min(sum + bar.ys[j], high))];
      sum += bar.ys[j];
      const faint = cursor === null || j === cursor ? 1 : 0.55;
      body += `<rect class="${bar.name}" data-value="${bar.ys[j]}" x="${x(v) - room / 2}" width="${room}" y="${to}" height="${Math.max(from - to, 0)}" fill="${bar.colour}" opacity="${faint}"/>`;
    }
  });
  if (cursor !== null && !bars.length) body += `<line x1="${x(xs[cursor])}" x2="${x(xs[cursor])}" y1="${above}" y2="${height - below}" stroke="var(--color-accent)" stroke-dasharray="3 3"/>`;
  for (const one of series) {
    body += `<path class="${one.name || ""}" d="${path(one)}" fill="none" stroke="${one.colour}" stroke-width="${one.width || 2}" stroke-dasharray="${one.dash || ""}"/>`;
    if (cursor !== null && !one.xs) body += `<circle cx="${x(xs[cursor])}" cy="${y(one.ys[cursor])}" r="4" fill="${one.colour}"/>`;
  }
  svg.innerHTML = body;
}

function rounds(high) {
  const power = 10 ** Math.floor(Math.log10(high / 3));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => high / s <= 4.5);
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
}

const key = (colour, text, kind = "") =>
  `<span class="key"><span class="swatch ${kind}" style="${kind === "ring" ? "border-color" : "background"}:${colour}"></span>${text}</span>`;
