// Client of the worker that holds the word tables.  The worker loads the data embedded in the page on demand.

import { find } from "./dom.js";

export class WorkerClient {
  /** `mapIndex` is the index of the run among the word maps of the page. */
  constructor(mapIndex) {
    this.mapIndex = mapIndex;
    this.pending = new Map();
    this.lastId = 0;
    const source = new Blob([find("worker").textContent], { type: "text/javascript" });
    const url = URL.createObjectURL(source);
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
    this.worker.addEventListener("message", ({ data }) => this.#receive(data));
  }

  /** Sends a query to the worker and resolves with its result. */
  query(name, parameters = {}) {
    const id = ++this.lastId;
    this.worker.postMessage({ ...parameters, id, query: name });
    return new Promise((resolve, reject) => this.pending.set(id, { resolve, reject }));
  }

  close() {
    this.worker.terminate();
  }

  #receive(data) {
    if (data.part) {
      const container = find(`map-${this.mapIndex}-${data.part}`);
      this.worker.postMessage({ part: data.part, content: container?.textContent ?? null });
      return;
    }
    const { resolve, reject } = this.pending.get(data.id);
    this.pending.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data.result);
  }
}
