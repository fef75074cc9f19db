"""What `freshet graph` reads: events in the order of a replay, and what metadata says of products."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from replay.datasets import Account
from replay.formats import recognise, recognise_products
from replay.lines import Lines
from replay.mapping import load_mapping
from replay.ordered_copy import Selection
from replay.ordering import ordered_copy
from replay.records import parse_record
from replay.related import related_of
from replay.settings import ReplaySettings
from replay.state_folder import alone
from services.console.evaluate_reading import SHOW_EVERY, Shown
from services.console.terminal import Terminal
from shared.graph.listing import Listing
from shared.graph.product_graph import GraphBuilder
from shared.settings import load


def read_graph(
    file: Path,
    metadata: Path | None,
    mapping: Path | None,
    selection: Selection,
    environ: Mapping[str, str],
    screen: Terminal,
) -> tuple[GraphBuilder, dict[str, Listing]]:
    """What there is to make a graph of; titles are the metadata's or, without, those of a CSV that has them.

    Raises:
        Unusable: a file can't be used, or the selection leaves nothing.
    """
    settings = load(ReplaySettings, environ)
    named = None if mapping is None else load_mapping(mapping)
    listings: dict[str, Listing] = {}
    if metadata is not None:
        listings = read_listings(metadata, None, settings, screen)
    elif named is not None or recognise(file, None, settings).mapping is not None:
        listings = read_listings(file, mapping, settings, screen)
    with alone(settings.state_dir):
        copy = ordered_copy(file, metadata, settings, Shown(screen), named)
    builder = GraphBuilder()
    try:
        extent = copy.extent(selection)
        for number, ordered in enumerate(copy.events(selection, extent)):
            event = ordered.event
            builder.add(event.user_id, event.product_id, event.kind)
            if number % SHOW_EVERY == 0:
                screen.status(f"  counting pairs: {number / extent.events:4.0%}")
    finally:
        copy.close()
    screen.clear()
    return builder, listings


def read_listings(file: Path, mapping: Path | None, settings: ReplaySettings, screen: Terminal) -> dict[str, Listing]:
    """What a file says of products; of several lines about one the last counts.

    Raises:
        Unusable: the file can't be used.
    """
    found = recognise_products(file, None if mapping is None else load_mapping(mapping), settings)
    account = Account()

    def look() -> None:
        screen.status(f"  reading {file.name}: {lines.done_ratio:4.0%}, {account.lines:,} lines")

    lines = Lines(file, settings.most_line_bytes, look)
    listings: dict[str, Listing] = {}
    for _, content, product in found.read(lines, account, reject=lambda line, error: None):  # noqa: ARG005
        also_bought, also_viewed = related_of(parse_record(content)) if found.mapping is None else ((), ())
        listings[product.product_id] = Listing(
            title=product.title,
            brand=product.brand,
            categories=tuple(product.categories),
            also_bought=also_bought,
            also_viewed=also_viewed,
        )
    screen.clear()
    account.require_use(file, found.name)
    return listings
