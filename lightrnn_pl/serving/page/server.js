// Asking the model.  An answer that a newer question has overtaken is dropped.

async function ask(path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The model does not answer. Is lightrnn-serve still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The model answered with status ${response.status}.`);
  return answer;
}

export const askOnce = (path) => ask(path);

/** Questions of one kind, of which only the last matters. */
export class Latest {
  #path;
  #pending = null;

  constructor(path) {
    this.#path = path;
  }

  /** The answer, or null if another question was asked meanwhile. */
  async ask(body) {
    this.drop();
    const mine = (this.#pending = new AbortController());
    try {
      const answer = await ask(this.#path, body, mine.signal);
      return mine === this.#pending ? answer : null;
    } catch (error) {
      if (mine !== this.#pending) return null;
      throw error;
    }
  }

  drop() {
    this.#pending?.abort();
    this.#pending = null;
  }
}
