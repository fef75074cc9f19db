// Routes the address to a view. A view gets its root element, the path's parts, the query, and a signal that aborts when it is left.

import { catalogue } from "./catalogue.js";
import { empty, fill, h } from "./elements.js";
import { leaderboard } from "./leaderboard.js";
import { models } from "./models.js";
import { chooseUser } from "./people.js";
import { address, current } from "./person.js";
import { showProduct } from "./product.js";
import { shop } from "./shop.js";

const ROUTES = [
  [/^\/$/, chooseUser, "users", "Users"],
  [/^\/user\/(?<user>.+)$/, shop, "users", "User"],
  [/^\/guest$/, shop, "users", "Guest"],
  [/^\/product\/(?<product>.+)$/, showProduct, "catalogue", "Product"],
  [/^\/catalogue$/, catalogue, "catalogue", "Catalogue"],
  [/^\/models$/, models, "models", "Models"],
  [/^\/leaderboard$/, leaderboard, "leaderboard", "Leaderboard"],
];

const main = document.getElementById("content");
let leaving = new AbortController();
let first = true;

function show() {
  leaving.abort();
  leaving = new AbortController();
  const [path, query = ""] = (location.hash.slice(1) || "/").split("?");
  const route = ROUTES.map(([pattern, ...rest]) => [pattern.exec(path), ...rest]).find(([match]) => match);
  const root = h("div", { class: "view" });
  fill(main, root);
  const [match, view, page, title] = route ?? [null, notFound, "", "Not found"];
  document.title = `${title} · Freshet`;
  for (const link of document.querySelectorAll("[data-page]")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view(root, decoded(match?.groups), new URLSearchParams(query), leaving.signal);
  if (!first) {
    scrollTo(0, 0);
    (root.querySelector("h1") ?? main).focus({ preventScroll: true });
  }
  first = false;
}

function decoded(groups = {}) {
  return Object.fromEntries(Object.entries(groups).map(([name, text]) => [name, decode(text)]));
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function notFound(root) {
  fill(
    root,
    h("h1", { tabindex: "-1" }, "Page not found"),
    empty("There is no page at this address", h("p", {}, h("a", { href: "#/" }, "Choose a user or continue as a guest"))),
  );
}

function showPerson() {
  const { chosen, user } = current();
  fill(
    document.getElementById("as-who"),
    chosen && h("a", { href: address() }, "Viewing as ", user ? h("span", { class: "id" }, user) : "guest"),
  );
}

// An ordinary jump would replace the view's address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
addEventListener("freshet:person", showPerson);
showPerson();
show();
