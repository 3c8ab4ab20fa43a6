// The mismatch of one place against t, beside the range of good images.
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
    const [, down, across] = arrays.lower.shape; // cells of the range, fewer than those of the map
    const cell = (j * down + arrays.rows[place[0]]) * across + arrays.columns[place[1]];
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
  body += `<text x="0" y="11">unweighted, log scale</text>`;
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
