// The list of one user or guest: recommendations with their reasons, the history, and how the list follows new events.

import { getUser, recommend } from "./api.js";
import { eventId, particulars, record, requestFor } from "./acting.js";
import { seen } from "./clock.js";
import { announce, fill, h, problem, waiting } from "./elements.js";
import { form, fromQuery, toQuery, toWishes } from "./filters.js";
import { panel as freshness, measured } from "./freshness.js";
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
  let pending = null; // {done, position} of an event in the log that the list does not include yet
  let busy = false;
  let newest = 0; // number of the newest request; earlier responses are dropped

  document.title = `${user || "Guest"} · Freshet`;
  const list = productList({ act, label: "Recommended products, best first" });
  const about = h("p", { class: "about" });
  const notes = h("div", { class: "notes" });
  const trouble = h("div");
  const lineage = h("p", { class: "lineage" });
  const freshnessPlace = h("div", { class: "freshness-place" });
  const historyPlace = h("div");
  const heading = h("h2", { id: "list-title" }, "Recommendations");
  const refresh = h("button", { type: "button", class: "button quiet", onclick: () => load() }, "Refresh");
  fill(
    root,
    h(
      "div",
      { class: "title-row" },
      h("div", {}, h("h1", { tabindex: "-1" }, user ? h("span", { class: "id" }, user) : "Guest session"), about),
      h("p", {}, h("a", { class: "button quiet", href: "#/" }, "Switch user")),
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
  fill(freshnessPlace, freshness(null));
  people()
    .catch(() => {})
    .finally(load);

  async function load() {
    const before = answer;
    try {
      const moved = await loadList();
      if (!moved) return;
      if (before) announce(`List refreshed: ${summary(moved)}.`);
      await loadPerson();
    } catch (error) {
      failed(error, load);
    }
  }

  function act(kind, id, given = {}) {
    return exclusively(async () => {
      const details = await particulars(kind, id, given);
      if (!details) return;
      const name = title(await product(id));
      await send(`${name} ${did(kind)}`, [kind, id, { ...details, event_id: eventId() }, answer?.request_id]);
    });
  }

  // One event at a time: clicks in between are ignored.
  async function exclusively(action) {
    if (busy) return;
    busy = true;
    try {
      await action();
    } finally {
      busy = false;
    }
  }

  /** Send an event, then show the list that includes it; `done` describes it in words. */
  async function send(done, event) {
    const before = ids(answer);
    const sent = performance.now();
    let position;
    try {
      position = await record(...event);
    } catch (error) {
      failed(error, () => exclusively(() => send(done, event)), `${done}: the log has not acknowledged the event.`);
      return;
    }
    const acknowledged = performance.now();
    pending = { done, position };
    try {
      while (pending) await loadList(); // again where the filters were changed meanwhile
    } catch (error) {
      failed(error, load);
      return;
    }
    const took = performance.now() - sent;
    measured(acknowledged - sent, took);
    const moved = summary(moves(before, ids(answer)));
    fill(freshnessPlace, freshness({ did: done, summary: moved, position }));
    announce(`${done}. List updated in ${ms(took)} milliseconds: ${moved}.`);
    await loadPerson().catch(() => {}); // the list is up to date all the same
  }

  /** Load and show the list; how ranks moved, undefined where a newer request was sent meanwhile. */
  async function loadList() {
    newest++;
    const fresh = await unlessSuperseded(recommend(requestFor(current(), toWishes(chosen), pending?.position), signal));
    return fresh && showAnswer(fresh);
  }

  async function loadPerson() {
    const known = await unlessSuperseded(lookUp(user, signal));
    if (known !== undefined) showPerson(known);
  }

  // After a newer request, the response or failure of an earlier one no longer counts.
  async function unlessSuperseded(response) {
    const mine = newest;
    try {
      const result = await response;
      return mine === newest ? result : undefined;
    } catch (error) {
      if (mine === newest) throw error;
    }
  }

  function showAnswer(fresh) {
    const moved = moves(ids(answer), ids(fresh));
    const products = fresh.products ?? [];
    const note = fallback(fresh);
    fill(trouble);
    fill(notes, products.length ? note && h("p", { class: "note" }, note) : nothing(fresh, toQuery(chosen) !== ""));
    list.show(products, answer && moved.marks);
    fill(lineage, lineageOf(fresh));
    answer = fresh;
    pending = null;
    return moved;
  }

  /** Show the user's summary and history; null: unknown. */
  function showPerson(known) {
    const opened = historyPlace.contains(document.activeElement);
    fill(historyPlace, history(current(), known));
    if (opened) historyPlace.querySelector("a")?.focus();
    fill(about, aboutOf(user, known));
  }

  function failed(error, again, state = pending && `${pending.done}: the event is in the log, but not yet in this list.`) {
    if (signal.aborted) return;
    if (!answer) fill(notes);
    fill(
      trouble,
      problem(error, [state, error.advice].filter(Boolean).join(" "), () => {
        fill(trouble);
        again();
      }),
    );
  }
}

const ids = (answer) => (answer?.products ?? []).map((one) => one.product_id);

/** A user; null for a guest and for a user without events. */
async function lookUp(user, signal) {
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
