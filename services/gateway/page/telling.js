// What is told beside a list: of whom it is, where it came from, and why it is empty.

import { standsAt } from "./clock.js";
import { empty, figure, h } from "./elements.js";
import { noProducts } from "./known.js";
import { current, forgetSession } from "./person.js";
import { PARTS } from "./reasons.js";
import { count, date, plain, position, userClass } from "./words.js";

/** What is known of a user (null: nothing), or of a guest's session. */
export function aboutOf(user, known) {
  if (!user) {
    return [
      count(current().session.length, "product"),
      " looked at in this tab. ",
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
          "Start anew",
        ),
    ];
  }
  const stands = standsAt();
  return [
    known && h("span", { class: "badge" }, userClass(known.user_class) || "known"),
    known
      ? `${count(known.events, "event")}, ${count(known.masked_products, "product")} never to be shown again.`
      : "No event is known of this user yet.",
    stands ? ` The log stands at ${date(stands)}; what you do is dated then.` : "",
  ];
}

/** Where an answer came from. */
export function lineageOf(answer) {
  const learned = plain(answer.strategy, "STRATEGY") === "LEARNED";
  return [
    learned ? "Answered by model " : "Answered by what is popular",
    learned && h("code", {}, answer.model_version),
    answer.position ? `, with the person’s events up to ${position(answer.position)}.` : ".",
  ];
}

/** What the bars beside each product mean. */
export function legend() {
  const parts = Object.values(PARTS).map(([label, meaning]) => figure(label, meaning));
  return h("details", { class: "hint" }, h("summary", {}, "What the bars mean"), h("dl", { class: "plain" }, parts));
}

/** What stands in place of an empty list, with what to do next. */
export function nothing(answer, filtered) {
  if (plain(answer.fallback, "FALLBACK") === "EMPTY_CATALOGUE") return noProducts();
  return empty(
    "No product is left to recommend",
    h(
      "p",
      {},
      filtered
        ? "None meets the filters: loosen or clear them."
        : "All that is known was reviewed, rated or refused already: products come with the next events.",
    ),
  );
}
