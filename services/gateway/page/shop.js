// One person's list: what is recommended and why, what was done before, and how the list follows what is done now.

import { getUser, recommend } from "./api.js";
import { eventId, particulars, record, requestFor } from "./acting.js";
import { seen } from "./clock.js";
import { fill, h, problem, say, waiting } from "./elements.js";
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
  let owed = null; // {done, position} of an event in the log that the list shown has not seen
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
  fill(freshnessPlace, freshness(null));
  people()
    .catch(() => {})
    .finally(load);

  async function load() {
    const before = answer;
    try {
      const moved = await askList();
      if (!moved) return;
      if (before) say(`The list anew: ${summary(moved)}.`);
      await askPerson();
    } catch (error) {
      failed(error, load);
    }
  }

  function act(kind, id, given = {}) {
    return alone(async () => {
      const details = await particulars(kind, id, given);
      if (!details) return;
      const name = title(await product(id));
      await send(`${name} ${did(kind)}`, [kind, id, { ...details, event_id: eventId() }, answer?.request_id]);
    });
  }

  // One event at a time: what is pressed meanwhile counts for nothing.
  async function alone(doing) {
    if (busy) return;
    busy = true;
    try {
      await doing();
    } finally {
      busy = false;
    }
  }

  /** Send an event, then show the list that has seen it; `done` says in words what was done. */
  async function send(done, event) {
    const before = ids(answer);
    const sent = performance.now();
    let position;
    try {
      position = await record(...event);
    } catch (error) {
      failed(error, () => alone(() => send(done, event)), `${done}: the log has not acknowledged it.`);
      return;
    }
    const acknowledged = performance.now();
    owed = { done, position };
    try {
      while (owed) await askList(); // once more where other wishes were made meanwhile
    } catch (error) {
      failed(error, load);
      return;
    }
    const took = performance.now() - sent;
    measured(acknowledged - sent, took);
    const moved = summary(moves(before, ids(answer)));
    fill(freshnessPlace, freshness({ did: done, summary: moved, position }));
    say(`${done}. The list has seen it: ${moved}. ${ms(took)} milliseconds.`);
    await askPerson().catch(() => {}); // the list has seen it all the same
  }

  /** Show the list anew; how places moved, undefined where it was asked for once more meanwhile. */
  async function askList() {
    newest++;
    const fresh = await unlessOvertaken(recommend(requestFor(current(), toWishes(chosen), owed?.position), signal));
    return fresh && showAnswer(fresh);
  }

  async function askPerson() {
    const known = await unlessOvertaken(whoIs(user, signal));
    if (known !== undefined) showPerson(known);
  }

  // Once the list is asked for anew, what was asked for earlier comes too late: neither answer nor failure counts.
  async function unlessOvertaken(asked) {
    const mine = newest;
    try {
      const given = await asked;
      return mine === newest ? given : undefined;
    } catch (error) {
      if (mine === newest) throw error;
    }
  }

  function showAnswer(fresh) {
    const moved = moves(ids(answer), ids(fresh));
    const products = fresh.products ?? [];
    const words = fallback(fresh);
    fill(trouble);
    fill(notes, products.length ? words && h("p", { class: "note" }, words) : nothing(fresh, toQuery(chosen) !== ""));
    list.show(products, answer && moved.marks);
    fill(lineage, lineageOf(fresh));
    answer = fresh;
    owed = null;
    return moved;
  }

  /** Show what is known of the user; null: nothing. */
  function showPerson(known) {
    const opened = historyPlace.contains(document.activeElement);
    fill(historyPlace, history(current(), known));
    if (opened) historyPlace.querySelector("a")?.focus();
    fill(about, aboutOf(user, known));
  }

  function failed(error, again, so = owed && `${owed.done}: the log has it, but this list has not seen it.`) {
    if (signal.aborted) return;
    if (!answer) fill(notes);
    fill(
      trouble,
      problem(error, [so, error.advice].filter(Boolean).join(" "), () => {
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
