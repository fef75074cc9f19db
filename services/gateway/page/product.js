// A product: its data, the actions on it, and related products.

import { getProduct, similarProducts } from "./api.js";
import { particulars, record } from "./acting.js";
import { announce, empty, figure, fill, h, problem, waiting } from "./elements.js";
import { FIELDS, learn, title } from "./known.js";
import { actions, factsOf, productList } from "./list.js";
import { address, current } from "./person.js";
import { count, date, did, plain, position, price, whole } from "./words.js";

const RELATED = 10;
const AVAILABILITY = { IN_STOCK: "in stock", BACK_ORDER: "on back order", PRE_ORDER: "available for pre-order" };

/** The view of `#/product/<id>`. */
export function showProduct(root, { product: id }, query, signal) {
  const about = h("div", { class: "product-head" }, h("h1", { tabindex: "-1" }, id));
  const doing = h("section", { class: "panel", "aria-labelledby": "do-title" });
  const actor = current().user ? h("span", { class: "id" }, current().user) : "guest";
  const heading = h("h2", { id: "do-title" }, "Act as ", actor);
  const list = productList({ label: "Related products, best first", itself: id });
  const related = h("div", {}, waiting());
  fill(
    root,
    about,
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "recommended", "aria-labelledby": "similar-title" },
        h("h2", { id: "similar-title" }, "Related products"),
        related,
        list.element,
      ),
      h("div", { class: "aside" }, doing),
    ),
  );
  fill(doing, heading);
  load();
  loadRelated();

  async function load() {
    try {
      const known = await getProduct({ product_id: id }, signal);
      learn(known.product);
      const name = title(known.product);
      document.title = `${name} · Freshet`;
      fill(about, ...described(known, name));
      act(name);
    } catch (error) {
      if (signal.aborted) return;
      fill(about, h("h1", { tabindex: "-1" }, id), problem(error, error.advice, load));
      act(id);
    }
  }

  async function loadRelated() {
    try {
      const answer = await similarProducts(
        { product_id: id, wishes: { count: RELATED, explain: true, product_fields: FIELDS } },
        signal,
      );
      const products = answer.products ?? [];
      fill(
        related,
        products.length
          ? h(
              "p",
              { class: "lineage" },
              answer.model_version
                ? ["Ranked by model ", h("code", {}, answer.model_version), "."]
                : "No model yet: ranked by what goes together, and by likeness.",
            )
          : empty("No related products", h("p", {}, "They appear with events, or with products of the same category.")),
      );
      list.show(products);
    } catch (error) {
      if (!signal.aborted) fill(related, problem(error, error.advice, loadRelated));
    }
  }

  function act(name) {
    const status = h("p", { class: "hint", role: "status" });
    const save = async (kind, given = {}) => {
      try {
        const details = await particulars(kind, id, given);
        if (!details) return;
        const at = await record(kind, id, details);
        fill(
          status,
          `${name} ${did(kind)}: written to the log (${position(at)}). `,
          h("a", { href: address() }, "See the updated list"),
        );
        announce(`${name} ${did(kind)}.`);
      } catch (error) {
        fill(
          status,
          problem(error, error.advice, () => save(kind, given)),
        );
      }
    };
    fill(
      doing,
      heading,
      actions(name, save),
      status,
      h("p", {}, h("a", { href: address() }, "Back to recommendations")),
    );
  }
}

function described(known, name) {
  const about = known.product;
  const availability = about.unavailable
    ? "unavailable, never recommended"
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
      figure("Popularity rank", known.popularity_rank ? whole(known.popularity_rank) : "none"),
      figure("Share of popularity", known.share ? `${(known.share * 100).toPrecision(2)} %` : "0 %"),
      figure("First event", Number(known.first_event_ms ?? 0) ? date(known.first_event_ms) : "none yet"),
    ),
    Number(known.events ?? 0) === 0 && h("p", { class: "hint" }, "No events yet: ranked like similar products."),
  ];
}
