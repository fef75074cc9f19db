// Where it begins: choose a user of the log, or be a guest.

import { empty, fill, h, problem, waiting } from "./elements.js";
import { people } from "./known.js";
import { current, forgetSession } from "./person.js";
import { count, date, userClass, whole } from "./words.js";

const SHOWN = 24;

/** The view of `#/`. */
export function choosePerson(root, _, query, signal) {
  let many = SHOWN;
  const words = h("input", {
    type: "search",
    id: "who",
    name: "who",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "A user’s id",
    oninput: () => {
      many = SHOWN;
      show();
    },
  });
  const found = h("div");
  const told = h("p", { class: "hint", role: "status" });
  let crowd = { users: [], total: 0 };

  fill(
    root,
    h(
      "div",
      { class: "hero" },
      h("h1", { tabindex: "-1" }, "Recommendations that learn while the traffic flows"),
      h(
        "p",
        {},
        "Look through a user’s eyes: see what is recommended and why. Then click, buy, rate or review something, and watch the list follow within milliseconds.",
      ),
    ),
    h(
      "div",
      { class: "start" },
      h(
        "section",
        { class: "panel", "aria-labelledby": "users-title" },
        h("h2", { id: "users-title" }, "Choose a user"),
        h(
          "form",
          {
            class: "find",
            role: "search",
            "aria-label": "Find a user",
            onsubmit: (event) => {
              event.preventDefault();
              open();
            },
          },
          h("label", { for: "who", class: "unseen" }, "A user’s id, or its beginning"),
          words,
          h("button", { type: "submit", class: "button" }, "Open"),
        ),
        told,
        found,
      ),
      h(
        "section",
        { class: "panel guest", "aria-labelledby": "guest-title" },
        h("h2", { id: "guest-title" }, "Or be a guest"),
        h(
          "p",
          {},
          "Somebody without an account: the list follows what you look at in this tab, and nothing is kept of you.",
        ),
        h(
          "p",
          {},
          h(
            "a",
            {
              class: "button",
              href: "#/guest",
              onclick: () => {
                if (current().user) forgetSession();
              },
            },
            "Start as a guest",
          ),
        ),
        h("h3", {}, "What else there is"),
        h(
          "ul",
          { class: "ways" },
          h("li", {}, h("a", { href: "#/catalogue" }, "The catalogue"), ", each product with its neighbours"),
          h("li", {}, h("a", { href: "#/models" }, "The models"), ": which one answers, and how each scored"),
          h(
            "li",
            {},
            h("a", { href: "#/leaderboard" }, "The leaderboard"),
            ": each policy judged on every event before it was learned",
          ),
        ),
      ),
    ),
  );
  fill(found, waiting(8));
  load();

  async function load() {
    try {
      crowd = await people({ fresh: true });
      show();
    } catch (error) {
      if (signal.aborted) return;
      fill(told);
      fill(found, problem(error, `${error.advice} A user’s id can be typed above all the same.`, load));
    }
  }

  function show() {
    if (signal.aborted) return;
    const asked = words.value.trim().toLowerCase();
    const users = crowd.users.filter((user) => user.user_id.toLowerCase().includes(asked));
    if (!crowd.users.length) {
      fill(told);
      fill(
        found,
        empty(
          "Nobody is known yet",
          h(
            "p",
            {},
            "Users come with events: replay a dataset (",
            h("code", {}, "make demo KEEP=1"),
            "), send events with RecordEvents, or start as a guest.",
          ),
          h("p", {}, h("button", { type: "button", class: "button quiet", onclick: load }, "Look again")),
        ),
      );
      return;
    }
    fill(
      told,
      asked
        ? `${count(users.length, "user")} of the first ${whole(crowd.users.length)} match.`
        : `${count(crowd.total, "user")} known.`,
    );
    fill(
      found,
      users.length
        ? h("ul", { class: "people" }, users.slice(0, many).map(entry))
        : empty(
            "No such user among those listed",
            h(
              "p",
              {},
              `Press Open to look “${words.value.trim()}” up all the same: somebody new begins with what is popular.`,
            ),
          ),
      users.length > many &&
        h(
          "button",
          {
            type: "button",
            class: "button quiet",
            onclick: () => {
              const next = many;
              many += 4 * SHOWN;
              show();
              found.querySelectorAll("li a")[next]?.focus();
            },
          },
          "Show more",
        ),
    );
  }

  function open() {
    const asked = words.value.trim();
    if (asked) location.hash = `#/user/${encodeURIComponent(asked)}`;
    else fill(told, "Type a user’s id first, or choose one below.");
  }
}

function entry(user) {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#/user/${encodeURIComponent(user.user_id)}` },
      h("span", { class: "id" }, user.user_id),
      h("span", { class: "hint" }, count(user.events, "event"), user.newest_ms ? `, last ${date(user.newest_ms)}` : ""),
      h("span", { class: "badge" }, userClass(user.user_class) || "known"),
    ),
  );
}
