// Charts by Plotly, which is fetched when there is something to draw for the first time.
let library = null;
const plotly = () => (library ||= new Promise((found, failed) => {
  if (window.Plotly) return found(window.Plotly);
  const script = document.createElement("script");
  script.src = LOOK.plotly;
  script.onload = () => found(window.Plotly);
  script.onerror = failed;
  document.head.append(script);
}));

const QUIET_CHART = { displayModeBar: false, responsive: true };

// Runs `draw(Plotly)` once the library is here; of calls that come while it draws the last one counts.
function drawer(draw, failed) {
  let drawing = false, again = false;
  // The colours of ink and lines are those of the page, which follows the visitor's preference a moment later.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => root.dataset.charts && setTimeout(go, 100));
  async function go() {
    again = true;
    if (drawing) return;
    drawing = true;
    try {
      const chart = await plotly();
      while (again) {
        again = false;
        await draw(chart);
        root.dataset.charts = 1 + +(root.dataset.charts || 0);
      }
    } catch {
      failed();
    }
    drawing = false;
  }
  return go;
}

function layout(more) {
  const style = getComputedStyle(root);
  const ink = style.getPropertyValue("--quiet").trim() || "#666", line = style.getPropertyValue("--line").trim() || "#ccc";
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  return {
    margin: { l: 44, r: 12, t: 30, b: 38 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: style.fontFamily, size: Math.max(12, parseFloat(style.fontSize) - 2), color: ink }, bargap: 0.04, barmode: "stack",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hovermode: "closest", dragmode: false, ...more,
    xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}
