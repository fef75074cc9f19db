// From the reasons of an answer to bars and sentences. Pure.

import { did, plain } from "./words.js";

/** In the order of the proto's Part: what people read, and what it means. */
export const PARTS = {
  TRENDING: ["Popular now", "How popular the product is now, beside the least popular one of this list"],
  CO_OCCURRENCE: ["Goes with", "How much likelier the past products make it"],
  SEQUENCE: ["Comes next", "What the order of the past events says"],
  Q: ["Pays off later", "What rewards to come are worth"],
  SENTIMENT: ["Mood of texts", "What the sentiment of the person's own texts changes"],
  CONTENT: ["Alike", "Its category, text, brand and price, where few events are known"],
  BOOST: ["Boosted", "The boosts of the request"],
};

const SECOND_COUNTS = 0.5; // of the first part's weight, and it is named in the sentence, too
const NAMED_EVENTS = 2;

/**
 * Per product its bars: {part, label, meaning, score, shown, share, events}.
 *
 * A popularity is the logarithm of a share, far below 0 for all; shown is how far it is above the list's lowest, which
 * changes nothing in who is ahead. `share` is shown, scaled to [-1, 1] over the whole list.
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
      };
    }),
  );
  const widest = Math.max(1e-9, ...rows.flat().map((bar) => Math.abs(bar.shown)));
  return rows.map((row) => row.map((bar) => ({ ...bar, share: bar.shown / widest })));
}

const of = (product) => product.reasons ?? [];
const isTrending = (reason) => plain(reason.part, "PART") === "TRENDING";

/** Why a product is here, as text and {product} in turn; `itself`: a product that is meant by "it". */
export function sentence(product, row, { itself = "" } = {}) {
  const helping = row.filter((bar) => bar.shown > 0).sort((a, b) => b.shown - a.shown);
  const named = helping.filter((bar, n) => n === 0 || (n === 1 && bar.shown >= SECOND_COUNTS * helping[0].shown));
  const told = { products: new Set(), kind: "" };
  const clauses = named.map((bar, n) => clause(bar, pastOf(bar, n ? 1 : NAMED_EVENTS, told, itself)));
  if (product.explored) clauses.unshift(["tried out, to learn whether it pleases"]);
  if (!clauses.length) return [row.length ? "The best of what is left." : ""];
  const [first, ...rest] = clauses.flatMap((words, n) => (n ? ["; ", ...words] : words));
  return [first.charAt(0).toUpperCase() + first.slice(1), ...rest, "."];
}

const WITH_PAST = {
  CO_OCCURRENCE: "often goes with ",
  SEQUENCE: "comes next after ",
  Q: "leads on to what pleases, after ",
  SENTIMENT: "fits how you wrote of ",
  CONTENT: "is like ",
};
const WITHOUT = {
  CO_OCCURRENCE: "goes with your past",
  SEQUENCE: "comes next in the order of what you did",
  Q: "leads on to what pleases",
  SENTIMENT: "fits the mood of your texts",
  CONTENT: "few know it yet, its category, text and price speak for it",
  BOOST: "boosted by this request",
  TRENDING: "popular now",
};

function clause(bar, past) {
  return past.length && WITH_PAST[bar.part] ? [WITH_PAST[bar.part], ...past] : [WITHOUT[bar.part] ?? "popular now"];
}

// The events that helped most, each told once in a sentence: "X and Y, which you rated".
function pastOf(bar, most, told, itself) {
  const helping = bar.events.filter((event) => (event.score ?? 0) > 0 && !told.products.has(event.product_id));
  const events = helping
    .filter((event, n) => helping.findIndex((one) => one.product_id === event.product_id) === n)
    .slice(0, most);
  if (events.some((event) => event.product_id === itself)) return ["it"];
  for (const event of events) told.products.add(event.product_id);
  const names = events.flatMap((event, n) => [...(n ? [" and "] : []), { product: event.product_id }]);
  const kinds = [...new Set(events.map((event) => did(event.kind)))];
  const same = kinds.length !== 1 || kinds[0] === told.kind;
  told.kind = kinds.at(-1) ?? told.kind;
  return same ? names : [...names, `, which you ${kinds[0]}`];
}
