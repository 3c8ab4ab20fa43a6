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
const bars = drawer(async (chart) => {
  const { head } = shown;
  if (!head.times) return;
  const share = $(".units [data-unit=share]").ariaPressed === "true";
  const unit = head.times.map((_, j) => (share ? 100 / head.values.mismatch[j] : 1));
  const scaled = (values) => values.map((value, j) => value * unit[j]);
  const number = (value) => signedText(Number(value.toPrecision(4)).toLocaleString("en-US", { maximumSignificantDigits: 4 }));
  const trace = (name, more) => ({
    name: TITLE[name], x: head.times, y: scaled(head.values[name]), error_y: { type: "data", array: scaled(head.errors[name]), thickness: 1.2, width: 0, color: ink },
    customdata: head.values[name].map((value, j) => `${number(value)} ± ${number(head.errors[name][j])}`), hovertemplate: share ? "%{y:.1f} % = %{customdata}" : "%{customdata}", ...more,
  });
  const ink = getComputedStyle(root).getPropertyValue("--body-text-color").trim();
  const width = 0.62 / (head.total + 1), step = +root.dataset.step, t = head.times[step];
  const terms = ["denoising", "fisher", "cross"].map((name) => trace(name, { type: "bar", width, marker: { color: COLOUR[name] } }));
  const sum = trace("mismatch", { mode: "markers", marker: { symbol: "line-ew-open", size: 20, color: ink, line: { width: 2 } } });
  await chart.react($(".bars"), [...terms, sum], layout({
    barmode: "relative", hovermode: "x unified",
    xaxis: { title: { text: "t, from noise (0) to the picture (1)" }, range: [0, 1], tickformat: ".2~f", hoverformat: ".2f" },
    yaxis: { title: { text: share ? "% of the mismatch at t" : "sum over pixels" }, zerolinewidth: 2 },
    shapes: [{ type: "rect", x0: t - 0.7 * width, x1: t + 0.7 * width, yref: "paper", y0: 0, y1: 1, line: { width: 0 }, fillcolor: "#0072B2", opacity: 0.14, layer: "below" }],
  }), QUIET_CHART);
  $(".keys").textContent = `Whiskers: ± 1 standard error; n = ${head.paths}. Click a time to see its maps.`;
  if (!$(".bars").dataset.heard) $(".bars").on("plotly_click", ({ points }) => chosen(points[0].pointIndex));
  $(".bars").dataset.heard = true;
}, () => ($(".keys").textContent = "The chart could not be loaded; the numbers are above."));
