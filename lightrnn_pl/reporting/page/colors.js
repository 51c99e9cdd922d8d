// Colors of the style sheet, for drawing on a canvas.

const rootStyle = () => getComputedStyle(document.documentElement);

/** The value of a CSS variable. */
export const color = (name) => rootStyle().getPropertyValue(`--${name}`).trim();

const channels = (hex) => [1, 3, 5].map((offset) => parseInt(hex.slice(offset, offset + 2), 16));

/** A color as a 32-bit pixel of `ImageData`, with red in the lowest byte. */
const pixel = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** 256 pixels interpolated between the color stops of `--scale-NAME: #hex, #hex, ...`. */
function colorScale(name) {
  const stops = color(`scale-${name}`)
    .split(",")
    .map((hex) => channels(hex.trim()));
  const pixels = new Uint32Array(256);
  for (let step = 0; step < 256; step++) {
    const position = (step / 255) * (stops.length - 1);
    const lower = Math.min(Math.floor(position), stops.length - 2);
    const interpolate = (value, channel) => value + (position - lower) * (stops[lower + 1][channel] - value);
    pixels[step] = pixel(stops[lower].map(interpolate));
  }
  return pixels;
}

/** All colors required to paint a word table in one of the modes. */
export const tableColors = (mode) => ({
  empty: pixel(channels(color("cell-empty"))),
  unknown: pixel(channels(color("cell-unknown"))),
  moves: ["stayed", "within", "moved"].map((kind) => pixel(channels(color(`cell-${kind}`)))),
  scale: colorScale(mode === "loss" ? "loss" : "frequency"),
});
