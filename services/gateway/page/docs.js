// The API as /openapi.json describes it: every call with its fields, limits, an example and errors.

import { openapi } from "./api.js";
import { announce, fill, h, problem, waiting } from "./elements.js";
import { enumerated, limits, type, words } from "./schemas.js";

const main = document.getElementById("content");

async function show() {
  const body = h("div", {}, waiting(8));
  fill(main, h("div", { class: "view" }, h("h1", {}, "API"), body));
  try {
    fill(body, whole(await openapi()));
  } catch (error) {
    return fill(body, problem(error, error.advice, show));
  }
  document.getElementById(location.hash.slice(1))?.scrollIntoView(); // it was not there when the browser looked
}

function whole(api) {
  const calls = Object.entries(api.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, call]) => ({ path, verb: verb.toUpperCase(), ...call })),
  );
  const groups = api.tags.map(({ name }) => [name, calls.filter((call) => call.tags.includes(name))]);
  const messages = Object.entries(api.components.schemas).sort();
  return h(
    "div",
    { class: "docs" },
    h(
      "nav",
      { class: "contents", "aria-label": "Calls" },
      groups.map(([name, within]) => [
        h("h2", {}, name),
        h(
          "ul",
          {},
          within.map((call) => h("li", {}, h("a", { href: `#${call.operationId}` }, line(call)))),
        ),
      ]),
      h("h2", {}, h("a", { href: "#messages" }, "Messages")),
    ),
    h(
      "div",
      { class: "calls" },
      api.info.description.split("\n\n").map((text) => h("p", { class: "lead" }, words(text))),
      h("p", {}, "For tools: ", h("a", { href: "openapi.json" }, "openapi.json"), "."),
      groups.map(([name, within]) =>
        h(
          "section",
          {},
          h("h2", {}, name),
          within.map((call) => described(api, call)),
        ),
      ),
      h("section", {}, h("h2", { id: "messages" }, "Messages"), messages.map(message)),
    ),
  );
}

const line = ({ verb, path }) => [
  h("span", { class: verb === "GET" ? "badge verb" : "badge strong verb" }, verb),
  " ",
  h("code", {}, path.replaceAll("/", "/\u200b").replace("\u200b", "")), // a line may break after a slash
];

function described(api, call) {
  const resolve = (part) =>
    part.$ref
      ? part.$ref
          .split("/")
          .slice(1)
          .reduce((at, step) => at[step], api)
      : part;
  const parameters = (call.parameters ?? []).map(resolve);
  const body = call.requestBody?.content["application/json"];
  const refusals = Object.entries(call.responses).filter(([status]) => status !== "200");
  const [kind, { schema }] = Object.entries(call.responses[200].content)[0];
  return h(
    "article",
    { class: "panel call", id: call.operationId, "aria-labelledby": `${call.operationId}-name` },
    h("h3", { id: `${call.operationId}-name` }, line(call)),
    h("p", {}, words(call.description ?? call.summary)),
    parameters.length > 0 && [
      h("h4", {}, "Parameters"),
      h(
        "dl",
        { class: "fields" },
        parameters.map((one) => field(one.name, one.schema, one.description, one.in, one.required)),
      ),
    ],
    body && [h("h4", {}, "Request body: ", type(body.schema)), fields(resolve(body.schema))],
    h("h4", {}, "Example"),
    example(call, parameters, body),
    h("h4", {}, "Response 200: ", type(schema)),
    h("p", {}, call.responses[200].description, " ", h("code", {}, kind)),
    schema.properties && fields(schema),
    h(
      "details",
      {},
      h("summary", {}, `Errors: ${refusals.map(([status]) => status).join(", ")}`),
      h(
        "dl",
        { class: "fields" },
        refusals.map(([status, part]) => h("div", {}, h("dt", {}, status), h("dd", {}, resolve(part).description))),
      ),
    ),
  );
}

function example({ verb, path, operationId }, parameters, body) {
  const of = (place) => parameters.filter((one) => one.in === place && one.example !== undefined);
  const filled = of("path").reduce((at, one) => at.replace(`{${one.name}}`, encodeURIComponent(one.example)), path);
  const query = new URLSearchParams(of("query").map((one) => [one.name, one.example]));
  const url = `${location.origin}${filled}${query.size ? `?${query}` : ""}`;
  const value = body && Object.values(body.examples)[0].value;
  const data = body && JSON.stringify(value, null, 1).replaceAll("'", "'\\''");
  const text = body ? `curl -H 'Content-Type: application/json' '${url}' -d '${data}'` : `curl '${url}'`;
  return h(
    "div",
    { class: "example" },
    h("pre", {}, h("code", {}, text)),
    navigator.clipboard && // not where the page comes over plain HTTP from another machine
      h(
        "button",
        {
          type: "button",
          class: "button quiet",
          onclick: () => copy(text),
          "aria-label": `Copy the example of ${operationId}`,
        },
        "Copy",
      ),
  );
}

async function copy(text) {
  await navigator.clipboard.writeText(text);
  announce("Copied.");
}

const field = (name, schema, description, place, required) =>
  h(
    "div",
    {},
    h("dt", {}, h("code", {}, name), required && h("span", { class: "badge" }, "required")),
    h(
      "dd",
      {},
      h("p", { class: "type" }, place && `${place}, `, type(schema), limits(schema)),
      h("p", {}, words(description)),
    ),
  );

function fields(schema) {
  const rows = Object.entries(schema.properties ?? {});
  if (!rows.length) return h("p", { class: "type" }, "No fields.");
  return h(
    "dl",
    { class: "fields" },
    rows.map(([name, one]) => field(name, one, one.description, "", schema.required?.includes(name))),
  );
}

function message([name, schema]) {
  const [description, values] = enumerated(schema);
  return h(
    "article",
    { class: "panel call", id: name, "aria-labelledby": `${name}-name` },
    h("h3", { id: `${name}-name` }, h("code", {}, name)),
    description && h("p", {}, words(description)),
    schema.maxProperties === 1 && h("p", { class: "type" }, "Set exactly one."),
    values.length
      ? h(
          "dl",
          { class: "fields" },
          values.map(([one, words]) => h("div", {}, h("dt", {}, h("code", {}, one)), h("dd", {}, words))),
        )
      : fields(schema),
  );
}

show();
