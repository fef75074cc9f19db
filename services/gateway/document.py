"""The OpenAPI document: every path with what it takes, gives and may refuse. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.gateway.api import JSON, LEAST_SECONDS, NDJSON, TIMEOUT
from services.gateway.live import Live
from services.gateway.problems import CONTENT_TYPE, STATUS
from services.gateway.recommender import GETS, GROUPS, METHODS, SERVICE, Get, Method
from services.gateway.schemas import Json, Schemas, comments

# A request for each call that works on the generated sample, which `make demo` and the stack replay. Pure.

USER, PRODUCT = "A00245B5VXREUJ", "B00005TB7U"

# By the name of the call.
BODIES: Mapping[str, Mapping[str, Any]] = {
    "Recommend": {
        "user_id": USER,
        "session_product_ids": [PRODUCT],
        "wishes": {
            "count": 5,
            "filter": {
                "all_of": {
                    "filters": [
                        {"price": {"at_most": 250}},
                        {"not": {"brand": {"values": ["Fennick"]}}},
                    ]
                }
            },
            "boosts": [{"products": {"category": {"values": ["Video Games"]}}, "factor": 2}],
            "diversity": 0.3,
            "product_fields": "title,price",
            "explain": True,
        },
    },
    "BatchRecommend": {"user_ids": [USER, "somebody-new"], "wishes": {"count": 3}},
    "SimilarProducts": {"product_id": PRODUCT, "wishes": {"count": 5, "product_fields": "title"}},
    "Trending": {"category": "Video Games", "wishes": {"count": 5}},
    "RecordEvents": {"events": [{"kind": "EVENT_KIND_VIEW", "user_id": USER, "product_id": PRODUCT}]},
    "UpsertProducts": {
        "products": [
            {
                "product_id": "lamp-1",
                "title": "Desk lamp",
                "categories": ["Home", "Lighting"],
                "brand": "Tessel",
                "price": 34.5,
                "availability": "AVAILABILITY_IN_STOCK",
            }
        ]
    },
    "RemoveProducts": {"product_ids": ["lamp-1"]},
    "ListProducts": {"page_size": 10, "query": "game"},
    "GetProduct": {"product_id": PRODUCT},
    "GetUser": {"user_id": USER},
    "ListUsers": {"page_size": 10},
    "ListModels": {},
}

# By the name of the parameter.
PARAMETERS: Mapping[str, Any] = {
    "user_id": USER,
    "product_id": PRODUCT,
    "count": 5,
    "page_size": 10,
    "query": "game",
    "category": "Video Games",
    "product_fields": "title,price",
}


_ABOUT = """\
Every call of Freshet's gRPC service over HTTP, as POST with JSON; some as GET, too.

The JSON is that of Protocol Buffers with the names of the protos. In an answer every field is there but those that are
marked as absent when unknown; int64 and uint64 are strings. A request may leave out what it does not need; a field that
is not known, null, or a number where a string belongs is refused. Whoever serves pages on another origin needs
FRESHET_GATEWAY_ALLOWED_ORIGINS.

