// Requests to the JSON API.

async function request(path, body, signal) {
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
    throw new Error("No response from the server. Is lightrnn-serve still running?");
  }
  const result = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(result.error ?? `The server returned status ${response.status}.`);
  return result;
}

export const get = (path) => request(path);

/** Posts requests to one path.  A new request cancels the previous one. */
export class LatestRequest {
  #path;
  #controller = null;

  constructor(path) {
    this.#path = path;
  }

  /** Returns the response, or null if the request was superseded or canceled. */
  async send(body) {
    this.cancel();
    const controller = (this.#controller = new AbortController());
    try {
      const result = await request(this.#path, body, controller.signal);
      return controller === this.#controller ? result : null;
    } catch (error) {
      if (controller !== this.#controller) return null;
      throw error;
    }
  }

  cancel() {
    this.#controller?.abort();
    this.#controller = null;
  }
}
