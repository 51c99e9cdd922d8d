// The worker that holds the tables, asked and answered by messages; parts of the page's data go to it when it wants them.

import { find } from "./parts.js";

export class Client {
  /** `map` is the place of the word tables among those of the page. */
  constructor(map) {
    this.map = map;
    this.open = new Map();
    this.asked = 0;
    const source = new Blob([find("worker").textContent], { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    this.worker = new Worker(address);
    URL.revokeObjectURL(address);
    this.worker.addEventListener("message", ({ data }) => this.#take(data));
  }

  /** The answer to a question; an error where it has none. */
  ask(question, content = {}) {
    const id = ++this.asked;
    this.worker.postMessage({ ...content, id, question });
    return new Promise((resolve, reject) => this.open.set(id, { resolve, reject }));
  }

  close() {
    this.worker.terminate();
  }

  #take(data) {
    if (data.part) {
      const holder = find(`map-${this.map}-${data.part}`);
      this.worker.postMessage({ part: data.part, content: holder?.textContent ?? null });
      return;
    }
    const { resolve, reject } = this.open.get(data.id);
    this.open.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data.answer);
  }
}
