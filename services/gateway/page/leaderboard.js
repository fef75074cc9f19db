// The policies, evaluated live: before an event is learned, where did each rank the product that the user chose?

import { live } from "./api.js";
import { empty, figure, fill, h, problem, waiting } from "./elements.js";
import { ratio, whole } from "./words.js";

const AGAIN_MS = 3000;
const POLICIES = {
  learned: "as served; counts where no model answers",
  trending: "popular now",
  repeat: "products from the user’s history",
  markov: "what most often follows the last product",
};
const WINDOWS = {
  all: "All evaluated events, as served",
  learned: "Events evaluated by a learned version",
  recent: "Most recent events",
};

/** The view of `#/leaderboard`. */
export function leaderboard(root, _, query, signal) {
  const body = h("div", { class: "board" }, waiting(6));
  const pause = h(
    "button",
    {
      type: "button",
      class: "button quiet",
      "aria-pressed": "false",
      onclick: () => setPaused(pause.getAttribute("aria-pressed") !== "true"),
    },
    "Pause",
  );
  fill(
    root,
    h("div", { class: "title-row" }, h("h1", { tabindex: "-1" }, "Leaderboard"), pause),
    h(
      "p",
      { class: "lead" },
      "Before an event is learned, every policy ranks the whole catalogue for its user. What counts is the rank of the product that the user chose. All policies are evaluated on the same events.",
    ),
    body,
  );
  let shown = "";
  load();
  const timer = setInterval(() => {
    if (!document.hidden && pause.getAttribute("aria-pressed") === "false") load();
  }, AGAIN_MS);
  signal.addEventListener("abort", () => clearInterval(timer));

  function setPaused(paused) {
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) load();
  }

  async function load() {
    try {
      const figures = await live(signal);
      const text = JSON.stringify(figures);
      if (text !== shown) fill(body, ...board(figures));
      shown = text;
    } catch (error) {
      if (signal.aborted || shown === error.message) return;
      shown = error.message;
      fill(body, problem(error, error.advice, load));
    }
  }
}

function board({ k, applied_events: applied, judged_events: judged, learned_events: learned, leaderboard: rows = [] }) {
  if (!judged) {
    return [
      empty(
        "No evaluated events yet",
        h("p", {}, "Figures appear with events of users who have a history. Replay a dataset, or act as a user."),
      ),
    ];
  }
  return [
    h(
      "dl",
      { class: "figures" },
      figure("Events applied", whole(applied)),
      figure("Evaluated", whole(judged)),
      figure("Evaluated by a learned version", `${whole(learned)} (${Math.round((100 * learned) / judged)} %)`),
    ),
    Object.keys(WINDOWS).map((window) =>
      table(
        rows.filter((row) => row.window === window && Number.isFinite(row.ndcg_ratio)),
        window,
        k,
      ),
    ),
    h(
      "p",
      { class: "hint" },
      `HR@${k}: how often the chosen product ranked among the first ${k}. NDCG@${k}: the same, weighted by rank.`,
    ),
  ];
}

function table(rows, window, k) {
  if (!rows.length) return null;
  const ranked = [...rows].sort((a, b) => b.ndcg_ratio - a.ndcg_ratio);
  const most = Math.max(ranked[0].ndcg_ratio, 1e-9);
  const all = rows.some((row) => Number.isFinite(row.coverage_ratio) || Number.isFinite(row.novelty_bits));
  const names = [`HR@${k}`, "MRR", ...(all ? ["Coverage", "Novelty, bits"] : []), `NDCG@${k}`];
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": WINDOWS[window] },
    h(
      "table",
      {},
      h("caption", {}, WINDOWS[window]),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Policy"),
          names.map((name) => h("th", { scope: "col", class: "number" }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        ranked.map((row, n) =>
          h(
            "tr",
            { class: n === 0 && "ahead" },
            h("th", { scope: "row" }, row.policy, h("span", { class: "hint" }, ` ${POLICIES[row.policy] ?? ""}`)),
            h("td", { class: "number" }, ratio(row.hit_ratio)),
            h("td", { class: "number" }, ratio(row.mrr_ratio)),
            all && [
              h("td", { class: "number" }, ratio(row.coverage_ratio)),
              h("td", { class: "number" }, Number.isFinite(row.novelty_bits) ? row.novelty_bits.toFixed(2) : "–"),
            ],
            h(
              "td",
              { class: "number" },
              h("span", { class: "meter" }, meter(row.ndcg_ratio / most), h("strong", {}, ratio(row.ndcg_ratio))),
            ),
          ),
        ),
      ),
    ),
  );
}

function meter(share) {
  const bar = h("span");
  bar.style.width = `${share * 100}%`;
  bar.style.setProperty("--hue", "var(--co-occurrence)");
  return h("span", { class: "track", "aria-hidden": "true" }, bar);
}
