// The filter form, its state in the address, and the request's Wishes.

import { fill, h } from "./elements.js";
import { FIELDS, facets } from "./known.js";

const NAMES = ["category", "brand", "at_least", "at_most", "diversity", "count"];
export const DEFAULT_COUNT = "10";

/** The form's state from an address: name → text. */
export function fromQuery(query) {
  return Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
}

/** The form's state as a query, "" where nothing is set. */
export function toQuery(chosen) {
  const set = NAMES.filter(
    (name) =>
      chosen[name] &&
      !(name === "count" && chosen[name] === DEFAULT_COUNT) &&
      !(name === "diversity" && Number(chosen[name]) === 0),
  );
  const query = new URLSearchParams(set.map((name) => [name, chosen[name]])).toString();
  return query && `?${query}`;
}

/** The proto's Filter, undefined where nothing is set. */
export function toFilter(chosen) {
  const conditions = [];
  if (chosen.category) conditions.push({ category: { values: [chosen.category] } });
  if (chosen.brand) conditions.push({ brand: { values: [chosen.brand] } });
  if (chosen.at_least || chosen.at_most) {
    conditions.push({
      price: {
        ...(chosen.at_least && { at_least: Number(chosen.at_least) }),
        ...(chosen.at_most && { at_most: Number(chosen.at_most) }),
      },
    });
  }
  return conditions.length > 1 ? { all_of: { filters: conditions } } : conditions[0];
}

/** The proto's Wishes. */
export function toWishes(chosen) {
  return {
    count: Number(chosen.count || DEFAULT_COUNT),
    ...(toFilter(chosen) && { filter: toFilter(chosen) }),
    ...(Number(chosen.diversity) > 0 && { diversity: Number(chosen.diversity) }),
    product_fields: FIELDS,
    explain: true,
  };
}

/** The form; `changed` is called with its new state. */
export function form(chosen, changed, { ranked = true } = {}) {
  const shown = h("output", { for: "wish-diversity" }, Number(chosen.diversity || 0).toFixed(2));
  const range = h("input", {
    type: "range",
    id: "wish-diversity",
    name: "diversity",
    min: 0,
    max: 1,
    step: 0.05,
    value: chosen.diversity || 0,
    oninput: () => {
      shown.value = Number(range.value).toFixed(2);
    },
  });
  const category = choice("category", "Category", chosen.category);
  const brand = choice("brand", "Brand", chosen.brand);
  const element = h(
    "form",
    {
      class: "filters",
      "aria-label": "Filters",
      onchange: () => changed(read(element)),
      onsubmit: (event) => {
        event.preventDefault();
        changed(read(element));
      },
    },
    category,
    brand,
    h(
      "fieldset",
      { class: "field price-range" },
      h("legend", {}, "Price"),
      h("div", {}, amount("at_least", "from", chosen.at_least), amount("at_most", "to", chosen.at_most)),
    ),
    ranked && h("div", { class: "field" }, h("label", { for: "wish-diversity" }, "Diversity ", shown), range),
    ranked &&
      h(
        "div",
        { class: "field short" },
        h("label", { for: "wish-count" }, "Results"),
        select("count", ["5", "10", "20", "50"], chosen.count || DEFAULT_COUNT),
      ),
    h(
      "button",
      {
        type: "button",
        class: "button quiet",
        onclick: () => {
          clear(element, shown);
          changed(read(element));
        },
      },
      "Clear",
    ),
  );
  facets().then(({ categories, brands }) => {
    offer(category.querySelector("select"), categories, chosen.category);
    offer(brand.querySelector("select"), brands, chosen.brand);
  });
  return folded(element);
}

// On a small screen the filters would push the list out of sight, so they start folded.
function folded(element) {
  const wide = matchMedia("(min-width: 44rem)");
  const details = h("details", { class: "fold", open: wide.matches }, h("summary", {}, "Filters"), element);
  wide.addEventListener("change", () => {
    details.open = wide.matches;
  });
  return details;
}

function read(element) {
  const data = new FormData(element);
  return Object.fromEntries(NAMES.map((name) => [name, String(data.get(name) ?? "")]));
}

function clear(element, shown) {
  for (const control of element.querySelectorAll("input, select")) control.value = control.type === "range" ? "0" : "";
  const count = element.querySelector("[name=count]");
  if (count) count.value = DEFAULT_COUNT;
  shown.value = "0.00";
}

function choice(name, label, value) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: `wish-${name}` }, label),
    offer(h("select", { id: `wish-${name}`, name }), [], value),
  );
}

function offer(element, values, value) {
  const all = value && !values.includes(value) ? [value, ...values] : values;
  fill(
    element,
    h("option", { value: "" }, "Any"),
    all.map((one) => h("option", { value: one }, one)),
  );
  element.value = value || "";
  return element;
}

function select(name, values, value) {
  const element = h(
    "select",
    { id: `wish-${name}`, name },
    values.map((one) => h("option", { value: one }, one)),
  );
  element.value = values.includes(value) ? value : DEFAULT_COUNT;
  return element;
}

function amount(name, label, value) {
  return h(
    "label",
    {},
    h("span", {}, label),
    h("input", { type: "number", name, min: 0, step: "any", inputmode: "decimal", value }),
  );
}
