// Colours of the theme, as CSS has them, for what is drawn by pixels.

const styles = () => getComputedStyle(document.documentElement);

export const color = (name) => styles().getPropertyValue(`--${name}`).trim();

const channels = (hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));

/** A colour as a pixel of a picture holds it: red first in memory. */
const pixel = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** 256 colours between the stops of a scale, `--scale-NAME: #hex, #hex, ...`. */
function scale(name) {
  const stops = color(`scale-${name}`)
    .split(",")
    .map((hex) => channels(hex.trim()));
  const made = new Uint32Array(256);
  for (let step = 0; step < 256; step++) {
    const place = (step / 255) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    made[step] = pixel(stops[from].map((one, channel) => one + (place - from) * (stops[from + 1][channel] - one)));
  }
  return made;
}

/** Everything that is needed to paint a table in one of the modes. */
export const colorsOf = (mode) => ({
  empty: pixel(channels(color("cell-empty"))),
  unknown: pixel(channels(color("cell-unknown"))),
  kinds: ["stayed", "within", "moved"].map((kind) => pixel(channels(color(`cell-${kind}`)))),
  scale: scale(mode === "loss" ? "loss" : "frequency"),
});
