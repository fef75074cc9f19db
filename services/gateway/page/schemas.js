// JSON Schema in words. Pure but for the elements.

import { h } from "./elements.js";

const NUMBER = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 6 });
const WIDEST = 2 ** 31; // what any 32 bits hold is no limit worth a word
const NO_CONTROL = "^[^\\u0000-"; // how the pattern of an id begins

/** A type; a message or an enum is a link to where it is described. */
export function type(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return h("a", { href: `#${name}` }, name);
  }
  if (schema.anyOf) return schema.anyOf.flatMap((one, n) => [n > 0 && " or ", type(one)]);
  if (schema.enum) return schema.enum.join(", ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return ["list of ", type(schema.items)];
  if (schema.additionalProperties) return ["object of ", type(schema.additionalProperties)];
  return [[schema.type].flat().join(" or "), schema.format && ` (${schema.format})`];
}

/** What bounds it, each part after a comma. */
export function limits(schema) {
  const bounds = [
    between(schema.minItems, schema.maxItems, " items"),
    between(schema.minLength, schema.maxLength, " characters"),
    between(schema.minimum, schema.maximum),
    "exclusiveMinimum" in schema && `above ${NUMBER.format(schema.exclusiveMinimum)}`,
    schema.default !== undefined && schema.default !== null && `${schema.default} unless given`,
  ].filter(Boolean);
  return [
    bounds.map((bound) => `, ${bound}`),
    schema.pattern &&
      !schema.format &&
      (schema.pattern.startsWith(NO_CONTROL) ? ", no control characters" : [", as ", h("code", {}, schema.pattern)]),
    schema.items &&
      !schema.items.$ref &&
      limits(schema.items).flat(Infinity).some(Boolean) && ["; each", limits(schema.items)],
  ];
}

function between(least, most, unit = "") {
  const [from, to] = [least, most].map((one) => (Math.abs(one) < WIDEST ? NUMBER.format(one) : ""));
  if (from && to) return `${from} to ${to}${unit}`;
  return from ? `at least ${from}${unit}` : to && `at most ${to}${unit}`;
}

/** What is said of a schema, and of each of its values where it is an enum: NAME: words; NAME: words. */
export function enumerated({ description = "", enum: names = [] }) {
  const [said, ...rest] = names.length ? description.split(new RegExp(`\\s*\\b(${names.join("|")}): `)) : [description];
  const words = Object.fromEntries(rest.flatMap((part, n) => (n % 2 ? [] : [[part, rest[n + 1].replace(/;$/, "")]])));
  return [said, names.map((name) => [name, words[name] ?? ""])];
}

/** A text with its `code` as such. */
export const words = (text = "") => text.split("`").map((part, n) => (n % 2 ? h("code", {}, part) : part));
