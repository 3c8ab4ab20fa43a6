// In a pixel model, what the field sees: the state lies on the straight path from the noise to the picture.
function paintSight(step) {
  const { guesses, noise, seen } = shown.arrays;
  $(".sight").hidden = !guesses;
  if (!guesses) return;
  const t = shown.head.times[step], start = step * seen.length;
  rgb($(".state canvas"), (i) => 127.5 * ((1 - t) * half(noise[i]) + t * (seen[i] / 127.5 - 1) + 1));
  rgb($(".guess canvas"), (i) => guesses[start + i]);
  rgb($(".truth canvas"), (i) => seen[i]);
}

function rgb(canvas, level) {
  const [rows, columns] = shown.arrays.seen.shape;
  [canvas.width, canvas.height] = [columns, rows];
  fit(canvas, photo);
  const context = canvas.getContext("2d"), data = context.createImageData(columns, rows);
  for (let i = 0, at = 0; i < data.data.length; i += 4) {
    for (const channel of [0, 1, 2]) data.data[i + channel] = level(at++);
    data.data[i + 3] = 255;
  }
  context.putImageData(data, 0, 0);
}

const percent = (value) => `${value && value < 0.1 ? "< 0.1" : value.toFixed(1)} %`;
function told({ regions, more, marked_area: area }) {
  const count = regions.length + more;
  return count ? `${count} region${count > 1 ? "s" : ""}, ${percent(area)} of the picture` : "nothing";
}
