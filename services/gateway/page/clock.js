// The log's clock. In a replay of old events, new events are dated just after the newest replayed one. Dated today, they
// would lie years ahead, and everything before them would count as long past.

const BEHIND_MS = 2 * 86_400_000;
const STEP_MS = 60_000;

let newest = 0;

/** Note an event time, in ms. */
export function seen(ms) {
  newest = Math.max(newest, Number(ms ?? 0));
}

/** The time of a new event, as the proto takes it; undefined: the service's clock. */
export function eventTime(now = Date.now()) {
  if (!newest || now - newest < BEHIND_MS) return undefined;
  newest += STEP_MS;
  return String(newest);
}

/** The newest event time of a log of old events, in ms; else 0. */
export const endOfLog = (now = Date.now()) => (newest && now - newest >= BEHIND_MS ? newest : 0);
