"""Where published datasets lie."""

from __future__ import annotations

import pytest

from replay.fetching.publishers import EDITIONS, PUBLICATIONS, source_of
from shared.process.errors import Unusable


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        (
            ("musical instruments",),
            "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_Musical_Instruments_5.json.gz",
        ),
        (
            ("Musical-Instruments", "2014", "metadata"),
            "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_Musical_Instruments.json.gz",
        ),
        (
            ("Gift_Cards",),
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/Gift_Cards_5.json.gz",
        ),
        (
            ("amazon fashion", "2018", "all"),
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFiles/AMAZON_FASHION.json.gz",
        ),
        (
            ("amazon fashion", "2023"),
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/Amazon_Fashion.jsonl.gz",
        ),
        (
            ("Toys & Games", "2023", "5-core"),
            "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/benchmark/5core/rating_only/Toys_and_Games.csv.gz",
        ),
        (("finefoods",), "https://snap.stanford.edu/data/finefoods.txt.gz"),
        (("Online Retail",), "https://archive.ics.uci.edu/static/public/352/data.csv"),
    ],
)
def test_where_a_dataset_lies(wanted: tuple[str, ...], address: str) -> None:
    assert source_of(*wanted).url == address


def test_a_mirror_takes_the_place_of_the_publishers_base_alone() -> None:
    source = source_of("Gift_Cards", "2018", "metadata", mirror="https://mirror.example/amazon/")
    assert source.url == "https://mirror.example/amazon/metaFiles2/meta_Gift_Cards.json.gz"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("Musical_Instrument",), "did you mean Musical_Instruments"),
        (("Baby", "2018"), "2018 has no Baby; those of 2014 have it"),
        (("nothing of the kind",), "freshet data list"),
        (("movies", None, "metadata"), "movies has no metadata file; it has all"),
    ],
)
def test_what_is_not_there_is_told_with_what_is_near(wanted: tuple[str | None, ...], message: str) -> None:
    with pytest.raises(Unusable, match=message):
        source_of(*wanted)  # type: ignore[arg-type]


def test_every_address_is_one_of_the_web_with_tls_and_has_a_page() -> None:
    for key, publication in PUBLICATIONS.items():
        assert publication.page.startswith("https://")
        assert all(mirror.startswith("https://") for mirror in publication.mirrors)
        for name in publication.names:
            edition = key if key in EDITIONS else None
            for what in publication.files:
                assert source_of(name, edition, what).url.startswith(f"{publication.base}/")
