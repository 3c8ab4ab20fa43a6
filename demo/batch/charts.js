// Histogram and ROC.
// Scores far apart are binned by their logarithm; the axis still shows scores.
function bins(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const log = low > 0 && high / low > 8;
  const to = (v) => (log ? Math.log10(v) : v), width = (to(high) - to(low)) / 30 || 1;
  const ticks = [];
  if (log) for (let d = Math.floor(to(low)); d <= Math.ceil(to(high)); d++) for (const m of [1, 2, 5]) ticks.push(m * 10 ** d);
  return { to, log, ticks, start: to(low), width, count: 31 };
}

function histogram(rows, good, threshold) {
  const scale = bins([...rows.map((r) => r.score), ...good, threshold]);
  const centre = (i) => scale.start + (i + 0.5) * scale.width;
  const trace = (name, values, colour, more = {}) => {
    const counts = new Array(scale.count).fill(0);
    for (const v of values) counts[Math.min(scale.count - 1, Math.max(0, Math.floor((scale.to(v) - scale.start) / scale.width)))] += 1;
    const x = counts.map((_, i) => centre(i));
    const said = x.map((c) => short(scale.log ? 10 ** c : c));
    return { type: "bar", name, x, y: counts, width: scale.width, customdata: said, hovertemplate: `%{y} ${name}, score about %{customdata}<extra></extra>`, marker: { color: colour }, ...more };
  };
  const of = (keep) => rows.filter(keep).map((r) => r.score);
  const known = rows.some((r) => r.label);
  const traces = known
    ? [trace("good", of((r) => r.label === "good"), LOOK.colours.normal), trace("defective", of((r) => r.label && r.label !== "good"), LOOK.colours.anomalous), trace("unlabelled", of((r) => !r.label), "#9aa1ab")]
    : [trace("below the threshold", of((r) => r.score <= threshold), LOOK.colours.normal), trace("above", of((r) => r.score > threshold), LOOK.colours.anomalous)];
  if (good.length) {
    const reference = trace("good pictures of the fit", good, "rgba(0,0,0,0)", {});
    traces.push({ ...reference, type: "scatter", mode: "lines", line: { shape: "hvh", color: "#8a929c", width: 1.5 } });
  }
  const at = scale.to(threshold);
  return [traces.filter((t) => t.y.some((n) => n)), layout({
    xaxis: scale.log ? { title: { text: "score, log scale" }, tickvals: scale.ticks.map(scale.to), ticktext: scale.ticks.map(short), range: [scale.start - scale.width, centre(scale.count)] } : { title: { text: "score" } },
    yaxis: { title: { text: "pictures" }, rangemode: "tozero", tickformat: "d" },
    shapes: [{ type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: { color: "#0072B2", width: 2, dash: "dash" } }],
  })];
}

function roc(rows, threshold) {
  const known = rows.filter((r) => r.label).sort((a, b) => b.score - a.score);
  const good = known.filter((r) => r.label === "good").length, bad = known.length - good;
  const x = [0], y = [0], said = ["above all"];
  let [wrong, found] = [0, 0];
  known.forEach((row, i) => {
    if (row.label === "good") wrong += 1; else found += 1;
    if (known[i + 1]?.score === row.score) return;
    x.push(wrong / good); y.push(found / bad); said.push(short(row.score));
  });
  const rate = (keep, all) => known.filter((r) => keep(r) && r.score > threshold).length / all;
  const now = [rate((r) => r.label === "good", good), rate((r) => r.label !== "good", bad)];
  return [[
    { x: [0, 1], y: [0, 1], mode: "lines", line: { color: "#9aa1ab", dash: "dot", width: 1 }, hoverinfo: "skip" },
    { x, y, customdata: said, mode: "lines+markers", marker: { size: 4 }, line: { color: LOOK.colours.predicted_velocity, width: 2 }, hovertemplate: "threshold %{customdata}: %{y:.0%} found, %{x:.0%} false alarms<extra></extra>" },
    { x: [now[0]], y: [now[1]], mode: "markers", marker: { size: 11, color: LOOK.colours.anomalous }, hovertemplate: "here: %{y:.0%} found, %{x:.0%} false alarms<extra></extra>" },
  ], layout({
    showlegend: false,
    xaxis: { title: { text: "false alarms" }, range: [-0.03, 1.03], tickformat: ".0%" },
    yaxis: { title: { text: "found" }, range: [-0.03, 1.03], tickformat: ".0%" },
  })];
}
