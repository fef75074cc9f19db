"""How to call what runs: a grpcurl line, a Python snippet and a curl line that work as printed. Pure."""

from __future__ import annotations

import json
import shlex
from urllib.parse import quote

_SNIPPET = """\
{python} - <<'EOF'
import freshet

with freshet.Client({address}) as shop:
    shown = shop.recommend({user}, count=5)
for place, product in enumerate(shown, start=1):
    print(place, product.product_id, round(product.score, 3))
print("answered by", shown.model_version or "trending")
EOF"""


def grpcurl(address: str, user_id: str) -> str:
    """The line for https://github.com/fullstorydev/grpcurl; reflection tells it the protos."""
    request = shlex.quote(json.dumps({"user_id": user_id, "count": 5}))
    return f"grpcurl -plaintext -d {request} \\\n  {address} freshet.v1.RecommenderService/Recommend"


def curl(page_url: str, user_id: str) -> str:
    """The same call over HTTP."""
    url = f"{page_url}v1/users/{quote(user_id, safe='')}/recommendations?count=5"
    return f"curl {shlex.quote(url)}"


def snippet(python: str, address: str, user_id: str) -> str:
    """The same call for a shell with the project's Python."""
    return _SNIPPET.format(python=shlex.quote(python), address=json.dumps(address), user=json.dumps(user_id))
