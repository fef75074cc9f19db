// The published versions: which one serves, what each has learned, and how it scored.

import { listModels } from "./api.js";
import { empty, figure, fill, h, problem, s, waiting } from "./elements.js";
import { count, date, ratio, time, whole } from "./words.js";

const NDCG = "validation_ndcg_at_10";
const BASELINE = "validation_ndcg_at_10_popularity";

/** The view of `#/models`. */
export function models(root, _, query, signal) {
  const body = h("div", {}, waiting(8));
  fill(
    root,
    h(
      "div",
      { class: "title-row" },
      h("h1", { tabindex: "-1" }, "Models"),
      h("button", { type: "button", class: "button quiet", onclick: load }, "Refresh"),
    ),
    h(
      "p",
      { class: "lead" },
      "The newest version serves unless another one is pinned. Older versions are kept for rollback.",
    ),
    body,
  );
  load();

  async function load() {
    try {
      const answer = await listModels({}, signal);
      const versions = answer.versions ?? [];
      fill(
        body,
        versions.length
          ? [
              curve([...versions].reverse()),
              h(
                "ol",
                { class: "versions" },
                versions.map((version) => entry(version, answer)),
              ),
            ]
          : empty(
              "No versions yet",
              h(
                "p",
                {},
                "The trainer publishes the first version after FRESHET_TRAINER_PUBLISH_EVENTS events. Until then, popular products are recommended.",
              ),
            ),
      );
    } catch (error) {
      if (!signal.aborted) fill(body, problem(error, error.advice, load));
    }
  }
}

function entry(version, { serving_version: serving, pinned_version: pinned }) {
  const id = version.version_id;
  const metrics = version.metrics ?? {};
  return h(
    "li",
    { class: id === serving ? "panel version serving" : "panel version" },
    h(
      "div",
      { class: "section-row" },
      h("h2", {}, h("code", {}, id)),
      h(
        "p",
        {},
        id === serving && h("span", { class: "badge strong" }, "serving"),
        id === pinned && h("span", { class: "badge" }, "pinned"),
      ),
    ),
    h(
      "dl",
      { class: "figures" },
      figure("Policy", version.policy),
      figure("Learned from", count(version.applied_events, "event")),
      figure("Products", whole(version.products)),
      figure("Gradient steps", whole(version.steps)),
      figure("Exploration ε", (version.epsilon ?? 0).toFixed(2)),
      NDCG in metrics && figure("Validation NDCG@10", ratio(metrics[NDCG])),
      BASELINE in metrics && figure("Popularity baseline", ratio(metrics[BASELINE])),
    ),
    h(
      "details",
      {},
      h("summary", {}, "Details", h("span", { class: "unseen" }, ` of ${id}`)),
      h(
        "dl",
        { class: "plain" },
        figure("Created", time(version.created_ms ?? 0)),
        figure("Parent", version.parent ? h("code", {}, version.parent) : "none (first of its lineage)"),
        figure("Order", version.ordered ? "ordered across partitions" : "not ordered: a partition was silent"),
        figure(
          "Learned up to",
          (version.positions ?? []).map((at) =>
            h("div", {}, `partition ${at.partition ?? 0}: offset ${whole(at.offset)}`),
          ),
        ),
        figure("Manifest SHA-256", h("code", { class: "hash" }, version.manifest_sha256)),
        Object.entries(metrics)
          .sort()
          .map(([name, value]) => figure(h("code", {}, name), Number.isInteger(value) ? whole(value) : ratio(value))),
      ),
    ),
  );
}

/** Validation NDCG@10 of each version and of popularity on the same events; null for fewer than two versions. */
function curve(versions) {
  const points = versions.filter((version) => NDCG in (version.metrics ?? {}));
  if (points.length < 2) return null;
  // One unit is one pixel on the screen, so that its text is as large as all other text.
  const [width, height, left, bottom] = [Math.max(240, Math.min(1110, innerWidth - 80)), 190, 40, 24];
  const most = Math.max(...points.flatMap(({ metrics }) => [metrics[NDCG], metrics[BASELINE] ?? 0]), 1e-6);
  const events = points.map((version) => Number(version.applied_events ?? 0));
  const x = (n) => left + ((width - left - 8) * (events[n] - events[0])) / Math.max(1, events.at(-1) - events[0]);
  const y = (value) => 8 + (height - bottom - 8) * (1 - value / most);
  const line = (name, kind) => [
    s("polyline", {
      class: `line ${kind}`,
      points: points.map(({ metrics }, n) => `${x(n)},${y(metrics[name] ?? 0)}`).join(" "),
    }),
    points.map(({ metrics }, n) => s("circle", { class: `dot ${kind}`, cx: x(n), cy: y(metrics[name] ?? 0), r: 3 })),
  ];
  const best = points.at(-1).metrics;
  const words = `Validation NDCG@10 over ${points.length} versions, since ${date(points[0].created_ms)}: newest ${ratio(best[NDCG])}, popularity baseline ${ratio(best[BASELINE] ?? NaN)}.`;
  return h(
    "figure",
    { class: "panel curve" },
    h(
      "figcaption",
      {},
      "Validation NDCG@10 by events learned from ",
      h("span", { class: "key learned" }, "Model"),
      h("span", { class: "key trending" }, "Popularity baseline"),
    ),
    s(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words },
      [0, 0.5, 1].map((part) => [
        s("line", { class: "grid", x1: left, x2: width - 8, y1: y(most * part), y2: y(most * part) }),
        s("text", { x: left - 6, y: y(most * part) + 4, "text-anchor": "end" }, (most * part).toFixed(2)),
      ]),
      line(BASELINE, "trending"),
      line(NDCG, "learned"),
      s("text", { x: left, y: height - 4 }, whole(events[0])),
      s("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, `${whole(events.at(-1))} events`),
    ),
  );
}
