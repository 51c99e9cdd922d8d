// Draws the word table on a canvas.  The table can be dragged and zoomed; cells show their words when zoomed in.

import { color } from "./colors.js";
import { find } from "./dom.js";

const canvasElement = find("table");
const context = canvasElement.getContext("2d");
const MIN_TEXT_WIDTH = 44; // minimum width of a cell, in CSS pixels, for its word to be drawn
const MIN_TEXT_HEIGHT = 14;
const MIN_GRID_SIZE = 8;
const MAX_CELL_SIZE = 84; // width and height of a cell at the highest zoom level
const MAX_ASPECT_RATIO = 4; // cells are square unless the aspect ratio of the table is higher
const MAX_CLICK_DISTANCE = 5; // movement of the pointer, in CSS pixels, above which a click becomes a drag

export class TableCanvas {
  /**
   * `handlers` has `onHover(cell, event)`, `onLeave()` and `onClick(cell)`, where a cell is given by its `row` and
   * `column`, and `loadWords(region)`, which resolves with the words of a region.
   */
  constructor(handlers) {
    this.handlers = handlers;
    this.bitmap = null;
    this.highlighted = null; // {row, column}, either of which may be null
    this.words = null; // the region drawn last, with its words
    this.drawScheduled = false;
    this.pointers = new Map();
    new ResizeObserver(() => this.#onResize()).observe(canvasElement);
    canvasElement.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    canvasElement.addEventListener("pointerdown", (event) => this.#onPointerDown(event));
    canvasElement.addEventListener("pointermove", (event) => this.#onPointerMove(event));
    canvasElement.addEventListener("pointerup", (event) => this.#onPointerUp(event));
    canvasElement.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvasElement.addEventListener("pointerleave", () => handlers.onLeave());
  }

  /** Prepares for a table of another shape and shows all of it. */
  reset(rows, columns) {
    [this.rows, this.columns] = [rows, columns];
    const longest = Math.max(rows, columns);
    const isElongated = longest > MAX_ASPECT_RATIO * Math.min(rows, columns);
    // Width and height of a cell at zoom 1, at which the longer side of the table is 1.
    this.cellSize = isElongated ? [1 / columns, 1 / rows] : [1 / longest, 1 / longest];
    this.bitmap = this.highlighted = this.words = null;
    this.showAll();
  }

  /** Zooms out to show the whole table. */
  showAll() {
    this.zoom = this.#minZoom();
    [this.left, this.top] = [0, 0];
    this.#updateView();
  }

  /** Shows a bitmap with one pixel per cell. */
  show(bitmap) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.words = null;
    this.scheduleDraw();
  }

  /** Highlights a row and a column; null for none. */
  highlight(row, column) {
    this.highlighted = row === null && column === null ? null : { row, column };
    this.scheduleDraw();
  }

  /** Moves the table so that a cell is visible, without changing the zoom level. */
  scrollIntoView(row, column) {
    const { width, height } = this.#size();
    const [x, y] = [this.left + (column + 0.5) * this.#cellWidth(), this.top + (row + 0.5) * this.#cellHeight()];
    if (x < 0 || x > width) this.left += width / 2 - x;
    if (y < 0 || y > height) this.top += height / 2 - y;
    this.#updateView();
  }

  /** Zooms by a factor around a point of the canvas, by default its center. */
  zoomBy(factor, x = canvasElement.clientWidth / 2, y = canvasElement.clientHeight / 2) {
    const maxZoom = Math.max(this.#minZoom(), MAX_CELL_SIZE / Math.min(...this.cellSize));
    const zoom = Math.min(maxZoom, Math.max(this.#minZoom(), this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#updateView();
  }

  scheduleDraw() {
    if (this.drawScheduled) return;
    this.drawScheduled = true;
    requestAnimationFrame(() => {
      this.drawScheduled = false;
      this.#draw();
    });
  }

  #size() {
    return { width: canvasElement.clientWidth, height: canvasElement.clientHeight };
  }

  #cellWidth() {
    return this.zoom * this.cellSize[0];
  }

  #cellHeight() {
    return this.zoom * this.cellSize[1];
  }

  /** The zoom level at which the whole table fits the canvas. */
  #minZoom() {
    const { width, height } = this.#size();
    const [cellWidth, cellHeight] = this.cellSize;
    return Math.max(1, Math.min(width / (this.columns * cellWidth), height / (this.rows * cellHeight)));
  }

  /** Keeps the table inside the canvas and redraws it. */
  #updateView() {
    const { width, height } = this.#size();
    const clamp = (offset, size, tableSize) =>
      tableSize <= size ? (size - tableSize) / 2 : Math.min(0, Math.max(size - tableSize, offset));
    this.left = clamp(this.left, width, this.columns * this.#cellWidth());
    this.top = clamp(this.top, height, this.rows * this.#cellHeight());
    // On touch screens, the page scrolls vertically as long as the whole table is visible.
    canvasElement.style.touchAction = this.zoom > this.#minZoom() * 1.001 ? "none" : "pan-y";
    this.scheduleDraw();
  }

  #onResize() {
    const { width, height } = this.#size();
    const ratio = devicePixelRatio || 1;
    const showedAll = !this.bitmap || this.zoom <= this.previousMinZoom * 1.001;
    canvasElement.width = Math.round(width * ratio);
    canvasElement.height = Math.round(height * ratio);
    if (!this.columns) return;
    if (showedAll) this.showAll();
    else this.zoomBy(1);
    this.previousMinZoom = this.#minZoom();
  }

  #cellAt(event) {
    const bounds = canvasElement.getBoundingClientRect();
    const column = Math.floor((event.clientX - bounds.left - this.left) / this.#cellWidth());
    const row = Math.floor((event.clientY - bounds.top - this.top) / this.#cellHeight());
    const isInside = row >= 0 && column >= 0 && row < this.rows && column < this.columns;
    return isInside ? { row, column } : null;
  }

  /** Zooms if the canvas has the focus or Ctrl is pressed; otherwise the wheel scrolls the page. */
  #onWheel(event) {
    if (!this.bitmap || !(document.activeElement === canvasElement || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const bounds = canvasElement.getBoundingClientRect();
    const pixelsPerUnit = event.deltaMode ? 16 : 1; // deltas are in pixels or in lines
    const factor = Math.exp(-event.deltaY * pixelsPerUnit * 0.002);
    this.zoomBy(factor, event.clientX - bounds.left, event.clientY - bounds.top);
  }

  #onPointerDown(event) {
    canvasElement.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.dragDistance = this.pointers.size > 1 ? Infinity : 0;
  }

  #onPointerMove(event) {
    if (!this.bitmap) return;
    const last = this.pointers.get(event.pointerId);
    if (!last) {
      this.handlers.onHover(this.#cellAt(event), event);
      return;
    }
    const current = { x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      // Two fingers: zoom by the ratio of their distances.
      const bounds = canvasElement.getBoundingClientRect();
      const distance = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
      const [centerX, centerY] = [(current.x + other.x) / 2 - bounds.left, (current.y + other.y) / 2 - bounds.top];
      this.zoomBy(distance(current) / distance(last), centerX, centerY);
    }
    this.left += (current.x - last.x) / this.pointers.size;
    this.top += (current.y - last.y) / this.pointers.size;
    this.dragDistance += Math.hypot(current.x - last.x, current.y - last.y);
    this.pointers.set(event.pointerId, current);
    this.handlers.onLeave();
    this.#updateView();
  }

  #onPointerUp(event) {
    this.pointers.delete(event.pointerId);
    const isClick = this.bitmap && this.dragDistance < MAX_CLICK_DISTANCE;
    const cell = isClick ? this.#cellAt(event) : null;
    if (cell) this.handlers.onClick(cell);
  }

  #draw() {
    const ratio = devicePixelRatio || 1;
    const { width, height } = this.#size();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.bitmap) return;
    const [cellWidth, cellHeight] = [this.#cellWidth(), this.#cellHeight()];
    const smaller = Math.min(cellWidth, cellHeight);
    // Average the colors of cells that are smaller than a pixel; draw larger cells with sharp edges.
    context.imageSmoothingEnabled = smaller * ratio < 1.5;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.bitmap, this.left, this.top, cellWidth * this.columns, cellHeight * this.rows);
    if (smaller >= MIN_GRID_SIZE) this.#drawGrid(cellWidth, cellHeight, width, height);
    if (cellWidth >= MIN_TEXT_WIDTH && cellHeight >= MIN_TEXT_HEIGHT) {
      this.#drawWords(cellWidth, cellHeight, width, height);
    }
    if (this.highlighted) this.#drawHighlight(cellWidth, cellHeight);
  }

  #drawGrid(cellWidth, cellHeight, width, height) {
    context.strokeStyle = color("paper");
    context.lineWidth = 1;
    context.beginPath();
    for (let column = Math.max(0, Math.ceil(-this.left / cellWidth)); column <= this.columns; column++) {
      const x = Math.round(this.left + column * cellWidth) + 0.5;
      if (x > width) break;
      context.moveTo(x, Math.max(0, this.top));
      context.lineTo(x, Math.min(height, this.top + this.rows * cellHeight));
    }
    for (let row = Math.max(0, Math.ceil(-this.top / cellHeight)); row <= this.rows; row++) {
      const y = Math.round(this.top + row * cellHeight) + 0.5;
      if (y > height) break;
      context.moveTo(Math.max(0, this.left), y);
      context.lineTo(Math.min(width, this.left + this.columns * cellWidth), y);
    }
    context.stroke();
  }

  #drawWords(cellWidth, cellHeight, width, height) {
    const left = Math.max(0, Math.floor(-this.left / cellWidth));
    const top = Math.max(0, Math.floor(-this.top / cellHeight));
    const region = {
      left,
      top,
      width: Math.min(this.columns, Math.ceil((width - this.left) / cellWidth)) - left,
      height: Math.min(this.rows, Math.ceil((height - this.top) / cellHeight)) - top,
    };
    const loaded = this.words;
    const isCurrent = loaded && Object.keys(region).every((key) => loaded[key] === region[key]);
    if (!isCurrent) {
      this.handlers.loadWords(region).then((result) => {
        if (result) {
          this.words = result;
          this.scheduleDraw();
        }
      });
    }
    if (!loaded) return;
    context.font = `${Math.min(15, Math.max(10, cellWidth / 6))}px ${color("sans")}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = color("paper");
    context.fillStyle = color("ink");
    loaded.words.forEach((word, index) => {
      const x = this.left + (loaded.left + (index % loaded.width) + 0.5) * cellWidth;
      const y = this.top + (loaded.top + Math.floor(index / loaded.width) + 0.5) * cellHeight;
      const isHidden = x < -cellWidth || y < -cellHeight || x > width + cellWidth || y > height + cellHeight;
      if (!word || isHidden) return;
      const text = truncated(word, cellWidth - 6);
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    });
  }

  #drawHighlight(cellWidth, cellHeight) {
    const { row, column } = this.highlighted;
    const [tableWidth, tableHeight] = [cellWidth * this.columns, cellHeight * this.rows];
    const bands = [];
    if (row !== null) bands.push([this.left, this.top + row * cellHeight, tableWidth, cellHeight]);
    if (column !== null) bands.push([this.left + column * cellWidth, this.top, cellWidth, tableHeight]);
    context.save();
    const isVisible = ([x, y, width, height]) =>
      x + width > 0 && y + height > 0 && x < canvasElement.clientWidth && y < canvasElement.clientHeight;
    if (bands.some(isVisible)) {
      // Fade all cells outside the highlighted row and column.
      const outside = (index, size, end) =>
        index === null ? [[0, end]] : [[0, index * size], [(index + 1) * size, end]];
      context.globalAlpha = 0.62;
      context.fillStyle = color("paper");
      for (const [x, right] of outside(column, cellWidth, tableWidth)) {
        for (const [y, bottom] of outside(row, cellHeight, tableHeight)) {
          context.fillRect(this.left + x, this.top + y, right - x, bottom - y);
        }
      }
      context.globalAlpha = 1;
    }
    context.strokeStyle = color("highlight");
    context.lineWidth = 1.5;
    for (const [x, y, width, height] of bands) {
      // Outline very thin bands at a small distance so that they remain visible.
      const [marginX, marginY] = [Math.max(0, 3 - width) / 2, Math.max(0, 3 - height) / 2];
      context.strokeRect(x - marginX, y - marginY, width + 2 * marginX, height + 2 * marginY);
    }
    if (row !== null && column !== null) {
      const [x, y] = [this.left + (column + 0.5) * cellWidth, this.top + (row + 0.5) * cellHeight];
      context.lineWidth = 2.5;
      context.beginPath();
      if (Math.min(cellWidth, cellHeight) > 12) {
        context.rect(x - cellWidth / 2, y - cellHeight / 2, cellWidth, cellHeight);
      } else context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
    context.restore();
  }
}

/** A word, shortened with an ellipsis if it is wider than `maxWidth`. */
function truncated(word, maxWidth) {
  if (context.measureText(word).width <= maxWidth) return word;
  let length = Math.min(word.length, 24);
  while (length > 1 && context.measureText(`${word.slice(0, length)}…`).width > maxWidth) length--;
  return `${word.slice(0, length)}…`;
}
