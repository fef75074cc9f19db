"""The OpenAPI document: every path with its parameters, responses and errors, and an example of each call.

    python -m services.gateway.document DESCRIPTORS > services/gateway/openapi.json

`make protos` writes it, from the protos as a file of descriptors with their comments. The document is committed, and a
test compares the two. The examples work on the generated sample, which `make demo` and the stack replay.
"""

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

FILE = Path(__file__).parent / "openapi.json"
USER, PRODUCT = "A00245B5VXREUJ", "B00005TB7U"
# Example requests, by call.
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
# Example parameters, by name.
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
Every call of Freshet's gRPC service over HTTP, as POST with JSON; some also as GET.

The JSON is that of Protocol Buffers, with the field names of the protos. A response holds every field, except those
marked as absent when unknown; int64 and uint64 are strings. A request may omit fields. Unknown fields, null, and
numbers in place of strings are refused. To call from pages of another origin, set FRESHET_GATEWAY_ALLOWED_ORIGINS.

Errors are problem details (RFC 9457): `field` names the wrong field, `code` is the gRPC status."""
_REFUSALS: Mapping[int, str] = {
    400: "A field, a parameter or a header is invalid; `field` says which.",
    403: "The host name or the origin is not allowed.",
    404: "Not found.",
    413: "The body is too large.",
    415: "The Content-Type is not JSON.",
    429: "Too many requests; retry after Retry-After.",
    500: "Internal error.",
    501: "The running recommender does not support this call.",
    503: "The recommender, or the log behind it, is starting or can't be reached; retry after Retry-After.",
    504: "The request timed out.",
}
_PROBLEM: Json = {
    "type": "object",
    "description": "Problem details, RFC 9457.",
    "properties": {
        "type": {"const": "about:blank", "description": "always about:blank; see status"},
        "title": {"type": "string", "description": "the name of the status"},
        "status": {"type": "integer", "description": "the HTTP status"},
        "detail": {"type": "string", "description": "what is wrong, and what to do"},
        "code": {
            "enum": sorted(code.name for code in STATUS),
            "description": "the gRPC status, where the recommender refused the call",
        },
        "field": {"type": "string", "description": "the invalid field of the request, such as events[3].rating"},
    },
    "required": ["type", "title", "status", "detail"],
}
_SYSTEM = "System"
_TIMEOUT: Json = {"$ref": "#/components/parameters/timeout"}


def text(descriptors: bytes) -> str:
    """The document as it is committed and served."""
    return json.dumps(document(FileDescriptorSet.FromString(descriptors)), indent=1, ensure_ascii=False) + "\n"


def document(files: FileDescriptorSet) -> Json:
    """The document, from the protos and their comments."""
    descriptions = comments(files)
    schemas = Schemas(descriptions)
    paths: dict[str, Json] = {}
    for method in (METHODS[name] for names in GROUPS.values() for name in names):
        paths.setdefault(method.path, {})["post"] = _post(method, descriptions)
        for get in (get for get in GETS if get.method == method.name):
            paths.setdefault(get.path, {})["get"] = _get(get, descriptions, schemas)
    paths |= _SYSTEM_PATHS
    live = Live.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freshet", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [],
        "tags": [{"name": name} for name in (*GROUPS, _SYSTEM)],
        "paths": paths,
        "components": {
            "schemas": {**schemas.all(), **live.pop("$defs"), "Live": live, "Problem": _PROBLEM},
            "responses": {str(status): _refusal(status) for status in _REFUSALS},
            "parameters": {
                "timeout": {
                    "name": TIMEOUT,
                    "in": "header",
                    "description": "Seconds until the request times out, up to the gateway's limit.",
                    "schema": {"type": "number", "minimum": LEAST_SECONDS},
                }
            },
        },
    }


def _post(method: Method, descriptions: Mapping[str, str]) -> Json:
    name = method.request.DESCRIPTOR.name
    content = {"schema": _ref(name), "examples": {"sample": {"value": BODIES[method.name]}}}
    body = {"required": True, "content": {JSON: content}}
    return {
        **_operation(method, descriptions),
        "operationId": _camel(method.name),
        "parameters": [_TIMEOUT],
        "requestBody": body,
    }


def _get(get: Get, descriptions: Mapping[str, str], schemas: Schemas) -> Json:
    method = METHODS[get.method]
    parameters = []
    for name, field in {**{name: name for name in get.in_path}, **get.query}.items():
        schema, description = schemas.parameter(method.request.DESCRIPTOR, field)
        place = {"in": "path", "required": True} if name in get.in_path else {"in": "query"}
        if name in get.in_path:
            schema["minLength"] = 1
        example = {"example": PARAMETERS[name]} if name in PARAMETERS else {}
        parameters.append({"name": name, **place, "description": description, "schema": schema, **example})
    operation = _operation(method, descriptions)
    if get.in_path:
        operation["responses"]["404"] = _refusal_ref(404)
    del operation["responses"]["413"], operation["responses"]["415"]
    return {**operation, "operationId": f"{_camel(get.method)}ByUrl", "parameters": [*parameters, _TIMEOUT]}


def _operation(method: Method, descriptions: Mapping[str, str]) -> Json:
    description = descriptions[f"{SERVICE.full_name}.{method.name}"]
    response = "One line of JSON for each response." if method.streams else "The response."
    answer = {"schema": _ref(method.response.DESCRIPTOR.name)}
    refusals = [status for status in _REFUSALS if status != 404 or "NOT_FOUND" in description]
    return {
        "tags": [next(group for group, names in GROUPS.items() if method.name in names)],
        "summary": description.split(". ")[0].rstrip(".") + ".",
        "description": description,
        "responses": {
            "200": {"description": response, "content": {NDJSON if method.streams else JSON: answer}},
            **{str(status): _refusal_ref(status) for status in refusals},
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


def _refusal_ref(status: int) -> Json:
    return {"$ref": f"#/components/responses/{status}"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


_SYSTEM_PATHS: dict[str, Json] = {
    "/v1/live": {
        "get": {
            "tags": [_SYSTEM],
            "operationId": "getLive",
            "summary": "The live figures of the policies, evaluated on each event before it is learned.",
            "responses": {
                "200": {
                    "description": "The figures, at most a second old.",
                    "content": {JSON: {"schema": _ref("Live")}},
                },
                **{str(status): _refusal_ref(status) for status in (403, 500, 503)},
            },
        }
    },
    "/healthz": {
        "get": {
            "tags": [_SYSTEM],
            "operationId": "getHealth",
            "summary": "Whether the recommender serves.",
            "responses": {
                "200": {
                    "description": "It serves.",
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
                **{str(status): _refusal_ref(status) for status in (403, 500, 503)},
            },
        }
    },
}


if __name__ == "__main__":
    sys.stdout.write(text(Path(sys.argv[1]).read_bytes()))