A request that fails is answered with problem details (RFC 9457): `field` names what is wrong, `code` is gRPC's own
status."""

_REFUSALS: Mapping[int, str] = {
    400: "A field, a parameter or a header is wrong; `field` says which.",
    403: "Called under a name or from a page that is not allowed.",
    404: "It is not known.",
    413: "The body is too large.",
    415: "The body is no JSON by its Content-Type.",
    429: "Too many calls at a time: ask again after Retry-After.",
    500: "A fault of the service.",
    501: "The recommender that runs does not know this call yet.",
    503: "The recommender, or the log behind it, can't be reached, or starts: ask again after Retry-After.",
    504: "There was no answer in time.",
}
_PROBLEM: Json = {
    "type": "object",
    "description": "Problem details, RFC 9457.",
    "properties": {
        "type": {"const": "about:blank", "description": "the status says it all"},
        "title": {"type": "string", "description": "the status in words"},
        "status": {"type": "integer", "description": "the status"},
        "detail": {"type": "string", "description": "what is wrong, and what to do"},
        "code": {
            "enum": sorted(code.name for code in STATUS),
            "description": "gRPC's status, of the recommender's refusal",
        },
        "field": {"type": "string", "description": "what is wrong in the request, as events[3].rating"},
    },
    "required": ["type", "title", "status", "detail"],
}


def document(files: FileDescriptorSet) -> Json:
    """The document, from the protos with their comments."""
    said = comments(files)
    schemas = Schemas(said)
    paths: dict[str, Json] = {}
    for method in (METHODS[name] for names in GROUPS.values() for name in names):
        paths.setdefault(method.path, {})["post"] = _post(method, said)
        for get in (get for get in GETS if get.method == method.name):
            paths.setdefault(get.path, {})["get"] = _get(get, said, schemas)
    paths |= _OWN
    live = Live.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freshet", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [],
        "tags": [{"name": name} for name in (*GROUPS, _OWN_GROUP)],
        "paths": paths,
        "components": {
            "schemas": {**schemas.all(), **live.pop("$defs"), "Live": live, "Problem": _PROBLEM},
            "responses": {str(status): _refusal(status) for status in _REFUSALS},
            "parameters": {
                "timeout": {
                    "name": TIMEOUT,
                    "in": "header",
                    "description": "Seconds that the answer may take; as many as the gateway allows, at most.",
                    "schema": {"type": "number", "minimum": LEAST_SECONDS},
                }
            },
        },
    }


def _post(method: Method, said: Mapping[str, str]) -> Json:
    name = method.request.DESCRIPTOR.name
    content = {"schema": _ref(name), "examples": {"sample": {"value": BODIES[method.name]}}}
    asked = {"required": True, "content": {JSON: content}}
    return {**_told(method, said), "operationId": _camel(method.name), "parameters": [_TIMEOUT], "requestBody": asked}


def _get(get: Get, said: Mapping[str, str], schemas: Schemas) -> Json:
    method = METHODS[get.method]
    parameters = []
    for name, field in {**{name: name for name in get.in_path}, **get.query}.items():
        schema, described = schemas.parameter(method.request.DESCRIPTOR, field)
        place = {"in": "path", "required": True} if name in get.in_path else {"in": "query"}
        if name in get.in_path:
            schema["minLength"] = 1
        example = {"example": PARAMETERS[name]} if name in PARAMETERS else {}
        parameters.append({"name": name, **place, "description": described, "schema": schema, **example})
    told = _told(method, said)
    if get.in_path:
        told["responses"]["404"] = _refused(404)
    del told["responses"]["413"], told["responses"]["415"]
    return {**told, "operationId": f"{_camel(get.method)}ByUrl", "parameters": [*parameters, _TIMEOUT]}


def _told(method: Method, said: Mapping[str, str]) -> Json:
    described = said[f"{SERVICE.full_name}.{method.name}"]
    given = "A line of JSON for each." if method.streams else "The answer."
    answer = {"schema": _ref(method.response.DESCRIPTOR.name)}
    refusals = [status for status in _REFUSALS if status != 404 or "NOT_FOUND" in described]
    return {
        "tags": [next(group for group, names in GROUPS.items() if method.name in names)],
        "summary": described.split(". ")[0].rstrip(".") + ".",
        "description": described,
        "responses": {
            "200": {"description": given, "content": {NDJSON if method.streams else JSON: answer}},
            **{str(status): _refused(status) for status in refusals},
        },
    }


def _refusal(status: int) -> Json:
    retry = (
        {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}} if status in (429, 503) else None
    )
    return {
        "description": _REFUSALS[status],
        **({"headers": retry} if retry else {}),
        "content": {CONTENT_TYPE: {"schema": _ref("Problem")}},
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _refused(status: int) -> Json:
    return {"$ref": f"#/components/responses/{status}"}


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


_TIMEOUT: Json = {"$ref": "#/components/parameters/timeout"}
_OWN_GROUP = "The system itself"
_OWN: dict[str, Json] = {
    "/v1/live": {
        "get": {
            "tags": [_OWN_GROUP],
            "operationId": "getLive",
            "summary": "How the policies fare live, each event judged before it is learned.",
            "responses": {
                "200": {
                    "description": "The figures, a second old at most.",
                    "content": {JSON: {"schema": _ref("Live")}},
                },
                **{str(status): _refused(status) for status in (403, 500, 503)},
            },
        }
    },
    "/healthz": {
        "get": {
            "tags": [_OWN_GROUP],
            "operationId": "getHealth",
            "summary": "Whether the recommender can do its work.",
            "responses": {
                "200": {
                    "description": "It can.",
                    "content": {
                        JSON: {
                            "schema": {
                                "type": "object",
                                "properties": {"status": {"const": "SERVING"}},
                                "required": ["status"],
                            }
                        }
                    },
                },
                **{str(status): _refused(status) for status in (403, 500, 503)},
            },
        }
    },
}


# Writes the OpenAPI document to standard output, from the protos as a file of descriptors with their comments.
#
# python -m services.gateway.document DESCRIPTORS > services/gateway/openapi.json
#
# `make protos` does it; the document is committed, and a test compares the two.

FILE = Path(__file__).parent / "openapi.json"


def text(descriptors: bytes) -> str:
    """The document as it is committed and served."""
    return json.dumps(document(FileDescriptorSet.FromString(descriptors)), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(Path(sys.argv[1]).read_bytes()))
