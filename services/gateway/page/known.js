// Products and users that the page has loaded, so that each is requested once.

import { getProduct, listProducts, listUsers } from "./api.js";
import { seen } from "./clock.js";
import { empty, h } from "./elements.js";

/** The fields of each product of a list. */
export const FIELDS = "title,categories,brand,price";
const AT_ONCE = 1000; // the most that a page of a list holds
const AGAIN_MS = 30_000; // after this, a product without a title is looked up again when shown
const products = new Map(); // id → {about: Product, or a promise of it; until: ms}
let listing = null;
let crowd = null;

/** Keep products of a response; a known title stays. */
export function learn(...loaded) {
  for (const about of loaded)
    if (about?.product_id && (about.title || !known(about.product_id)?.title))
      products.set(about.product_id, { about, until: about.title ? Infinity : Date.now() + AGAIN_MS });
}

function known(id) {
  const kept = products.get(id);
  return kept?.until > Date.now() ? kept.about : null;
}

/** A product; only its id where nothing else is known. */
export async function product(id) {
  if (!known(id)) {
    await listing?.catch(() => {});
    if (!known(id)) products.set(id, { about: lookUp(id), until: Infinity });
  }
  return products.get(id).about;
}

async function lookUp(id) {
  let about = { product_id: id };
  try {
    about = (await getProduct(about)).product;
  } catch (error) {
    if (error.status !== 404) {
      products.delete(id); // it may be found the next time
      return about;
    }
  }
  learn(about);
  return about;
}

export const title = (about) => about.title || about.product_id;
export const productAddress = (id) => `#/product/${encodeURIComponent(id)}`;

/** A link to a product, by its title once that is known. */
export function productLink(id) {
  const about = known(id);
  const link = h("a", { href: productAddress(id), class: "product" }, about?.title || id);
  if (!about?.product_id)
    product(id).then((about) => {
      link.textContent = title(about);
    });
  return link;
}

/** A box for an empty catalogue. */
export function noProducts() {
  return empty(
    "The catalogue is empty",
    h("p", {}, "Replay a dataset (", h("code", {}, "make demo KEEP=1"), "), or add products with UpsertProducts."),
  );
}

/** The categories and brands of the catalogue's first thousand products, the most frequent first. */
export async function facets() {
  listing ??= listProducts({ page_size: AT_ONCE }).then((answer) => {
    const list = answer.products ?? [];
    learn(...list);
    return {
      categories: frequent(list.flatMap((one) => one.categories ?? [])),
      brands: frequent(list.map((one) => one.brand)),
    };
  });
  try {
    return await listing;
  } catch {
    listing = null;
    return { categories: [], brands: [] };
  }
}

function frequent(values) {
  const counts = new Map();
  for (const value of values) if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts]
    .sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))
    .slice(0, 200)
    .map(([value]) => value)
    .sort();
}

/** The first thousand users: {users, total}; loaded again when `fresh`. */
export function people({ fresh = false } = {}) {
  if (fresh) crowd = null;
  crowd ??= listUsers({ page_size: AT_ONCE }).then((answer) => {
    const users = answer.users ?? [];
    for (const user of users) seen(user.newest_ms);
    return { users, total: answer.total ?? users.length };
  });
  crowd.catch(() => {
    crowd = null;
  });
  return crowd;
}
