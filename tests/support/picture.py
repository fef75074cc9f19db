"""Takes the picture of the page that README.md and docs/api.md show.

    python -m tests.support.picture URL

URL is the page of a system that holds the demo's sample: `freshet demo --keep` prints it. The picture goes to
services/gateway/page.png; two clicks of a regular user and a review are recorded for it.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.support.browser import Watched, chromium
from tests.support.processes import ROOT

PICTURE = ROOT / "services/gateway/page.png"
WIDTH, HEIGHT, SCALE = 1280, 820, 2  # CSS pixels, and image pixels in each
EVENTS = range(40, 60)  # of the user shown


def main(url: str, picture: Path = PICTURE) -> None:
    """Record what a user does, and take a picture of what came of it."""
    url = url.rstrip("/")
    with urllib.request.urlopen(f"{url}/v1/users?page_size=500", timeout=20) as answer:  # noqa: S310
        users: list[dict[str, Any]] = json.load(answer)["users"]
    user = max((one for one in users if int(one["events"]) in EVENTS), key=lambda one: int(one["events"]))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
        watched = Watched(page, url)
        watched.open(f"#/user/{user['user_id']}")
        card = page.locator(".card").first
        for _ in range(2):
            card.get_by_role("button", name="Click").click()
            watched.settle()
        card.get_by_role("button", name="Review").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("radio", name="5").check()
        dialog.get_by_label("Text").fill("Excellent quality, it works perfectly and I love it.")
        dialog.get_by_role("button", name="Send").click()
        expect(dialog).to_have_count(0)
        watched.settle()
        page.screenshot(path=picture)


if __name__ == "__main__":
    main(sys.argv[1])
