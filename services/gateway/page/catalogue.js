// The catalogue: search, filters, pages.

import { listProducts } from "./api.js";
import { announce, empty, fill, h, problem, waiting } from "./elements.js";
import { form, fromQuery, toFilter, toQuery } from "./filters.js";
import { learn, noProducts, productLink } from "./known.js";
import { count, price, whole } from "./words.js";

const PAGE = 24;

/** The view of `#/catalogue`. */
export function catalogue(root, _, query, signal) {
  let chosen = fromQuery(query);
  let tokens = [""]; // of the pages up to this one
  let newest = 0; // number of the newest request; earlier responses are dropped
  const input = h("input", {
    type: "search",
    id: "words",
    name: "words",
    maxlength: 200,
    value: query.get("query") ?? "",
    placeholder: "Title, brand or category",
  });
  const status = h("p", { class: "hint", role: "status" });
  const results = h("div");
  const pages = h("nav", { class: "pages", "aria-label": "Catalogue pages" });
  fill(
    root,
    h("h1", { tabindex: "-1" }, "Catalogue"),
    h(
      "form",
      {
        class: "find",
        role: "search",
        "aria-label": "Search products",
        onsubmit: (event) => {
          event.preventDefault();
          search();
        },
      },
      h("label", { for: "words", class: "unseen" }, "Title, brand, category or id"),
      input,
      h("button", { type: "submit", class: "button" }, "Search"),
    ),
    form(
      chosen,
      (changed) => {
        chosen = changed;
        search();
      },
      { ranked: false },
    ),
    status,
    results,
    pages,
  );
  fill(results, waiting(10));
  load();

  function search() {
    tokens = [""];
    const state = new URLSearchParams(toQuery(chosen));
    if (input.value.trim()) state.set("query", input.value.trim());
    history.replaceState(null, "", `#/catalogue${state.size ? `?${state}` : ""}`);
    load();
  }

  async function load() {
    const mine = ++newest;
    try {
      const filter = toFilter(chosen);
      const answer = await listProducts(
        { page_size: PAGE, page_token: tokens.at(-1), query: input.value.trim(), ...(filter && { filter }) },
        signal,
      );
      if (mine === newest) show(answer, answer.products ?? []);
    } catch (error) {
      if (signal.aborted || mine !== newest) return;
      fill(status);
      fill(pages);
      fill(results, problem(error, error.advice, load));
    }
  }

  function show(answer, products) {
    learn(...products);
    const first = (tokens.length - 1) * PAGE + 1;
    fill(
      status,
      products.length
        ? `${whole(first)}–${whole(first + products.length - 1)} of ${count(answer.total ?? products.length, "product")}`
        : "",
    );
    fill(results, products.length ? table(products) : nothing());
    fill(
      pages,
      tokens.length > 1 &&
        h("button", { type: "button", class: "button quiet", onclick: () => turn(() => tokens.pop()) }, "Previous"),
      answer.next_page_token &&
        h(
          "button",
          { type: "button", class: "button quiet", onclick: () => turn(() => tokens.push(answer.next_page_token)) },
          "Next",
        ),
    );
  }

  async function turn(step) {
    step();
    await load();
    root.querySelector("h1").focus();
    scrollTo(0, 0);
    announce(status.textContent);
  }

  function nothing() {
    return input.value.trim() || toFilter(chosen)
      ? empty("No products found", h("p", {}, "Try fewer words, or clear the filters."))
      : noProducts();
  }
}

function table(products) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Products" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Product", "Brand", "Category"].map((name) => h("th", { scope: "col" }, name)),
          h("th", { scope: "col", class: "number" }, "Price"),
        ),
      ),
      h(
        "tbody",
        {},
        products.map((one) =>
          h(
            "tr",
            {},
            h(
              "th",
              { scope: "row" },
              productLink(one.product_id),
              one.unavailable && h("span", { class: "badge" }, "unavailable"),
            ),
            h("td", { class: "isolate" }, one.brand ?? ""),
            h("td", { class: "isolate" }, (one.categories ?? []).join(" › ")),
            h("td", { class: "number" }, one.price === undefined ? "–" : price(one.price)),
          ),
        ),
      ),
    ),
  );
}
