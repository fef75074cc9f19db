// A product: what is known of it, what somebody can do with it, and what goes with it.

import { getProduct, similarProducts } from "./api.js";
import { particulars, record } from "./acting.js";
import { empty, figure, fill, h, problem, say, waiting } from "./elements.js";
import { FIELDS, learn, title } from "./known.js";
import { actions, factsOf, productList } from "./list.js";
import { address, current } from "./person.js";
import { count, date, did, plain, position, price, whole } from "./words.js";

const NEIGHBOURS = 10;
const AVAILABILITY = { IN_STOCK: "in stock", BACK_ORDER: "on back order", PRE_ORDER: "to be ordered ahead" };

/** The view of `#/product/<id>`. */
export function showProduct(root, { product: id }, query, signal) {
  const about = h("div", { class: "product-head" }, h("h1", { tabindex: "-1" }, id));
  const doing = h("section", { class: "panel", "aria-labelledby": "do-title" });
  const list = productList({ label: "Products that go with this one", itself: id });
  const neighbours = h("div", {}, waiting());
  fill(
    root,
    about,
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "recommended", "aria-labelledby": "similar-title" },
        h("h2", { id: "similar-title" }, "What goes with it"),
        neighbours,
        list.element,
      ),
      h("div", { class: "aside" }, doing),
    ),
  );
  fill(
    doing,
    h("h2", { id: "do-title" }, "As ", current().user ? h("span", { class: "id" }, current().user) : "a guest"),
  );
  tell();
  compare();

  async function tell() {
    try {
      const known = await getProduct({ product_id: id }, signal);
      learn(known.product);
      const name = title(known.product);
      document.title = `${name} · Freshet`;
      fill(about, ...described(known, name));
      act(name);
    } catch (error) {
      if (signal.aborted) return;
      fill(about, h("h1", { tabindex: "-1" }, id), problem(error, error.advice, tell));
      act(id);
    }
  }

  async function compare() {
    try {
      const answer = await similarProducts(
        { product_id: id, wishes: { count: NEIGHBOURS, explain: true, product_fields: FIELDS } },
        signal,
      );
      const products = answer.products ?? [];
      fill(
        neighbours,
        products.length
          ? h(
              "p",
              { class: "lineage" },
              answer.model_version
                ? ["By model ", h("code", {}, answer.model_version), "."]
                : "Nothing was learned yet: category, text, brand and price alone decide.",
            )
          : empty(
              "No neighbours",
              h(
                "p",
                {},
                "Nothing is known that goes with it. Neighbours come with events, or with products of the same category.",
              ),
            ),
      );
      list.show(products);
    } catch (error) {
      if (!signal.aborted) fill(neighbours, problem(error, error.advice, compare));
    }
  }

  function act(name) {
    const told = h("p", { class: "hint", role: "status" });
    const done = async (kind, given = {}) => {
      try {
        const details = await particulars(kind, id, given);
        if (!details) return;
        const at = await record(kind, id, details);
        fill(
          told,
          `${name} ${did(kind)}: written to the log (${position(at)}). `,
          h("a", { href: address() }, "See the list it changes"),
        );
        say(`${name} ${did(kind)}.`);
      } catch (error) {
        fill(
          told,
          problem(error, error.advice, () => done(kind, given)),
        );
      }
    };
    fill(
      doing,
      h("h2", { id: "do-title" }, "As ", current().user ? h("span", { class: "id" }, current().user) : "a guest"),
      actions(name, done),
      told,
      h("p", {}, h("a", { href: address() }, current().user ? "Back to this user’s list" : "To the session’s list")),
    );
  }
}

function described(known, name) {
  const about = known.product;
  const availability = about.unavailable
    ? "not to be had: never recommended"
    : AVAILABILITY[plain(about.availability, "AVAILABILITY")];
  return [
    h(
      "p",
      { class: "crumbs" },
      h("a", { href: "#/catalogue" }, "Catalogue"),
      (about.categories ?? []).map((one) => [
        h("span", { "aria-hidden": "true" }, " › "),
        h("a", { class: "isolate", href: `#/catalogue?${new URLSearchParams({ category: one })}` }, one),
      ]),
    ),
    h("h1", { tabindex: "-1", class: "isolate" }, name),
    h(
      "p",
      { class: "facts" },
      factsOf({ product: { brand: about.brand } }),
      about.price !== undefined && h("strong", {}, price(about.price)),
      h("code", {}, about.product_id),
      availability && h("span", {}, availability),
    ),
    about.description && h("p", { class: "description isolate" }, about.description),
    h(
      "dl",
      { class: "figures" },
      figure("Events", whole(known.events)),
      figure("Popularity", known.popularity_rank ? `№ ${whole(known.popularity_rank)}` : "not ranked"),
      figure("Share of all events now", known.share ? `${(known.share * 100).toPrecision(2)} %` : "0 %"),
      figure("First event", Number(known.first_event_ms ?? 0) ? date(known.first_event_ms) : "none yet"),
    ),
    Number(known.events ?? 0) === 0 &&
      h(
        "p",
        { class: "hint" },
        `Until its first event, its place comes from products that are alike. ${count(0, "event")} so far.`,
      ),
  ];
}
