// The text around a list: about the user, the source of the answer, and why the list is empty.

import { endOfLog } from "./clock.js";
import { empty, figure, h } from "./elements.js";
import { noProducts } from "./known.js";
import { current, forgetSession } from "./person.js";
import { PARTS } from "./reasons.js";
import { count, date, plain, position, userClass } from "./words.js";

/** A summary of a user (null: unknown), or of a guest's session. */
export function aboutOf(user, known) {
  if (!user) {
    return [
      count(current().session.length, "product"),
      " viewed in this tab. ",
      current().session.length > 0 &&
        h(
          "button",
          {
            type: "button",
            class: "link",
            onclick: () => {
              forgetSession();
              dispatchEvent(new HashChangeEvent("hashchange"));
            },
          },
          "Start over",
        ),
    ];
  }
  const end = endOfLog();
  return [
    known && h("span", { class: "badge" }, userClass(known.user_class) || "known"),
    known
      ? `${count(known.events, "event")}, ${count(known.masked_products, "product")} hidden.`
      : "No events yet.",
    end ? ` The log ends on ${date(end)}; your events get that date.` : "",
  ];
}

/** The source of an answer. */
export function lineageOf(answer) {
  const ranked = {
    LEARNED: ["Ranked by model ", h("code", {}, answer.model_version)],
    COUNTED: ["Ranked by counts of all events"],
  }[plain(answer.strategy, "STRATEGY")] ?? ["Ranked by popularity"];
  return [
    ...ranked,
    answer.position ? `, including this user’s events up to ${position(answer.position)}.` : ".",
  ];
}

/** What the bars next to each product mean. */
export function legend() {
  const parts = Object.values(PARTS).map(([label, meaning]) => figure(label, meaning));
  return h("details", { class: "hint" }, h("summary", {}, "What the bars mean"), h("dl", { class: "plain" }, parts));
}

/** A box in place of an empty list. */
export function nothing(answer, filtered) {
  if (plain(answer.fallback, "FALLBACK") === "EMPTY_CATALOGUE") return noProducts();
  return empty(
    "No products left to recommend",
    h(
      "p",
      {},
      filtered
        ? "No product matches the filters. Change or clear them."
        : "Every known product has been reviewed, rated or disliked. New products appear as they arrive.",
    ),
  );
}
