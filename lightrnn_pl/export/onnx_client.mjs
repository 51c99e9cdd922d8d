// Runs an ONNX export with onnxruntime-web, in browsers and in Node.js; finds the exact most likely next words.
//
//     npm install onnxruntime-web
//     node client.mjs FOLDER                        # for each line of standard input: log-probability, tab, the line
//     node client.mjs FOLDER --next 10              # the ten most likely next words of each line
//     node client.mjs FOLDER --next 3 --complete    # the last letters of each line are the start of the next word
//
// In a web page:
//
//     import * as ort from "./onnxruntime-web/dist/ort.wasm.min.mjs";
//     import { LanguageModel } from "./model/client.mjs";
//     const model = await LanguageModel.load(ort, "./model/");
//     await model.nextWords("the cat", 3, { prefix: "s" });    // [{ word, probability }, ...]
//
// It does what client.py does, for one text at a time.  metadata.json describes the graphs, their inputs and outputs, and
// the order in which they are called.

const VERSION = 2;
const MAX_CELLS = 2 ** 31;
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

/** A model that was exported by `lightrnn-export format=onnx`. */
export class LanguageModel {
  /**
   * Reads the files of an export.
   *
   * @param ort The module onnxruntime-web.
   * @param folder The address of the folder, relative to the page; in Node.js, its path.
   * @throws If a file is missing or damaged.
   */
  static async load(ort, folder) {
    const metadata = JSON.parse(new TextDecoder().decode(await readFile(folder, "metadata.json")));
    if (metadata.version !== VERSION) {
      throw new Error(`${folder} has version ${metadata.version}, but this client reads version ${VERSION}`);
    }
    const files = {};
    for (const [name, sha256] of Object.entries(metadata.sha256)) {
      files[name] = await readFile(folder, name);
      await check(folder, name, files[name], sha256);
    }
    const external = Object.keys(files)
      .filter((name) => name.endsWith(".bin") && name !== metadata.table)
      .map((path) => ({ path, data: files[path] }));
    const sessions = [];
    for (const graph of metadata.graphs) {
      const options = { executionProviders: ["wasm"], externalData: external };
      sessions.push(await ort.InferenceSession.create(files[graph.file], options));
    }
    const lines = (await decompress(files[metadata.vocabulary])).split("\n").slice(1);
    const words = lines.filter(Boolean).map((line) => line.split("\t")[0]);
    const codes = metadata.table && new ARRAYS[metadata.table_type](files[metadata.table].slice().buffer);
    return new LanguageModel(ort, metadata, sessions, words, codes);
  }

  #ort;
  #sessions;
  #codes; // of word 0, of word 1, ...; null with one code per word
  #wordOfCell;
  #lowered; // the words in lower case, to complete typed letters
  #last = { ids: [], position: null }; // the last text, whose words are not read again

