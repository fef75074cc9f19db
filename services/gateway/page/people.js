// The start page: choose a user of the log, or continue as a guest.

import { empty, fill, h, problem, waiting } from "./elements.js";
import { people } from "./known.js";
import { current, forgetSession } from "./person.js";
import { count, date, userClass, whole } from "./words.js";

const SHOWN = 24;

/** The view of `#/`. */
export function chooseUser(root, _, __, signal) {
  let many = SHOWN;
  const input = h("input", {
    type: "search",
    id: "who",
    name: "who",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "User id",
    oninput: () => {
      many = SHOWN;
      show();
    },
  });
  const results = h("div");
  const status = h("p", { class: "hint", role: "status" });
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
        "See what a user is recommended, and why. Then click, buy, rate or review a product, and watch the list change within milliseconds.",
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
          h("label", { for: "who", class: "unseen" }, "User id"),
          input,
          h("button", { type: "submit", class: "button" }, "Open"),
        ),
        status,
        results,
      ),
      h(
        "section",
        { class: "panel guest", "aria-labelledby": "guest-title" },
        h("h2", { id: "guest-title" }, "Guest session"),
        h(
          "p",
          {},
          "A visitor without an account: the list follows what you view in this tab, and no user is created.",
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
            "Continue as guest",
          ),
        ),
        h("h3", {}, "More"),
        h(
          "ul",
          { class: "ways" },
          h("li", {}, h("a", { href: "#/catalogue" }, "Catalogue"), ": every product, with related ones"),
          h("li", {}, h("a", { href: "#/models" }, "Models"), ": which version serves, and how each scored"),
          h(
            "li",
            {},
            h("a", { href: "#/leaderboard" }, "Leaderboard"),
            ": every policy, evaluated on each event before it is learned",
          ),
        ),
      ),
    ),
  );
  fill(results, waiting(8));
  load();

  async function load() {
    try {
      crowd = await people({ fresh: true });
      show();
    } catch (error) {
      if (signal.aborted) return;
      fill(status);
      fill(results, problem(error, `${error.advice} You can still enter a user id above.`, load));
    }
  }

  function show() {
    if (signal.aborted) return;
    const query = input.value.trim().toLowerCase();
    const users = crowd.users.filter((user) => user.user_id.toLowerCase().includes(query));
    if (!crowd.users.length) {
      fill(status);
      fill(
        results,
        empty(
          "No users yet",
          h(
            "p",
            {},
            "Users appear with their first event. Replay a dataset (",
            h("code", {}, "make demo KEEP=1"),
            "), send events with RecordEvents, or continue as a guest.",
          ),
          h("p", {}, h("button", { type: "button", class: "button quiet", onclick: load }, "Refresh")),
        ),
      );
      return;
    }
    fill(
      status,
      query
        ? `${whole(users.length)} of the first ${count(crowd.users.length, "user")} match.`
        : `${count(crowd.total, "user")}`,
    );
    fill(
      results,
      users.length
        ? h("ul", { class: "people" }, users.slice(0, many).map(entry))
        : empty(
            "No matching user in the list",
            h(
              "p",
              {},
              `Press Open to look up “${input.value.trim()}” anyway. A new user starts with popular products.`,
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
              results.querySelectorAll("li a")[next]?.focus();
            },
          },
          "Show more",
        ),
    );
  }

  function open() {
    const query = input.value.trim();
    if (query) location.hash = `#/user/${encodeURIComponent(query)}`;
    else fill(status, "Enter a user id, or choose a user below.");
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
