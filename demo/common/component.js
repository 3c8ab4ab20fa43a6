// What the components of all tabs share: reading a message's arrays, painting a map, a time slider that plays.
const $ = (selector) => element.querySelector(selector);

// A word of the glossary, which explains itself when pointed at.
const word = (name) => `<abbr title="${LOOK.words[name]}">${name}</abbr>`;

// The arrays of a message, as packed by messages.py: gzipped one after the other, each aligned to four bytes.
async function unpack(head) {
  const packed = Uint8Array.from(atob(head.blob), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const types = { uint8: Uint8Array, int16: Int16Array, float16: Uint16Array, float32: Float32Array };
  const arrays = {};
  let offset = 0;
  for (const [name, kind, shape] of head.arrays) {
    arrays[name] = new types[kind](buffer, offset, shape.reduce((a, b) => a * b, 1));
    arrays[name].shape = shape;
    offset += Math.ceil(arrays[name].byteLength / 4) * 4;
  }
  return arrays;
}

// A decoded picture; a new one each time, since one whose source changes while it decodes fails.
async function decoded(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return picture;
}

let photo = new Image(); // of the newest message that has one
let messages = 0; // number of the newest message
let photos = 0; // number of the newest photo

// The message that the page was last sent, with its arrays; null where a newer one came while this one was decoded.
async function newest() {
  const ticket = ++messages;
  const head = JSON.parse(props.value || '{"kind":"empty"}');
  const arrays = head.blob ? await unpack(head) : {};
  if (head.image) {
    const mine = ++photos;
    const next = await decoded(head.image);
    if (mine === photos) photo = next;
  }
  return ticket === messages ? [head, arrays] : null;
}

const FINE = 128; // a coarser map is enlarged to about so many places before it is coloured

// One map of a stack of 8-bit codes, through a table of colours, in the shape of the photo it belongs to.
function paint(canvas, codes, index, table, photo) {
  const [, rows, columns] = codes.shape;
  const times = Math.max(1, Math.round(FINE / Math.max(rows, columns)));
  const [height, width] = [times * rows, times * columns];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  fit(canvas, photo);
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  const map = codes.subarray(index * rows * columns, (index + 1) * rows * columns);
  if (times === 1) for (let i = 0; i < pixels.length; i++) pixels[i] = table[map[i]];
  else enlarge(pixels, map, rows, columns, times, table);
  context.putImageData(data, 0, 0);
}

// Bilinear between the centres of places, of the values and not of their colours, as View.enlarge does it.
function enlarge(pixels, map, rows, columns, times, table) {
  const along = (count) => Array.from({ length: count * times }, (_, i) => {
    const at = Math.min(Math.max((i + 0.5) / times - 0.5, 0), count - 1);
    return [Math.floor(at), Math.min(Math.floor(at) + 1, count - 1), at % 1];
  });
  const across = along(columns);
  let i = 0;
  for (const [above, below, down] of along(rows)) {
    for (const [left, right, over] of across) {
      const value = (row) => map[row * columns + left] * (1 - over) + map[row * columns + right] * over;
      pixels[i++] = table[Math.round(value(above) * (1 - down) + value(below) * down)];
    }
  }
}

function fit(canvas, photo) {
  if (photo.naturalWidth) canvas.style.aspectRatio = `${photo.naturalWidth} / ${photo.naturalHeight}`;
}

// Connects a time slider and its play button; playing all of it takes `milliseconds`. Returns what pauses it.
function player(slider, button, repaint, milliseconds) {
  let timer = null;
  function pause() {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶";
    button.setAttribute("aria-label", "Play");
  }
  button.addEventListener("click", () => {
    if (timer) return pause();
    if (+slider.value >= +slider.max) slider.value = 0;
    repaint();
    button.textContent = "❚❚";
    button.setAttribute("aria-label", "Pause");
    timer = setInterval(() => {
      slider.value = +slider.value + 1;
      repaint();
      if (+slider.value >= +slider.max) pause();
    }, Math.max(70, milliseconds / (+slider.max + 1)));
  });
  slider.addEventListener("input", () => { pause(); repaint(); });
  return pause;
}