  constructor(ort, metadata, sessions, words, codes) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.#codes = codes;
    this.metadata = metadata;
    this.words = words;
    this.ids = new Map(words.map((word, id) => [word, id]));
    this.sides = metadata.sides;
    const cells = this.sides.reduce((product, side) => product * side, 1);
    if (cells > MAX_CELLS || this.ids.size !== words.length || sessions.length !== this.sides.length) {
      throw new Error("the export is damaged: its words, table and graphs do not match");
    }
    this.#wordOfCell = new Int32Array(cells).fill(-1);
    words.forEach((_, id) => {
      this.#wordOfCell[this.#codesOf(id).reduce((cell, code, axis) => cell * this.sides[axis] + code, 0)] = id;
    });
  }

  /**
   * The k most likely next words, most likely first.
   *
   * A word cannot be more likely than its row (its first codes).  Rows are therefore opened in order of their
   * probability, until no closed row is more likely than the k-th best word.
   *
   * @param text The preceding words of the line.
   * @param k Number of words.
   * @param options `prefix`: only words that start with these letters, ignoring case; `unknown`: whether the unknown
   *     word may be returned.
   * @returns A list of `{ word, probability }`.
   */
  async nextWords(text, k = 10, { prefix = "", unknown = false } = {}) {
    const reachable = this.#reachable(prefix, unknown);
    const position = await this.#read(this.encode(text));
    const best = []; // the k best cells, most likely first
    const closed = []; // prefixes that were not opened
    const threshold = () => (best.length === k ? best[k - 1].score : -Infinity);
    const add = (scores, bound, codes, axis, state) => {
      for (let code = 0; code < scores.length; code++) {
        const cell = codes * this.sides[axis] + code;
        const score = scores[code] + bound;
        if (!reachable[axis][cell] || !(score > threshold())) {
          continue;
        }
        if (axis < this.sides.length - 1) {
          closed.push({ score, codes: cell, axis: axis + 1, state });
          continue;
        }
        const place = best.findIndex((other) => other.score < score);
        best.splice(place < 0 ? best.length : place, 0, { score, cell });
        best.length = Math.min(best.length, k);
      }
    };
    add(position.first, 0, 0, 0, position.state);
    while (closed.length) {
      const next = closed.reduce((one, other, index) => (other.score > closed[one].score ? index : one), 0);
      const [{ score, codes, axis, state }] = closed.splice(next, 1);
      if (!(score > threshold())) {
        break;
      }
      const { scores, after } = await this.#run(axis, codes, state);
      add(scores, score, codes, axis, after);
    }
    return best.map(({ score, cell }) => ({ word: this.words[this.#wordOfCell[cell]], probability: Math.exp(score) }));
  }

  /** Natural-log probability of each word of a text, followed by that of the end marker, if there is one. */
  async score(text) {
    const { end } = this.metadata;
    const scores = [];
    let position = await this.#start();
    for (const id of [...this.encode(text), ...(end === null ? [] : [this.ids.get(end)])]) {
      const { score, state } = await this.#spell(position, id);
      scores.push(score);
      position = await this.#readWord(id, state);
    }
    return scores;
  }

  /**
   * Ids of the words of a text, which are separated by whitespace; other words become the unknown word.
   *
   * @throws If a word is not in the vocabulary, and there is no unknown word.
   */
  encode(text) {
    const { unknown } = this.metadata;
    return split(text).map((word) => {
      if (!this.ids.has(word) && unknown === null) {
        throw new Error(`${word} is not in the vocabulary, which has no unknown word`);
      }
      return this.ids.get(this.ids.has(word) ? word : unknown);
    });
  }

  /** The different words of a text that are not in the vocabulary. */
  outside(text) {
    return [...new Set(split(text))].filter((word) => !this.ids.has(word));
  }

  #codesOf(id) {
    const count = this.sides.length;
    return this.#codes === null ? [id] : [...this.#codes.subarray(id * count, (id + 1) * count)];
  }

  /** The position after the words of a line: log-probabilities of the next first code, and the state. */
  async #read(ids) {
    const isContinued = this.#last.position && this.#last.ids.every((id, index) => id === ids[index]);
    let position = isContinued ? this.#last.position : await this.#start();
    for (const id of isContinued ? ids.slice(this.#last.ids.length) : ids) {
      position = await this.#readWord(id, (await this.#spell(position, id)).state);
    }
    this.#last = { ids, position };
    return position;
  }

  #start() {
    const zeros = this.metadata.state.map(
      ({ layers, size }) => new this.#ort.Tensor("float32", new Float32Array(layers * size), [layers, 1, size]),
    );
    return this.#readWord(this.ids.get(this.metadata.context), zeros);
  }

  /** Read a word; `state` is that after its codes. */
  async #readWord(id, state) {
    const readsLastCode = this.metadata.graphs[0].reads === "last code";
    const { scores, after } = await this.#run(0, readsLastCode ? this.#codesOf(id).at(-1) : id, state);
    return { first: scores, state: after };
  }

  /** Log-probability of a word, and the state after its codes. */
  async #spell({ first, state }, id) {
    const codes = this.#codesOf(id);
    let [score, prefix] = [first[codes[0]], codes[0]];
    for (let axis = 1; axis < codes.length; axis++) {
      const { scores, after } = await this.#run(axis, prefix, state);
      score += scores[codes[axis]];
      state = after;
      prefix = prefix * this.sides[axis] + codes[axis];
    }
    return { score, state };
  }

  async #run(axis, read, state) {
    const { inputs, outputs } = this.metadata.graphs[axis];
    const parts = [new this.#ort.Tensor("int64", BigInt64Array.of(BigInt(read)), [1]), ...state];
    const results = await this.#sessions[axis].run(Object.fromEntries(inputs.map((name, index) => [name, parts[index]])));
    const [scores, ...after] = outputs.map((name) => results[name]);
    return { scores: scores.data, after };
  }

  /** For each axis, whether the codes up to it are those of a word that may be returned. */
  #reachable(prefix, unknown) {
    const letters = prefix.toLowerCase();
    this.#lowered ??= this.words.map((word) => word.toLowerCase());
    const omitted = unknown || this.metadata.unknown === null ? -1 : this.ids.get(this.metadata.unknown);
    let cells = Uint8Array.from(
      this.#wordOfCell,
      (id) => id >= 0 && id !== omitted && this.#lowered[id].startsWith(letters),
    );
    const byAxis = [cells];
    for (const side of this.sides.slice(1).reverse()) {
      const prefixes = new Uint8Array(cells.length / side);
      cells.forEach((isReachable, cell) => {
        prefixes[Math.floor(cell / side)] |= isReachable;
      });
      byAxis.unshift((cells = prefixes));
    }
    return byAxis;
  }
}

