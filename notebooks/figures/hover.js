// Shows, beside a chart of images, the picture and the map of the one under the pointer. Numbered as its points.
const plot = document.getElementById("{plot_id}");
const pictures = PICTURES;
const box = document.createElement("figure");
box.style = "min-height: 9rem; margin: 0 0 1rem";
box.innerHTML = '<img alt="" style="height: 7rem; margin: 0"><figcaption>Point at an image to see it and its map.</figcaption>';
const [image, words] = box.children;
image.hidden = true;
plot.parentElement.after(box);
plot.on("plotly_hover", ({ points: [point] }) => {
  const [number, text] = point.customdata;
  words.textContent = text;
  image.hidden = !pictures[number];
  if (pictures[number]) image.src = "data:image/jpeg;base64," + pictures[number];
});
