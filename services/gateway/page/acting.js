// Records what a user does with a product, and builds the request for the list that includes it.

import { recordEvents } from "./api.js";
import { eventTime } from "./clock.js";
import { people, product, title } from "./known.js";
import { current, remember } from "./person.js";
import { askForReview } from "./review.js";

/** The request for the list of a user or guest. */
export function requestFor(person, wishes, after = undefined) {
  return {
    user_id: person.user,
    wishes: { ...wishes, exclude_product_ids: person.user ? [] : person.unwanted },
    ...(!person.user && { session_product_ids: person.session }),
    ...(after && { after_position: after }),
  };
}

/** The details that a kind of event needs: {rating, text, price}; null where the dialog was cancelled. */
export async function particulars(kind, id, given) {
  if (kind === "REVIEW") return askForReview(title(await product(id)));
  if (kind !== "PURCHASE") return given;
  const { price } = await product(id);
  return { quantity: 1, ...(price !== undefined && { price }) };
}

/** The id of a new event; sent twice under the same id, it counts once. */
export const eventId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Record one event; its position in the log. */
export async function record(kind, id, details = {}, requestId = "") {
  const person = current();
  await people().catch(() => {}); // their events tell where the log ends, whichever view was opened first
  const event = {
    kind: `EVENT_KIND_${kind}`,
    product_id: id,
    user_id: person.user,
    event_time_ms: eventTime(),
    request_id: requestId,
    ...details,
  };
  const recorded = await recordEvents({ events: [event] });
  if (!person.user) remember(id, { unwanted: kind === "DISLIKE" });
  return recorded.events[0].position;
}
