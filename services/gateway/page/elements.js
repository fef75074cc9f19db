// Elements from data. Text only ever becomes text nodes: what a log or a catalogue holds is never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `on…` properties are listeners, `class` and others attributes; null, undefined and false are left out. */
export function h(tag, properties = {}, ...children) {
  return made(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return made(document.createElementNS(SVG, tag), properties, children);
}

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replace an element's children. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Text for screen readers only. */
export function unseen(text) {
  return h("span", { class: "unseen" }, text);
}

/** Announce a change to screen readers, even where the text is the same as before. */
export function announce(text) {
  const region = document.getElementById("status");
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}

/** A box for a failure: what went wrong, what to do, and a button that tries again. */
export function problem(error, advice, again) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", { class: "notice-title" }, error.title || "Something went wrong"),
    error.message && h("p", {}, error.message),
    advice && h("p", {}, advice),
    again && h("p", {}, h("button", { type: "button", class: "button", onclick: again }, "Try again")),
  );
}

/** A box where there is nothing to show yet, with what to do next. */
export function empty(title, ...children) {
  return h("div", { class: "notice" }, h("p", { class: "notice-title" }, title), children);
}

/** A figure with its name, for a list of them. */
export function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

/** A placeholder while a response is loading. */
export function waiting(lines = 6) {
  return h(
    "div",
    { class: "waiting", "aria-hidden": "true" },
    Array.from({ length: lines }, () => h("span")),
  );
}
