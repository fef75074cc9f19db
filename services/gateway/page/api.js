// The calls of RecommenderService over HTTP, with the request and response messages of the protos.

const TIMEOUT_MS = 15000;

/** A failed call: the problem details of the response, or status 0 where there was none. */
export class Problem extends Error {
  constructor({ status = 0, title = "", detail = "", field = "" }) {
    super(detail);
    Object.assign(this, { status, title, field });
  }

  /** What the reader of the page can do about it. */
  get advice() {
    if (this.status === 0) return "Check that the gateway is running. “make demo KEEP=1” keeps the system up.";
    if (this.status === 400)
      return this.field ? `Change ${this.field} and try again.` : "Change the request and try again.";
    if (this.status === 403)
      return "Open this page at 127.0.0.1 or localhost, or allow this host in FRESHET_GATEWAY_ALLOWED_HOSTS.";
    if (this.status === 404) return "Check the spelling of the id. It may not be known yet.";
    if (this.status === 429) return "Too many requests. Wait a moment, then try again.";
    if (this.status === 501) return "This version of the recommender does not support the call. Update it.";
    if (this.status === 503) return "The recommender is starting or unavailable. It usually answers again within seconds.";
    if (this.status === 504)
      return "The request took too long. Check that features and inference keep up, then try again.";
    return "Try again. If the error persists, check the logs of the gateway and of inference.";
  }
}

async function send(path, options) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  let response;
  try {
    response = await fetch(path, { ...options, signal, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (limit.aborted) throw new Problem({ status: 504, title: "Request timed out" });
    throw new Problem({ title: "No response", detail: "The request did not reach the gateway." });
  }
  let body = {};
  try {
    body = await response.json();
  } catch {
    if (response.ok) throw new Problem({ status: response.status, title: "The response is not JSON" });
  }
  if (response.ok) return body;
  throw new Problem({ ...body, status: response.status, title: body.title || response.statusText });
}

function call(path) {
  return (message = {}, signal = undefined) =>
    send(path, {
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

/** The evaluator's current figures. */
export const live = (signal = undefined) => send("/v1/live", { signal });

/** The OpenAPI document. */
export const openapi = () => send("/openapi.json", {});
