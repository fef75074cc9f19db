// The log's clock. In a replay of old events, what happens now is dated just after the newest of them: dated today it
// would lie years ahead, and everything before would count as long past.

const BEHIND_MS = 2 * 86_400_000;
const STEP_MS = 60_000;

let newest = 0;

/** Take note of an event time, in ms. */
export function seen(ms) {
  newest = Math.max(newest, Number(ms ?? 0));
}

/** When an event of now happens, as the proto wants it; undefined: let the service's clock say. */
export function eventTime(now = Date.now()) {
  if (!newest || now - newest < BEHIND_MS) return undefined;
  newest += STEP_MS;
  return String(newest);
}

/** The day at which the log stands, in ms, where that is not today; else 0. */
export const standsAt = (now = Date.now()) => (newest && now - newest >= BEHIND_MS ? newest : 0);
