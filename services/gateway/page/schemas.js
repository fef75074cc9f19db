// JSON Schema as text.

import { h } from "./elements.js";

const NUMBER = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 6 });
const WIDEST = 2 ** 31; // the range of 32 bits is not worth a word
const NO_CONTROL = "^[^\\u0000-"; // start of the pattern of an id

/** A type; a message or an enum links to its description. */
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

/** The limits, each after a comma. */
export function limits(schema) {
  const bounds = [
    between(schema.minItems, schema.maxItems, " items"),
    between(schema.minLength, schema.maxLength, " characters"),
    between(schema.minimum, schema.maximum),
    "exclusiveMinimum" in schema && `above ${NUMBER.format(schema.exclusiveMinimum)}`,
    schema.default !== undefined && schema.default !== null && `default ${schema.default}`,
  ].filter(Boolean);
  return [
    bounds.map((bound) => `, ${bound}`),
    schema.pattern &&
      !schema.format &&
      (schema.pattern.startsWith(NO_CONTROL) ? ", no control characters" : [", matching ", h("code", {}, schema.pattern)]),
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

/** A schema's description, and that of each of its values where it is an enum: NAME: words; NAME: words. */
export function enumerated({ description = "", enum: names = [] }) {
  const [about, ...rest] = names.length ? description.split(new RegExp(`\\s*\\b(${names.join("|")}): `)) : [description];
  const words = Object.fromEntries(rest.flatMap((part, n) => (n % 2 ? [] : [[part, rest[n + 1].replace(/;$/, "")]])));
  return [about, names.map((name) => [name, words[name] ?? ""])];
}

/** A text with its `code` marked up. */
export const words = (text = "") => text.split("`").map((part, n) => (n % 2 ? h("code", {}, part) : part));
