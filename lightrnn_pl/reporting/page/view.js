// The table on a canvas: moved with the pointer, zoomed with the wheel, words in the cells once they are large enough.

import { color } from "./colors.js";
import { find } from "./parts.js";

const canvas = find("table");
const context = canvas.getContext("2d");
const LEGIBLE = 44; // width of a cell, in CSS pixels, from which on its word is written into it
const LARGEST = 84; // width of a cell at the nearest
const WIDE = 4; // times as many columns as rows, or rows as columns, beyond which cells are no squares

export class View {
  /** `on` has `hover(cell, event)`, `leave()`, `pick(cell)` and `words(stretch)`, which answers with their texts. */
  constructor(on) {
    this.on = on;
    this.bitmap = null;
    this.mark = null; // the lit row and column, either may be null
    this.words = null; // texts of the stretch shown last
    this.due = false;
    this.pointers = new Map();
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => on.leave());
  }

  /** Another table; what is shown of it is all of it. */
  reset(rows, columns) {
    [this.rows, this.columns] = [rows, columns];
    const isLong = Math.max(rows, columns) > WIDE * Math.min(rows, columns);
    // Width and height of a cell at zoom 1, at which the longer side is 1.
    const longest = Math.max(rows, columns);
    this.cell = isLong ? [1 / columns, 1 / rows] : [1 / longest, 1 / longest];
    this.bitmap = this.mark = this.words = null;
    this.whole();
  }

  /** All of the table in view. */
  whole() {
    this.zoom = this.#least();
    [this.left, this.top] = [0, 0];
    this.#settle();
  }

  show(bitmap) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.words = null;
    this.draw();
  }

  light(row, column) {
    this.mark = row === null && column === null ? null : { row, column };
    this.draw();
  }

  /** Brings a cell into view where it is not, at the zoom that there is. */
  reveal(row, column) {
    const { width, height } = this.#size();
    const [x, y] = [this.left + (column + 0.5) * this.#width(), this.top + (row + 0.5) * this.#height()];
    if (x < 0 || x > width) this.left += width / 2 - x;
    if (y < 0 || y > height) this.top += height / 2 - y;
    this.#settle();
  }

  zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const most = Math.max(this.#least(), LARGEST / Math.min(...this.cell));
    const zoom = Math.min(most, Math.max(this.#least(), this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#settle();
  }

  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.#draw();
    });
  }

  #size() {
    return { width: canvas.clientWidth, height: canvas.clientHeight };
  }

  #width() {
    return this.zoom * this.cell[0];
  }

  #height() {
    return this.zoom * this.cell[1];
  }

  #least() {
    const { width, height } = this.#size();
    return Math.max(1, Math.min(width / (this.columns * this.cell[0]), height / (this.rows * this.cell[1])));
  }

  /** No table is moved out of view. */
  #settle() {
    const { width, height } = this.#size();
    const clamp = (place, size, table) =>
      table <= size ? (size - table) / 2 : Math.min(0, Math.max(size - table, place));
    this.left = clamp(this.left, width, this.columns * this.#width());
    this.top = clamp(this.top, height, this.rows * this.#height());
    // A finger scrolls the page as long as there is nothing to move here.
    canvas.style.touchAction = this.zoom > this.#least() * 1.001 ? "none" : "pan-y";
    this.draw();
  }

  #resize() {
    const { width, height } = this.#size();
    const ratio = devicePixelRatio || 1;
    const wasWhole = !this.bitmap || this.zoom <= this.least * 1.001;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    if (!this.columns) return;
    if (wasWhole) this.whole();
    else this.zoomBy(1);
    this.least = this.#least();
  }

  #cellAt(event) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - this.left) / this.#width());
    const row = Math.floor((event.clientY - box.top - this.top) / this.#height());
    const inside = row >= 0 && column >= 0 && row < this.rows && column < this.columns;
    return inside ? { row, column } : null;
  }

  /** The wheel zooms once the table was clicked into, and anywhere with Ctrl; until then it scrolls the page. */
  #wheel(event) {
    if (!this.bitmap || !(document.activeElement === canvas || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    const lines = event.deltaMode ? 16 : 1;
    this.zoomBy(Math.exp(-event.deltaY * lines * 0.002), event.clientX - box.left, event.clientY - box.top);
  }

  #down(event) {
    canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.travelled = this.pointers.size > 1 ? Infinity : 0;
  }

  #move(event) {
    if (!this.bitmap) return;
    const last = this.pointers.get(event.pointerId);
    if (!last) {
      this.on.hover(this.#cellAt(event), event);
      return;
    }
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const box = canvas.getBoundingClientRect();
      const apart = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
      this.zoomBy(apart(now) / apart(last), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
    }
    this.left += (now.x - last.x) / this.pointers.size;
    this.top += (now.y - last.y) / this.pointers.size;
    this.travelled += Math.hypot(now.x - last.x, now.y - last.y);
    this.pointers.set(event.pointerId, now);
    this.on.leave();
    this.#settle();
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    const cell = this.bitmap && this.travelled < 5 ? this.#cellAt(event) : null;
    if (cell) this.on.pick(cell);
  }

  #draw() {
    const ratio = devicePixelRatio || 1;
    const { width, height } = this.#size();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.bitmap) return;
    const [w, h] = [this.#width(), this.#height()];
    // Fewer dots than cells: mix them; else cells keep their edges.
    context.imageSmoothingEnabled = Math.min(w, h) * ratio < 1.5;
    context.imageSmoothingQuality = "high";
    const [tableWidth, tableHeight] = [w * this.columns, h * this.rows];
    context.drawImage(this.bitmap, this.left, this.top, tableWidth, tableHeight);
    if (Math.min(w, h) >= 8) this.#grid(w, h, width, height);
    if (w >= LEGIBLE && h >= 14) this.#texts(w, h, width, height);
    if (this.mark) this.#light(w, h, tableWidth, tableHeight);
  }

  #grid(w, h, width, height) {
    context.strokeStyle = color("paper");
    context.lineWidth = 1;
    context.beginPath();
    for (let column = Math.max(0, Math.ceil(-this.left / w)); column <= this.columns; column++) {
      const x = Math.round(this.left + column * w) + 0.5;
      if (x > width) break;
      context.moveTo(x, Math.max(0, this.top));
      context.lineTo(x, Math.min(height, this.top + this.rows * h));
    }
    for (let row = Math.max(0, Math.ceil(-this.top / h)); row <= this.rows; row++) {
      const y = Math.round(this.top + row * h) + 0.5;
      if (y > height) break;
      context.moveTo(Math.max(0, this.left), y);
      context.lineTo(Math.min(width, this.left + this.columns * w), y);
    }
    context.stroke();
  }

  #texts(w, h, width, height) {
    const left = Math.max(0, Math.floor(-this.left / w));
    const top = Math.max(0, Math.floor(-this.top / h));
    const stretch = {
      left,
      top,
      width: Math.min(this.columns, Math.ceil((width - this.left) / w)) - left,
      height: Math.min(this.rows, Math.ceil((height - this.top) / h)) - top,
    };
    const known = this.words;
    const isSame = known && Object.keys(stretch).every((key) => known[key] === stretch[key]);
    if (!isSame) {
      this.on.words(stretch).then((answer) => {
        if (answer) {
          this.words = answer;
          this.draw();
        }
      });
    }
    if (!known) return;
    context.font = `${Math.min(15, Math.max(10, w / 6))}px ${color("sans")}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = color("paper");
    context.fillStyle = color("ink");
    known.words.forEach((word, place) => {
      const x = this.left + (known.left + (place % known.width) + 0.5) * w;
      const y = this.top + (known.top + Math.floor(place / known.width) + 0.5) * h;
      if (!word || x < -w || y < -h || x > width + w || y > height + h) return;
      const text = fitted(word, w - 6);
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    });
  }

  #light(w, h, tableWidth, tableHeight) {
    const { row, column } = this.mark;
    const bands = [];
    if (row !== null) bands.push([this.left, this.top + row * h, tableWidth, h]);
    if (column !== null) bands.push([this.left + column * w, this.top, w, tableHeight]);
    context.save();
    const isSeen = ([x, y, wide, high]) =>
      x + wide > 0 && y + high > 0 && x < canvas.clientWidth && y < canvas.clientHeight;
    if (bands.some(isSeen)) {
      // The rest steps back: what is neither in the row nor in the column.
      const beside = (place, size, whole) =>
        place === null ? [[0, whole]] : [[0, place * size], [(place + 1) * size, whole]];
      context.globalAlpha = 0.62;
      context.fillStyle = color("paper");
      for (const [x, right] of beside(column, w, tableWidth)) {
        for (const [y, bottom] of beside(row, h, tableHeight)) {
          context.fillRect(this.left + x, this.top + y, right - x, bottom - y);
        }
      }
      context.globalAlpha = 1;
    }
    context.strokeStyle = color("mark");
    context.lineWidth = 1.5;
    for (const [x, y, wide, high] of bands) {
      // Bands thinner than what can be seen get lines beside them.
      const [moreX, moreY] = [Math.max(0, 3 - wide) / 2, Math.max(0, 3 - high) / 2];
      context.strokeRect(x - moreX, y - moreY, wide + 2 * moreX, high + 2 * moreY);
    }
    if (row !== null && column !== null) {
      const [x, y] = [this.left + (column + 0.5) * w, this.top + (row + 0.5) * h];
      context.lineWidth = 2.5;
      context.beginPath();
      if (Math.min(w, h) > 12) context.rect(x - w / 2, y - h / 2, w, h);
      else context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
    context.restore();
  }
}

/** As much of a word as has room. */
function fitted(word, room) {
  if (context.measureText(word).width <= room) return word;
  let length = Math.min(word.length, 24);
  while (length > 1 && context.measureText(`${word.slice(0, length)}…`).width > room) length--;
  return `${word.slice(0, length)}…`;
}
