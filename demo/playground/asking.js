// The playground's state and events. The server is asked for one answer at a time, and always for the latest state;
// moving the time slider asks it nothing.
const root = $(".pg");
const slider = $(".time");
const planes = $$(".plane canvas");
const now = { law: "semicircle", points: [], network: null, seed: 0, tool: "target", targets: [], starts: [] };
let scene = null, found = null, ground = null, codes = null, training = 0, dragging = null;
const asked = { look: 0, scores: 0 };

// ---- asking ----
function request() {
  return {
    law: now.law,
    points: now.points,
    width: +$(".width").value,
    network: now.network,
    seed: now.seed,
    targets: now.targets,
    starts: now.starts,
    times: +$(".times").value,
    aggregator: $(".aggregator").value,
    alpha: +$(".alpha").value,
    exponent: +$(".exponent").value,
    spread: +$(".spread").value,
  };
}

async function call(name, body) {
  try {
    const answer = await server[name](body);
    say(answer.error || "");
    return answer.error ? null : answer;
  } catch {
    say("The server did not answer: check the connection, then change any setting to ask again.");
    return null;
  }
}

// One request in flight; what was asked for meanwhile is asked once, with the state of then.
function latest(name, receive) {
  let busy = false, again = false;
  return async () => {
    if (busy) { again = true; return; }
    busy = true;
    do {
      again = false;
      const since = dragging?.moved, law = now.law;
      const answer = enough() && (await call(name, request()));
      asked[name] += 1;
      if (answer && law === now.law) await receive(answer, since);
    } while (again);
    busy = false;
  };
}

const look = latest("look", (answer, since) => {
  found = answer;
  const last = answer.times.length - 1;
  if (+slider.max !== last) {
    const part = +slider.value / (+slider.max || 1);
    slider.max = last;
    slider.value = Math.round(part * last);
  }
  repaint();
  root.dataset.state = "ready";
  if (since) {
    planes[0].getContext("2d").getImageData(0, 0, 1, 1); // waits for the drawing
    root.dataset.latency = (performance.now() - since).toFixed(1);
  }
});

const scores = latest("scores", async (answer) => {
  const packed = Uint8Array.from(atob(answer.codes), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  codes = new Uint8Array(await new Response(stream).arrayBuffer());
  ground = answer;
  repaint();
  root.dataset.landscapes = 1 + +(root.dataset.landscapes || 0);
});

let patience = null;
function soonScores() { // a landscape costs a fraction of a second: not one for each step of a slider
  clearTimeout(patience);
  patience = setTimeout(scores, 120);
}

const ask = () => { look(); soonScores(); };
const enough = () => now.law !== "own" || now.points.length >= LOOK.fewest;

async function begin() { // a new law, or new noise
  stopTraining();
  found = ground = null;
  if (now.law === "own" && !enough()) {
    scene = { ...(scene || {}), window: LOOK.window, samples: now.points };
    if (!now.targets.length) now.targets = [[0, 4], [0, -4]];
    return repaint();
  }
  const answer = await call("scene", request());
  if (!answer) return;
  const count = now.starts.length || 8;
  scene = answer;
  now.targets = answer.targets;
  now.starts = answer.starts.slice(0, count);
  ask();
}

const say = (text) => { if ($(".say").textContent !== text) $(".say").textContent = text; };
