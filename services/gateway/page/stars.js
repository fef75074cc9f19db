// Star ratings, to read and to give.

import { h, unseen } from "./elements.js";

/** A rating out of five; screen readers hear the number. */
export function shown(rating) {
  const full = Math.max(0, Math.min(5, Math.round(rating)));
  return h(
    "span",
    { class: "stars" },
    h("span", { "aria-hidden": "true" }, "★".repeat(full), h("span", { class: "dim" }, "★".repeat(5 - full))),
    unseen(`${full} of 5 stars`),
  );
}

/** Five buttons in one tab stop: arrow keys move, Enter rates. */
export function give(name, given) {
  const buttons = [1, 2, 3, 4, 5].map((n) =>
    h(
      "button",
      {
        type: "button",
        class: "star",
        tabindex: n === 1 ? "0" : "-1",
        "aria-label": `Rate ${name} ${n} of 5 stars`,
        onclick: () => given(n),
        onmouseenter: () => light(n),
        onfocus: () => light(n),
      },
      "★",
    ),
  );
  const light = (many) => buttons.forEach((button, n) => button.classList.toggle("lit", n < many));
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
  return h(
    "div",
    {
      class: "give-stars",
      role: "group",
      "aria-label": `Rate ${name}`,
      onmouseleave: () => light(0),
      onfocusout: () => light(0),
      onkeydown: (event) => {
        const to = buttons.indexOf(document.activeElement) + (step[event.key] ?? 0);
        if (!step[event.key]) return;
        event.preventDefault();
        if (!buttons[to]) return;
        buttons.forEach((button, n) => {
          button.tabIndex = n === to ? 0 : -1;
        });
        buttons[to].focus();
      },
    },
    buttons,
  );
}
