// One person's list: what is recommended and why, what was done before, and how the list follows what is done now.

import { getUser, recommend } from "./api.js";
import { act as send, particulars, requestFor } from "./acting.js";
import { seen } from "./clock.js";
import { fill, h, problem, say, waiting } from "./elements.js";
import { form, fromQuery, toQuery, toWishes } from "./filters.js";
import { panel as freshness } from "./freshness.js";
import { panel as history } from "./history.js";
import { people, product, title } from "./known.js";
import { productList } from "./list.js";
import { moves, summary } from "./moves.js";
import { address, becomeGuest, becomeUser, current } from "./person.js";
import { aboutOf, legend, lineageOf, nothing } from "./telling.js";
import { did, fallback, ms } from "./words.js";

/** The view of `#/user/<id>` and `#/guest`. */
export function shop(root, { user = "" }, query, signal) {
  if (user) becomeUser(user);
  else becomeGuest();
  let chosen = fromQuery(query);
  let answer = null;
  let known; // undefined: not asked yet; null: nothing is known
  let last = null;
  let busy = false;
  let newest = 0; // the newest question; lists asked for earlier come too late

  document.title = `${user || "A guest"} · Freshet`;
  const list = productList({ act, label: "Recommended products, the best first" });
  const about = h("p", { class: "about" });
  const notes = h("div", { class: "notes" });
  const trouble = h("div");
  const lineage = h("p", { class: "lineage" });
  const freshnessPlace = h("div", { class: "freshness-place" });
  const historyPlace = h("div");
  const heading = h("h2", { id: "list-title" }, "Recommended now");
  const refresh = h("button", { type: "button", class: "button quiet", onclick: () => load() }, "Ask again");
  fill(
    root,
    h(
      "div",
      { class: "title-row" },
      h("div", {}, h("h1", { tabindex: "-1" }, user ? h("span", { class: "id" }, user) : "A guest’s session"), about),
      h("p", {}, h("a", { class: "button quiet", href: "#/" }, "Choose somebody else")),
    ),
    form(chosen, (changed) => {
      chosen = changed;
      window.history.replaceState(null, "", address() + toQuery(chosen));
      load();
    }),
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "recommended", "aria-labelledby": "list-title" },
        h("div", { class: "section-row" }, heading, refresh),
        trouble,
        notes,
        list.element,
        lineage,
        legend(),
      ),
      h("div", { class: "aside" }, freshnessPlace, historyPlace),
    ),
  );
  fill(notes, waiting());
  showAside();
  people()
    .catch(() => {})
    .finally(load);

  async function load() {
    const mine = ++newest;
    try {
      const [person, fresh] = await Promise.all([
        whoIs(user, signal),
        recommend(requestFor(current(), toWishes(chosen)), signal),
      ]);
      if (mine !== newest) return;
      known = person;
      if (answer) say(`The list anew: ${summary(moves(ids(answer), ids(fresh)))}.`);
      showAnswer(fresh, answer);
    } catch (error) {
      if (mine === newest) failed(error, load);
    }
  }

  async function act(kind, id, given = {}) {
    if (busy) return;
    const details = await particulars(kind, id, given);
    if (!details) return;
    busy = true;
    const mine = ++newest;
    try {
      const before = answer;
      const name = title(await product(id));
      const {
        answer: after,
        position: at,
        took,
      } = await send(kind, id, details, { wishes: toWishes(chosen), requestId: answer?.request_id });
      if (mine === newest) showAnswer(after, before);
      else await load(); // other wishes were made meanwhile
      const moved = moves(ids(before), ids(answer));
      last = { did: `${name} ${did(kind)}`, summary: summary(moved), position: at };
      showAside();
      say(`${last.did}. The list has seen it: ${last.summary}. ${ms(took)} milliseconds.`);
      known = await whoIs(user, signal).catch(() => known);
      showAside();
    } catch (error) {
      failed(error, load);
    } finally {
      busy = false;
    }
  }

  function showAnswer(after, before) {
    answer = after;
    fill(trouble);
    const products = after.products ?? [];
    const words = fallback(after);
    fill(notes, products.length ? words && h("p", { class: "note" }, words) : nothing(after, toQuery(chosen) !== ""));
    list.show(products, before && moves(ids(before), ids(after)).marks);
    fill(lineage, lineageOf(after));
    showAside();
  }

  function showAside() {
    fill(freshnessPlace, freshness(last));
    if (known === undefined) return;
    const opened = historyPlace.contains(document.activeElement);
    fill(historyPlace, history(current(), known));
    if (opened) historyPlace.querySelector("a")?.focus();
    fill(about, aboutOf(user, known));
  }

  function failed(error, again) {
    if (signal.aborted) return;
    if (!answer) fill(notes);
    fill(
      trouble,
      problem(error, error.advice, () => {
        fill(trouble);
        again();
      }),
    );
  }
}

const ids = (answer) => (answer?.products ?? []).map((one) => one.product_id);

/** What is known of a user; null for a guest and for a user without an event. */
async function whoIs(user, signal) {
  if (!user) return null;
  try {
    const known = await getUser({ user_id: user }, signal);
    for (const event of known.history ?? []) seen(event.event_time_ms);
    return known;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}
