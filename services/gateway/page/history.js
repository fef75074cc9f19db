// The events of a user or guest, newest first.

import { empty, fill, h } from "./elements.js";
import { productLink } from "./known.js";
import { shown as stars } from "./stars.js";
import { count, date, did, signed } from "./words.js";

const SHOWN = 6;

/** The panel of a user's history, or of a guest's session. */
export function panel(person, user) {
  const body = h("div");
  const entries = person.user
    ? [...(user?.history ?? [])].reverse()
    : [...person.session].reverse().map((product_id) => ({ product_id }));
  list(body, entries, SHOWN);
  return h(
    "section",
    { class: "panel history", "aria-labelledby": "history-title" },
    h("h2", { id: "history-title" }, person.user ? "History" : "This session"),
    entries.length
      ? body
      : empty(
          "No events yet",
          h(
            "p",
            {},
            person.user
              ? "Your actions on products appear here."
              : "Products that you click, buy or rate in this tab appear here, and the list follows them.",
          ),
        ),
  );
}

function list(body, entries, many) {
  fill(
    body,
    h("ol", { class: "events" }, entries.slice(0, many).map(entry)),
    entries.length > many &&
      h(
        "button",
        {
          type: "button",
          class: "button quiet",
          onclick: () => {
            list(body, entries, Infinity);
            body.querySelectorAll("li a")[many]?.focus();
          },
        },
        `Show all ${count(entries.length, "event")}`,
      ),
  );
}

function entry(event) {
  return h(
    "li",
    {},
    productLink(event.product_id),
    event.kind &&
      h(
        "p",
        {},
        h("span", {}, did(event.kind)),
        event.rating ? stars(event.rating) : null,
        event.sentiment ? mood(event.sentiment) : null,
        h("time", {}, date(event.event_time_ms ?? 0)),
      ),
  );
}

function mood(sentiment) {
  const kind = sentiment > 0.05 ? "glad" : sentiment < -0.05 ? "cross" : "even";
  return h(
    "span",
    { class: `mood ${kind}`, title: "Sentiment of the text, from −1 to 1" },
    `text ${signed(sentiment)}`,
  );
}
