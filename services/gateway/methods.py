"""Which paths there are: one for each call of the proto, made from its descriptor, and the plain GET forms. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from shared.pb.freshet.v1 import recommender_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
PREFIX = "/v1"


@dataclass(frozen=True, slots=True)
class Method:
    """One call of the proto."""

    name: str
    rpc: str  # as gRPC names it
    path: str  # of its POST
    request: type[Message]
    response: type[Message]
    streams: bool  # many responses to one request


def _method(found: MethodDescriptor) -> Method:
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", found.name).lower()
    return Method(
        name=found.name,
        rpc=f"/{SERVICE.full_name}/{found.name}",
        path=f"{PREFIX}/{kebab}",
        request=GetMessageClass(found.input_type),
        response=GetMessageClass(found.output_type),
        streams=found.server_streaming,
    )


METHODS: Mapping[str, Method] = {found.name: _method(found) for found in SERVICE.methods}


@dataclass(frozen=True, slots=True)
class Get:
    """A call that is asked for by a URL alone: what is in braces in the path is a field of the request."""

    path: str
    method: str
    query: Mapping[str, str] = field(default_factory=dict)  # parameter → field of the request, dotted

    @property
    def in_path(self) -> list[str]:
        """The fields that the path holds."""
        return re.findall(r"\{(\w+)\}", self.path)


_WISHES = {name: f"wishes.{name}" for name in ("count", "diversity", "minimum_score", "product_fields", "explain")}
_PAGE = {name: name for name in ("page_size", "page_token")}

GETS = (
    Get(f"{PREFIX}/users", "ListUsers", _PAGE),
    Get(f"{PREFIX}/users/{{user_id}}", "GetUser"),
    Get(f"{PREFIX}/users/{{user_id}}/recommendations", "Recommend", _WISHES),
    Get(f"{PREFIX}/products", "ListProducts", {**_PAGE, "query": "query"}),
    Get(f"{PREFIX}/products/{{product_id}}", "GetProduct"),
    Get(f"{PREFIX}/products/{{product_id}}/similar", "SimilarProducts", _WISHES),
    Get(f"{PREFIX}/trending", "Trending", {"category": "category", **_WISHES}),
    Get(f"{PREFIX}/models", "ListModels"),
)

# How the document orders the calls.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Recommendations": ("Recommend", "BatchRecommend", "SimilarProducts", "Trending"),
    "Events and products": ("RecordEvents", "UpsertProducts", "RemoveProducts"),
    "What is known": ("ListProducts", "GetProduct", "ListUsers", "GetUser", "ListModels"),
}
