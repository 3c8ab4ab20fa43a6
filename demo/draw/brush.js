// The brush: strokes on a canvas of the picture's own pixels, by mouse, finger or keys.
const paper = $(".paper canvas");
const original = document.createElement("canvas");
const steps = []; // earlier states, for undo
let at = null; // last place of the brush, in pixels of the picture
let down = false;

const tool = () => element.querySelector("[name=dr-tool]:checked").value;

function lay(photo) {
  for (const canvas of [paper, original]) {
    [canvas.width, canvas.height] = [photo.naturalWidth, photo.naturalHeight];
    canvas.getContext("2d").drawImage(photo, 0, 0);
  }
  paper.style.aspectRatio = `${photo.naturalWidth} / ${photo.naturalHeight}`;
  steps.length = 0;
  at = [photo.naturalWidth / 2, photo.naturalHeight / 2];
}

function place(event) {
  const box = paper.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * paper.width, ((event.clientY - box.top) / box.height) * paper.height];
}

function keep() {
  steps.push(paper.getContext("2d").getImageData(0, 0, paper.width, paper.height));
  if (steps.length > 20) steps.shift();
}

function stroke(from, to) {
  const context = paper.getContext("2d");
  const size = (+$(".size").value * paper.width) / 256, strength = +$(".strength").value / 100;
  if (tool() === "paint") {
    context.globalAlpha = strength;
    context.strokeStyle = $(".colour").value;
    [context.lineWidth, context.lineCap] = [size, "round"];
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(to[0] + 0.01, to[1]);
    context.stroke();
    context.globalAlpha = 1;
    return;
  }
  const count = Math.max(1, Math.round((3 * Math.hypot(to[0] - from[0], to[1] - from[1])) / size));
  for (let i = 1; i <= count; i++) {
    const spot = [from[0] + ((to[0] - from[0]) * i) / count, from[1] + ((to[1] - from[1]) * i) / count];
    const last = [from[0] + ((to[0] - from[0]) * (i - 1)) / count, from[1] + ((to[1] - from[1]) * (i - 1)) / count];
    context.save();
    context.beginPath();
    context.arc(...spot, size / 2, 0, 7);
    context.clip();
    context.globalAlpha = strength;
    if (tool() === "restore") context.drawImage(original, 0, 0);
    else context.drawImage(paper, spot[0] - last[0], spot[1] - last[1]);
    context.restore();
  }
}

function listen(changed) {
  paper.addEventListener("pointerdown", (event) => {
    if (!paper.width || event.button) return;
    paper.setPointerCapture(event.pointerId);
    keep();
    [down, at] = [true, place(event)];
    stroke(at, at);
    changed();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!down) return;
    const to = place(event);
    stroke(at, to);
    at = to;
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => (down = false));
  paper.addEventListener("keydown", (event) => {
    const far = paper.width / 32;
    const move = { ArrowUp: [0, -far], ArrowDown: [0, far], ArrowLeft: [-far, 0], ArrowRight: [far, 0], " ": [0, 0] }[event.key];
    if (!move || !at) return;
    event.preventDefault();
    const to = [Math.min(Math.max(at[0] + move[0], 0), paper.width), Math.min(Math.max(at[1] + move[1], 0), paper.height)];
    if (event.key === " " || event.shiftKey) { keep(); stroke(at, to); changed(); }
    at = to;
  });
  $(".undo").addEventListener("click", () => { if (steps.length) { paper.getContext("2d").putImageData(steps.pop(), 0, 0); changed(); } });
  $(".clear").addEventListener("click", () => { keep(); paper.getContext("2d").drawImage(original, 0, 0); changed(); });
}
