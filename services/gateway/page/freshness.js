// How long it takes from sending an event to a list that includes it.

import { fill, h, s } from "./elements.js";
import { ms, position } from "./words.js";

const KEPT = 24;
const measures = []; // newest last: {total, log, rest}

/** Keep a measurement: ms until the log acknowledged the event, and until the updated list arrived. */
export function measured(log, total) {
  measures.push({ log, total, rest: total - log });
  if (measures.length > KEPT) measures.shift();
}

/** The panel; `last`: {did, summary, position} of the last event, null before the first. */
export function panel(last) {
  const body = h("div", { class: "freshness-body" });
  const newest = measures.at(-1);
  if (!newest || !last) {
    fill(
      body,
      h("p", { class: "figure dim" }, "–", h("small", {}, " ms")),
      h(
        "p",
        { class: "hint" },
        "Click, buy or rate a product to see how long the list takes to include it.",
      ),
    );
  } else {
    fill(
      body,
      h("p", { class: "figure", id: "freshness" }, ms(newest.total), h("small", {}, " ms")),
      h("p", {}, "from sending the event to the new list"),
      split(newest),
      h("p", { class: "hint" }, `${last.did}: ${last.summary}. Event at ${position(last.position)}.`),
      measures.length > 1 && earlier(),
    );
  }
  return h(
    "section",
    { class: "panel freshness", "aria-labelledby": "freshness-title" },
    h("h2", { id: "freshness-title" }, "Freshness"),
    body,
  );
}

function split({ log, total, rest }) {
  const bar = h(
    "div",
    { class: "split", "aria-hidden": "true" },
    h("span", { class: "split-log" }),
    h("span", { class: "split-rest" }),
  );
  bar.firstChild.style.flexGrow = log / total;
  bar.lastChild.style.flexGrow = rest / total;
  return [
    bar,
    h(
      "p",
      { class: "split-words" },
      h("span", { class: "split-log" }, `${ms(log)} ms to write to the log`),
      h("span", { class: "split-rest" }, `${ms(rest)} ms to apply and rank`),
    ),
  ];
}

function earlier() {
  const most = Math.max(...measures.map((one) => one.total));
  const sorted = measures.map((one) => one.total).sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  return h(
    "div",
    { class: "earlier" },
    s(
      "svg",
      { viewBox: `0 0 ${KEPT * 6} 28`, "aria-hidden": "true", focusable: "false" },
      measures.map((one, n) => {
        const height = Math.max(2, (26 * one.total) / most);
        return s("rect", { x: n * 6, y: 28 - height, width: 4, height, rx: 1 });
      }),
    ),
    h("p", { class: "hint" }, `median of the last ${measures.length}: ${ms(median)} ms`),
  );
}
