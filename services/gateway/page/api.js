// The calls of RecommenderService over HTTP: a request message in, a response message out, as the protos name them.

const PATIENCE_MS = 15000;

/** A call that failed: the problem details of the answer, or status 0 where nobody answered. */
export class Problem extends Error {
  constructor({ status = 0, title = "", detail = "", field = "" }) {
    super(detail);
    Object.assign(this, { status, title, field });
  }

  /** What whoever looks at the page can do. */
  get advice() {
    if (this.status === 0) return "Is the gateway still running? “make demo KEEP=1” keeps everything up.";
    if (this.status === 400)
      return this.field ? `Change ${this.field} and ask again.` : "Change the request and ask again.";
    if (this.status === 403)
      return "Open the page under the name that the gateway knows: 127.0.0.1 or localhost, unless its settings say more.";
    if (this.status === 404) return "Look whether it is spelled as in the log; what has no event yet is not known.";
    if (this.status === 429) return "Too many calls at a time: wait a moment, then try again.";
    if (this.status === 501) return "The recommender that runs does not have this call: update it.";
    if (this.status === 503) return "The recommender is starting, or away. It usually answers again within seconds.";
    if (this.status === 504)
      return "The answer took too long. Look whether features and inference keep up, then try again.";
    return "Try again; if it stays so, the logs of the gateway and of inference say why.";
  }
}

async function answer(path, options) {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  let response;
  try {
    response = await fetch(path, { ...options, signal, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (limit.aborted) throw new Problem({ status: 504, title: "No answer in time" });
    throw new Problem({ title: "Nobody answers", detail: "The call did not reach the gateway." });
  }
  let body = {};
  try {
    body = await response.json();
  } catch {
    if (response.ok) throw new Problem({ status: response.status, title: "An answer that is not JSON" });
  }
  if (response.ok) return body;
  throw new Problem({ ...body, status: response.status, title: body.title || response.statusText });
}

function call(path) {
  return (message = {}, signal = undefined) =>
    answer(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(message),
      signal,
    });
}

export const recommend = call("/v1/recommend");
export const recordEvents = call("/v1/record-events");
export const similarProducts = call("/v1/similar-products");
export const listProducts = call("/v1/list-products");
export const getProduct = call("/v1/get-product");
export const getUser = call("/v1/get-user");
export const listUsers = call("/v1/list-users");
export const listModels = call("/v1/list-models");

/** The evaluator's figures of this moment. */
export const live = (signal = undefined) => answer("/v1/live", { signal });

/** What the calls take and give. */
export const openapi = () => answer("/openapi.json", {});
