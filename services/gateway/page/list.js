// A list of recommendations that keeps its elements, so that focus and eye can follow what moves.

import { fill, h, unseen } from "./elements.js";
import { learn, productLink, title } from "./known.js";
import { bars, sentence } from "./reasons.js";
import { give } from "./stars.js";
import { did, price, signed } from "./words.js";

const MOVE_MS = 450;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** An ordered list; `act(kind, product, details)` is called for each action, null where there are none. */
export function productList({ act = null, itself = "", label }) {
  const element = h("ol", { class: "cards", role: "list", tabindex: "-1", "aria-label": label });
  const cards = new Map();

  /** Show products; `marks`: how each moved, by id, null where nothing was shown before. */
  function show(products, marks = null) {
    learn(
      ...products.filter((one) => one.product?.title).map((one) => ({ ...one.product, product_id: one.product_id })),
    );
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    const place = focused ? [...element.children].indexOf(focused.closest(".card")) : -1;
    const tops = new Map([...cards].map(([id, card]) => [id, card.element.getBoundingClientRect().top]));
    const rows = bars(products);
    const wanted = new Map(products.map((one) => [one.product_id, nameOf(one)]));
    for (const [id, card] of cards)
      if (wanted.get(id) !== card.called) {
        card.element.remove();
        cards.delete(id);
      }
    products.forEach((one, n) => {
      if (!cards.has(one.product_id)) cards.set(one.product_id, card(one, act));
      const made = cards.get(one.product_id);
      made.update(one, n + 1, rows[n], marks?.get(one.product_id), itself);
      if (element.children[n] !== made.element) element.insertBefore(made.element, element.children[n] ?? null);
    });
    if (!still.matches && marks) glide(tops);
    if (focused) keepFocus(focused, place);
  }

  function glide(tops) {
    for (const [id, { element: one }] of cards) {
      const before = tops.get(id);
      const moved = before === undefined ? 0 : before - one.getBoundingClientRect().top;
      const from =
        before === undefined ? { opacity: 0, transform: "translateY(12px)" } : { transform: `translateY(${moved}px)` };
      if (before === undefined || moved)
        one.animate([from, { opacity: 1, transform: "none" }], {
          duration: MOVE_MS,
          easing: "cubic-bezier(.2,.7,.2,1)",
        });
    }
  }

  // Where the focused product left the list, focus goes to the product that took its place.
  function keepFocus(focused, place) {
    if (focused.isConnected) focused.focus({ preventScroll: true });
    else
      (element.children[Math.min(place, element.children.length - 1)]?.querySelector("a") ?? element).focus({
        preventScroll: true,
      });
  }

  return { element, show };
}

function card(product, act) {
  const place = h("div", { class: "place" });
  const name = h("h3");
  const facts = h("p", { class: "facts" });
  const why = h("p", { class: "why" });
  const parts = h("div", { class: "made" });
  const called = nameOf(product);
  const element = h(
    "li",
    { class: "card", "data-product": product.product_id },
    place,
    h(
      "div",
      { class: "what" },
      name,
      facts,
      why,
      act && actions(called, (kind, given) => act(kind, product.product_id, given)),
    ),
    parts,
  );
  fill(name, productLink(product.product_id));

  function update(one, rank, row, mark, itself) {
    fill(place, h("span", { class: "rank" }, unseen("Rank "), rank), moveMark(mark));
    element.classList.toggle("is-new", mark?.kind === "new");
    fill(facts, factsOf(one));
    fill(
      why,
      sentence(one, row, { itself }).map((word) => (word.product ? productLink(word.product) : word)),
    );
    fill(parts, partsOf(one, row, itself));
  }
  return { element, update, called };
}

const nameOf = (one) => title({ ...one.product, product_id: one.product_id });

function moveMark(mark) {
  if (!mark || mark.kind === "same") return null;
  if (mark.kind === "new") return h("span", { class: "move new" }, "new");
  const up = mark.kind === "up";
  return h(
    "span",
    { class: `move ${mark.kind}` },
    h("span", { "aria-hidden": "true" }, `${up ? "▲" : "▼"}${mark.by}`),
    unseen(`${mark.kind} ${mark.by}`),
  );
}

/** Brand, category and price, where known. */
export function factsOf({ product = {} }) {
  const known = [product.brand, (product.categories ?? []).at(-1), product.price !== undefined && price(product.price)];
  return known.filter(Boolean).map((text) => h("span", { class: "isolate" }, text));
}

/** Buttons for the product called `name`; each calls `act(kind, details)`. */
export function actions(name, act) {
  const button = (label, kind) =>
    h("button", { type: "button", class: "act", "aria-label": `${label}: ${name}`, onclick: () => act(kind) }, label);
  return h(
    "div",
    { class: "actions", role: "group", "aria-label": `Actions for ${name}` },
    give(name, (rating) => act("RATING", { rating })),
    button("Click", "CLICK"),
    button("Buy", "PURCHASE"),
    button("Review", "REVIEW"),
    button("Not for me", "DISLIKE"),
  );
}

function partsOf(product, row, itself) {
  if (!row.length) return null;
  const withEvents = row.filter((bar) => bar.events.some((event) => event.product_id !== itself));
  const score = product.score ?? 0;
  return [
    h(
      "ul",
      { class: "parts", "aria-label": `Score ${signed(score)}, by part` },
      row.map((bar) =>
        h(
          "li",
          { title: bar.meaning },
          h("span", { class: "part-name" }, bar.label),
          track(bar),
          h("span", { class: "part-score" }, signed(bar.shown)),
        ),
      ),
    ),
    withEvents.length > 0 && h("details", {}, h("summary", {}, "Past events", unseen(" in this score")), withEvents.map(pastOf)),
  ];
}

function pastOf(bar) {
  const item = (event) =>
    h("li", {}, productLink(event.product_id), ` ${did(event.kind)}, ${signed(event.score ?? 0)}`);
  return h("div", { class: "past" }, h("p", { class: "part-name" }, bar.label), h("ul", {}, bar.events.map(item)));
}

function track(bar) {
  const fillBar = h("span", { class: bar.shown < 0 ? "less" : "more" });
  fillBar.style.width = `${Math.abs(bar.share) * 100}%`;
  fillBar.style.setProperty("--hue", `var(--${bar.part.toLowerCase().replace("_", "-")})`);
  return h("span", { class: "track", "aria-hidden": "true" }, fillBar);
}
