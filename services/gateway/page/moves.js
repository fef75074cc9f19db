// How ranks change from one list to the next. Pure.

/** How each product of `after` moved ({kind: "new" | "up" | "down" | "same", by}), and which products left. */
export function moves(before, after) {
  const places = new Map(before.map((product, place) => [product, place]));
  const marks = new Map(after.map((product, place) => [product, move(places.get(product), place)]));
  return { marks, left: before.filter((product) => !marks.has(product)) };
}

function move(before, after) {
  if (before === undefined) return { kind: "new", by: 0 };
  if (before === after) return { kind: "same", by: 0 };
  return before > after ? { kind: "up", by: before - after } : { kind: "down", by: after - before };
}

/** "3 new, 2 up, 4 down", or "no changes". */
export function summary({ marks, left }) {
  const kinds = [...marks.values()].map((mark) => mark.kind);
  const parts = ["new", "up", "down"]
    .map((kind) => [kinds.filter((one) => one === kind).length, kind])
    .filter(([many]) => many)
    .map(([many, kind]) => `${many} ${kind}`);
  if (left.length) parts.push(`${left.length} removed`);
  return parts.length ? parts.join(", ") : "no changes";
}
