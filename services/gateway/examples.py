"""A request for each call that works on the generated sample, which `make demo` and the stack replay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
