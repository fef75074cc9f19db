// Formats numbers, times and kinds of events. Pure.

const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const TIME = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const PRICE = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const date = (ms) => DATE.format(new Date(Number(ms)));
export const time = (ms) => TIME.format(new Date(Number(ms)));
export const whole = (number) => WHOLE.format(Number(number ?? 0));
export const price = (number) => PRICE.format(number);
export const ratio = (number) => (Number.isFinite(number) ? number.toFixed(4) : "–");
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;

/** "1 event", "2 events". */
export const count = (number, one, many = `${one}s`) => `${whole(number)} ${Number(number) === 1 ? one : many}`;

/** "twice", "3 times". */
export const times = (number) => (Number(number) === 2 ? "twice" : count(number, "time"));

/** Milliseconds to the digits that matter. */
export const ms = (number) => (number < 10 ? number.toFixed(1) : WHOLE.format(number));

/** "a, b and c". */
export function series(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

const KINDS = {
  REVIEW: "reviewed",
  RATING: "rated",
  VIEW: "viewed",
  CLICK: "clicked",
  CART: "added to the cart",
  PURCHASE: "bought",
  RETURN: "returned",
  DISLIKE: "disliked",
  FAVOURITE: "saved",
};

/** What a user did, as a past participle. */
export const did = (kind) => KINDS[plain(kind, "EVENT_KIND")] ?? "did";

/** "EVENT_KIND_CART" → "CART". */
export const plain = (name, prefix) => String(name ?? "").replace(`${prefix}_`, "");

/** "USER_CLASS_NEW" → "new"; "" where there is none. */
export const userClass = (name) =>
  plain(name ?? "", "USER_CLASS")
    .toLowerCase()
    .replace("unspecified", "");

/** Why a model did not answer, or why the list is empty, as a sentence; "" where a model answered. */
export function fallback(answer) {
  return (
    {
      NO_MODEL:
        "No model is live yet, so counts of all events rank this list. The first version comes after a few hundred events.",
      UNKNOWN_USER:
        "Nothing is known about this user yet, so this list shows what is popular now. Click, buy or rate a product, and the list adapts.",
      EMPTY_CATALOGUE: "The catalogue is empty.",
      NOTHING_LEFT: "There are no products left to recommend.",
    }[plain(answer.fallback, "FALLBACK")] ?? ""
  );
}

/** An event’s place in the log. */
export const position = (at) => `partition ${at.partition ?? 0}, offset ${whole(at.offset ?? 0)}`;
