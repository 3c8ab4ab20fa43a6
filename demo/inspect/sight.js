// In a pixel model, what the field sees; the arrays hold RGB of all times.
function paintSight(step) {
  const { states, guesses, seen } = shown.arrays;
  $(".sight").hidden = !states;
  if (!states) return;
  for (const [name, stack, index] of [["state", states, step], ["guess", guesses, step], ["truth", seen, 0]]) {
    const canvas = $(`.${name} canvas`), [, rows, columns] = stack.shape;
    [canvas.width, canvas.height] = [columns, rows];
    fit(canvas, photo);
    const context = canvas.getContext("2d"), data = context.createImageData(columns, rows);
    for (let i = 0, at = 3 * index * rows * columns; i < data.data.length; i += 4) {
      data.data[i] = stack[at++];
      data.data[i + 1] = stack[at++];
      data.data[i + 2] = stack[at++];
      data.data[i + 3] = 255;
    }
    context.putImageData(data, 0, 0);
  }
}

const percent = (value) => `${value && value < 0.1 ? "< 0.1" : value.toFixed(1)} %`;
function told({ regions, more, marked_area: area }) {
  const count = regions.length + more;
  return count ? `${count} region${count > 1 ? "s" : ""}, ${percent(area)} of the picture` : "nothing";
}
