// The dialog in which a review is written.

import { fill, h } from "./elements.js";

const MOST_CHARACTERS = 5000;

/** Ask for stars and a text: {rating, text} when sent, null when cancelled. */
export function askForReview(name) {
  return new Promise((resolve) => {
    const note = h("p", { class: "field-error", id: "review-error", role: "alert" });
    const text = h("textarea", {
      id: "review-text",
      rows: "5",
      maxlength: MOST_CHARACTERS,
      "aria-describedby": "review-hint review-error",
    });
    const stars = h(
      "fieldset",
      { class: "pick-stars" },
      h("legend", {}, "Stars"),
      [1, 2, 3, 4, 5].map((n) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name: "rating", value: n, "aria-describedby": "review-error" }),
          h("span", {}, `${n} ★`),
        ),
      ),
    );
    let result = null;
    const dialog = h(
      "dialog",
      {
        class: "dialog",
        "aria-labelledby": "review-title",
        onclose: () => {
          dialog.remove();
          resolve(result);
        },
      },
      h(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            send();
          },
        },
        h("h2", { id: "review-title" }, "Review of ", h("span", { class: "isolate" }, name)),
        stars,
        h("label", { for: "review-text" }, "Text"),
        text,
        h(
          "p",
          { class: "hint", id: "review-hint" },
          "The first line is the title. The sentiment of the text counts along with the stars.",
        ),
        note,
        h(
          "div",
          { class: "dialog-buttons" },
          h("button", { type: "button", class: "button quiet", onclick: () => dialog.close() }, "Cancel"),
          h("button", { type: "submit", class: "button" }, "Send review"),
        ),
      ),
    );
    const send = () => {
      const rating = stars.querySelector("input:checked");
      if (!rating) {
        fill(note, "Choose one to five stars.");
        stars.querySelector("input").focus();
      } else if (!text.value.trim()) {
        fill(note, "Write a few words. To rate without a text, use the stars next to the product.");
        text.focus();
      } else {
        result = { rating: Number(rating.value), text: text.value.trim() };
        dialog.close();
      }
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
