// Turns the reasons of an answer into bars and sentences. Pure.

import { did, plain, times } from "./words.js";

/** Label and meaning of each Part, in the order of the proto. */
export const PARTS = {
  TRENDING: ["Popular now", "Popularity now, above the least popular product of this list"],
  CO_OCCURRENCE: ["Goes with", "How much more likely the user’s other past products make it"],
  SEQUENCE: ["Comes next", "How well it follows the user’s latest events"],
  Q: ["Long-term value", "Expected future reward"],
  SENTIMENT: ["Sentiment", "Effect of the sentiment of the user’s reviews"],
  CONTENT: ["Similar", "Likeness in category, text, brand and price, while it has few events"],
  BOOST: ["Boost", "Boosts of the request"],
  ITSELF: ["Again", "How much more likely earlier events with it make it"],
  NEIGHBOURS: ["People like you", "What people with events like the user’s went on to"],
};

const SECOND_COUNTS = 0.5; // share of the first part's weight from which the second is named, too
const NAMED_EVENTS = 2;

/**
 * Per product its bars: {part, label, meaning, score, shown, share, events, times}.
 *
 * A popularity is the logarithm of a share, far below 0 for every product, so `shown` is its distance from the list's
 * lowest, which keeps the order. `share` is `shown`, scaled to [-1, 1] over the whole list.
 */
export function bars(products) {
  const lowest = Math.min(
    ...products.flatMap((product) =>
      of(product)
        .filter(isTrending)
        .map((reason) => reason.score ?? 0),
    ),
  );
  const rows = products.map((product) =>
    of(product).map((reason) => {
      const part = plain(reason.part, "PART");
      const [label, meaning] = PARTS[part] ?? [part, ""];
      const score = reason.score ?? 0;
      return {
        part,
        label,
        meaning,
        score,
        shown: isTrending(reason) ? score - lowest : score,
        events: reason.events ?? [],
        times: Number(reason.times ?? 0),
      };
    }),
  );
  const widest = Math.max(1e-9, ...rows.flat().map((bar) => Math.abs(bar.shown)));
  return rows.map((row) => row.map((bar) => ({ ...bar, share: bar.shown / widest })));
}

const of = (product) => product.reasons ?? [];
const isTrending = (reason) => plain(reason.part, "PART") === "TRENDING";

/** Why a product is listed, as strings and {product}; `itself`: the product called "it". */
export function sentence(product, row, { itself = "" } = {}) {
  const helping = row.filter((bar) => bar.shown > 0).sort((a, b) => b.shown - a.shown);
  const named = helping.filter((bar, n) => n === 0 || (n === 1 && bar.shown >= SECOND_COUNTS * helping[0].shown));
  const mentioned = { products: new Set([product.product_id]), kind: "" }; // no product goes with itself
  const clauses = named.map((bar, n) => clause(bar, () => pastOf(bar, n ? 1 : NAMED_EVENTS, mentioned, itself)));
  if (product.explored) clauses.unshift(["exploration: shown to learn whether people like it"]);
  if (!clauses.length) return [row.length ? "The best of the remaining products." : ""];
  const [first, ...rest] = clauses.flatMap((words, n) => (n ? ["; ", ...words] : words));
  return [first.charAt(0).toUpperCase() + first.slice(1), ...rest, "."];
}

const WITH_PAST = {
  CO_OCCURRENCE: "often goes with ",
  SEQUENCE: "comes next after ",
  Q: "has long-term value after ",
  SENTIMENT: "matches what you wrote about ",
  CONTENT: "is similar to ",
};
const WITHOUT = {
  CO_OCCURRENCE: "goes with your history",
  SEQUENCE: "often comes next",
  Q: "has long-term value",
  SENTIMENT: "matches the sentiment of your reviews",
  CONTENT: "has few events yet, but its category, text and price match",
  BOOST: "boosted by this request",
  TRENDING: "popular now",
  NEIGHBOURS: "people who did what you did went on to it",
};

function clause(bar, past) {
  if (bar.part === "ITSELF") return [again(bar)];
  const words = WITH_PAST[bar.part] ? past() : [];
  return words.length ? [WITH_PAST[bar.part], ...words] : [WITHOUT[bar.part] ?? "popular now"];
}

// "you bought it 3 times": what was done with this very product, and how often.
function again({ events: [strongest], times: often }) {
  if (!strongest) return "you had it before";
  const [verb, ...rest] = did(strongest.kind).split(" "); // "added to the cart": "added it to the cart"
  return ["you", verb, "it", ...rest, ...(often > 1 ? [times(often)] : [])].join(" ");
}

// The events that helped most, each mentioned once: "X and Y, which you rated".
function pastOf(bar, most, mentioned, itself) {
  const helping = bar.events.filter((event) => (event.score ?? 0) > 0 && !mentioned.products.has(event.product_id));
  const events = helping
    .filter((event, n) => helping.findIndex((one) => one.product_id === event.product_id) === n)
    .slice(0, most);
  if (events.some((event) => event.product_id === itself)) return ["it"];
  for (const event of events) mentioned.products.add(event.product_id);
  const names = events.flatMap((event, n) => [...(n ? [" and "] : []), { product: event.product_id }]);
  const kinds = [...new Set(events.map((event) => did(event.kind)))];
  const same = kinds.length !== 1 || kinds[0] === mentioned.kind;
  mentioned.kind = kinds.at(-1) ?? mentioned.kind;
  return same ? names : [...names, `, which you ${kinds[0]}`];
}
