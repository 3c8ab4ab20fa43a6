// Dragging targets, placing starts, drawing points: mouse, finger and arrow keys.
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

function place(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const [left, right, bottom, top] = scene.window;
  const x = left + ((event.clientX - box.left) / box.width) * (right - left);
  const y = top - ((event.clientY - box.top) / box.height) * (top - bottom);
  return [+clamp(x, left, right).toFixed(3), +clamp(y, bottom, top).toFixed(3)];
}

function near(canvas, event, point, pixels) {
  const scale = canvas.clientWidth / (scene.window[1] - scene.window[0]);
  const [x, y] = place(canvas, event);
  return Math.hypot(x - point[0], y - point[1]) * scale <= pixels;
}

function drawPoint(point) {
  const last = now.points[now.points.length - 1];
  const far = !last || Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.22;
  if (now.points.length >= LOOK.most.points) return say(`${LOOK.most.points} points are the most: clear some to draw others.`);
  if (!far) return;
  now.points.push(point);
  scene.samples = now.points;
  repaint();
}

planes.forEach((canvas, index) => {
  canvas.addEventListener("touchstart", (event) => {
    // A finger on the target drags it; one elsewhere scrolls the page.
    if (scene && now.tool === "target" && near(canvas, event.touches[0], now.targets[index], 34)) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (!scene || event.button) return;
    const at = place(canvas, event);
    if (now.tool === "draw") {
      dragging = { kind: "draw" };
      drawPoint(at);
    } else if (now.tool === "starts") {
      const held = now.starts.findIndex((start) => near(canvas, event, start, 14));
      if (held < 0 && now.starts.length >= LOOK.most.starts) return say(`${LOOK.most.starts} starts are the most.`);
      if (held < 0) now.starts.push(at);
      dragging = { kind: "start", held: held < 0 ? now.starts.length - 1 : held, remove: held >= 0 };
      ask();
    } else {
      const grabbed = near(canvas, event, now.targets[index], 34);
      if (event.pointerType === "touch" && !grabbed) return;
      dragging = { kind: "target", index, moved: event.timeStamp };
      if (!grabbed) moveTarget(index, at, event);
    }
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragging || !scene) return;
    const at = place(canvas, event);
    if (dragging.kind === "draw") return drawPoint(at);
    if (dragging.kind === "target") return moveTarget(index, at, event);
    const start = now.starts[dragging.held];
    if (dragging.remove && near(canvas, event, start, 4)) return;
    dragging.remove = false;
    now.starts[dragging.held] = at;
    look();
  });
  const end = () => {
    if (!dragging) return;
    const { kind, held, remove } = dragging;
    dragging = null;
    if (kind === "start" && remove && now.starts.length > 1) now.starts.splice(held, 1);
    if (kind === "start") ask();
    if (kind === "draw") pointsChanged();
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("click", (event) => {
    // A tap beside the target, which a drag would have taken for scrolling.
    if (event.pointerType === "touch" && now.tool === "target" && scene) moveTarget(index, place(canvas, event));
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!move || !scene) return;
    event.preventDefault();
    const size = event.shiftKey ? 0.5 : 0.1;
    const [left, right, bottom, top] = scene.window;
    const [x, y] = now.targets[index];
    moveTarget(index, [clamp(x + size * move[0], left, right), clamp(y + size * move[1], bottom, top)].map((v) => +v.toFixed(3)));
  });
});

function moveTarget(index, at, event) {
  now.targets[index] = at;
  if (dragging && event) dragging.moved = event.timeStamp;
  look(); // the answer repaints everything; until then only the target itself is moved
  requestAnimationFrame(repaint);
}

function pointsChanged() {
  stopTraining();
  if (!enough()) return repaint();
  if (!now.starts.length || !found) return begin().then(() => (now.points.length ? repaint() : null));
  ask();
}