function split(text) {
  return text.split(/\s+/u).filter(Boolean);
}

async function readFile(folder, name) {
  if (isNode) {
    const { readFile: read } = await import("node:fs/promises");
    try {
      return new Uint8Array(await read(`${folder}/${name}`));
    } catch {
      throw new Error(`${folder}/${name} cannot be read; pass a folder written with format=onnx or onnx_int8`);
    }
  }
  const base = globalThis.document?.baseURI ?? location.href; // a worker has no document
  const response = await fetch(new URL(name, new URL(folder.replace(/\/*$/u, "/"), base)));
  if (!response.ok) {
    throw new Error(`${response.url}: ${response.status} ${response.statusText}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

async function check(folder, name, content, sha256) {
  if (!globalThis.crypto?.subtle) {
    return; // a page that was not loaded over https
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  if (Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") !== sha256) {
    throw new Error(`${folder} is damaged: ${name} was changed`);
  }
}

function decompress(content) {
  return new Response(new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const isNode = typeof process !== "undefined" && Boolean(process.versions?.node);

async function main() {
  const { parseArgs } = await import("node:util");
  const { createInterface } = await import("node:readline");
  const options = { next: { type: "string" }, complete: { type: "boolean" }, unknown: { type: "boolean" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const k = values.next === undefined ? null : Number(values.next);
  if (positionals.length !== 1) {
    throw new Error("usage: node client.mjs FOLDER [--next K [--complete] [--unknown]]");
  }
  if (k !== null && !(Number.isInteger(k) && k >= 1)) {
    throw new Error(`--next must be at least 1, got ${values.next}`);
  }
  if (k === null && (values.complete || values.unknown)) {
    throw new Error("--complete and --unknown require --next");
  }
  const ort = await import("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const model = await LanguageModel.load(ort, positionals[0]);
  for await (const line of createInterface({ input: process.stdin })) {
    if (k === null) {
      const scores = await model.score(line);
      console.log(`${scores.reduce((sum, score) => sum + score, 0).toFixed(6)}\t${line.trim()}`);
      continue;
    }
    const start = values.complete ? line.lastIndexOf(" ") + 1 : line.length;
    const [text, prefix] = [line.slice(0, start), line.slice(start)];
    const outside = model.outside(text);
    if (outside.length && model.metadata.unknown !== null) {
      console.error(`not in the vocabulary, read as ${model.metadata.unknown}: ${outside.join(" ")}`);
    }
    const best = await model.nextWords(text, k, { prefix, unknown: values.unknown });
    if (!best.length) {
      console.error(`no word of the vocabulary starts with ${prefix}`);
    }
    console.log(best.map(({ word, probability }) => `${word}\t${probability.toPrecision(6)}\n`).join(""));
  }
}

if (isNode && process.argv[1] && import.meta.url === (await import("node:url")).pathToFileURL(process.argv[1]).href) {
  main().catch((error) => {
    console.error(`error: ${error.message}`);
    process.exitCode = 2;
  });
}
