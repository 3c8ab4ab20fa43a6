// The identity in numbers at the chosen time, and the stacked bars of all times.
function decimals(step) {
  const { values } = shown.head;
  const largest = Math.max(...NAMES.map((name) => Math.abs(values[name][step])), 1e-9);
  return Math.min(6, Math.max(0, 4 - Math.floor(Math.log10(largest))));
}

// Its name, with the word of the glossary in it explained.
function named(text) {
  const known = ["mismatch", "denoising term", "Fisher term", "cross term"].find((name) => text.startsWith(name));
  return known ? word(known) + text.slice(known.length) : text;
}

function headline(step) {
  const { head } = shown;
  const share = (name) => Math.round((100 * head.values[name][step]) / head.values.mismatch[step]);
  const at = `At t = ${head.times[step].toFixed(2)}`;
  if (head.law === "image") return `${at}: a single picture, so all of the mismatch is Fisher term`;
  // A share of more than all, or of less than nothing, only says that the learned field of q is bad.
  if (Math.abs(share("cross")) > 50) return `${at}: the error of q's field, the cross term, is too large to split the mismatch into shares`;
  return signedText(`${at}: denoising ${share("denoising")} %, Fisher ${share("fisher")} %, cross ${share("cross")} % of the mismatch`);
}

function identity(step) {
  const { head } = shown;
  const digits = decimals(step);
  const format = (value, places = digits) => signedText((Math.abs(value) < 0.5 * 10 ** -places ? 0 : value).toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places }));
  const term = (name) =>
    `<div class="term" data-term="${name}" style="border-color:${COLOUR[name]}"><span><span class="formula">${FORMULA[name]}</span><span class="name">${named(head.names[name])}</span></span>` +
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
