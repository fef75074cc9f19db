"""Where the datasets lie that Freshet reads, at those who publish them.

The addresses are those that the publishers' own pages link to; `page` names the page. They change now and then: an
address of your own goes in with `freshet data fetch --url`, another host with the same folders with `--mirror`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.process.errors import Unusable

FIVE_CORE, ALL, RATINGS, METADATA = "5-core", "all", "ratings", "metadata"

WHAT = {
    FIVE_CORE: "users and products with at least five reviews each",
    ALL: "every review",
    RATINGS: "stars without texts, CSV",
    METADATA: "the products: titles, categories, prices",
}


@dataclass(frozen=True, slots=True)
class Publication:
    """Files of one kind in one place.

    Attributes:
        page: tells of them, for people.
        base: what all addresses begin with.
        files: what → where below the base, `{}` for the name; the first is meant where nothing is asked for.
        names: name → how many reviews or sales all of it has.
        mirrors: other places with the same files.
        saved: what a file is called here where its address says nothing.
    """

    title: str
    page: str
    base: str
    files: Mapping[str, str]
    names: Mapping[str, int]
    mirrors: tuple[str, ...] = ()
    saved: str = ""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file at its publisher."""

    edition: str
    what: str
    url: str
    saved: str = ""
    publication: Publication | None = field(default=None, repr=False)


_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"
_UCSD_MIRROR = "https://datarepo.eng.ucsd.edu/mcauley_group/data"

PUBLICATIONS: dict[str, Publication] = {
    "2014": Publication(
        title="Amazon reviews to July 2014",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        base="https://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
        files={
            FIVE_CORE: "reviews_{}_5.json.gz",
            ALL: "reviews_{}.json.gz",
            RATINGS: "ratings_{}.csv",
            METADATA: "meta_{}.json.gz",
        },
        names={
            "Amazon_Instant_Video": 583_933, "Apps_for_Android": 2_638_172, "Automotive": 1_373_768, "Baby": 915_446,
            "Beauty": 2_023_070, "Books": 22_507_155, "CDs_and_Vinyl": 3_749_004,
            "Cell_Phones_and_Accessories": 3_447_249, "Clothing_Shoes_and_Jewelry": 5_748_920,
            "Digital_Music": 836_006, "Electronics": 7_824_482, "Grocery_and_Gourmet_Food": 1_297_156,
            "Health_and_Personal_Care": 2_982_326, "Home_and_Kitchen": 4_253_926, "Kindle_Store": 3_205_467,
            "Movies_and_TV": 4_607_047, "Musical_Instruments": 500_176, "Office_Products": 1_243_186,
            "Patio_Lawn_and_Garden": 993_490, "Pet_Supplies": 1_235_316, "Sports_and_Outdoors": 3_268_695,
            "Tools_and_Home_Improvement": 1_926_047, "Toys_and_Games": 2_252_771, "Video_Games": 1_324_753,
        },
    ),
    "2018": Publication(
        title="Amazon reviews to October 2018",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        base=f"{_UCSD}/amazon_v2",
        mirrors=(f"{_UCSD_MIRROR}/amazon_v2",),
        files={
            FIVE_CORE: "categoryFilesSmall/{}_5.json.gz",
            ALL: "categoryFiles/{}.json.gz",
            RATINGS: "categoryFilesSmall/{}.csv",
            METADATA: "metaFiles2/meta_{}.json.gz",
        },
        names={
            "All_Beauty": 371_345, "AMAZON_FASHION": 883_636, "Appliances": 602_777,
            "Arts_Crafts_and_Sewing": 2_875_917, "Automotive": 7_990_166, "Books": 51_311_621,
            "CDs_and_Vinyl": 4_543_369, "Cell_Phones_and_Accessories": 10_063_255,
            "Clothing_Shoes_and_Jewelry": 32_292_099, "Digital_Music": 1_584_082, "Electronics": 20_994_353,
            "Gift_Cards": 147_194, "Grocery_and_Gourmet_Food": 5_074_160, "Home_and_Kitchen": 21_928_568,
            "Industrial_and_Scientific": 1_758_333, "Kindle_Store": 5_722_988, "Luxury_Beauty": 574_628,
            "Magazine_Subscriptions": 89_689, "Movies_and_TV": 8_765_568, "Musical_Instruments": 1_512_530,
            "Office_Products": 5_581_313, "Patio_Lawn_and_Garden": 5_236_058, "Pet_Supplies": 6_542_483,
            "Prime_Pantry": 471_614, "Software": 459_436, "Sports_and_Outdoors": 12_980_837,
            "Tools_and_Home_Improvement": 9_015_203, "Toys_and_Games": 8_201_231, "Video_Games": 2_565_349,
        },
    ),
    "2023": Publication(
        title="Amazon reviews to September 2023; the 5-core holds ratings alone",
        page="https://amazon-reviews-2023.github.io/",
        base=f"{_UCSD}/amazon_2023",
        mirrors=(f"{_UCSD_MIRROR}/amazon_2023",),
        files={
            ALL: "raw/review_categories/{}.jsonl.gz",
            FIVE_CORE: "benchmark/5core/rating_only/{}.csv.gz",
            RATINGS: "benchmark/0core/rating_only/{}.csv.gz",
            METADATA: "raw/meta_categories/meta_{}.jsonl.gz",
        },
        names={
            "All_Beauty": 701_500, "Amazon_Fashion": 2_500_000, "Appliances": 2_100_000,
            "Arts_Crafts_and_Sewing": 9_000_000, "Automotive": 20_000_000, "Baby_Products": 6_000_000,
            "Beauty_and_Personal_Care": 23_900_000, "Books": 29_500_000, "CDs_and_Vinyl": 4_800_000,
            "Cell_Phones_and_Accessories": 20_800_000, "Clothing_Shoes_and_Jewelry": 66_000_000,
            "Digital_Music": 130_400, "Electronics": 43_900_000, "Gift_Cards": 152_400,
            "Grocery_and_Gourmet_Food": 14_300_000, "Handmade_Products": 664_200, "Health_and_Household": 25_600_000,
            "Health_and_Personal_Care": 494_100, "Home_and_Kitchen": 67_400_000,
            "Industrial_and_Scientific": 5_200_000, "Kindle_Store": 25_600_000, "Magazine_Subscriptions": 71_500,
            "Movies_and_TV": 17_300_000, "Musical_Instruments": 3_000_000, "Office_Products": 12_800_000,
            "Patio_Lawn_and_Garden": 16_500_000, "Pet_Supplies": 16_800_000, "Software": 4_900_000,
            "Sports_and_Outdoors": 19_600_000, "Subscription_Boxes": 16_200, "Tools_and_Home_Improvement": 27_000_000,
            "Toys_and_Games": 16_300_000, "Unknown": 63_800_000, "Video_Games": 4_600_000,
        },
    ),
    "finefoods": Publication(
        title="Amazon fine foods to October 2012, in blocks",
        page="https://snap.stanford.edu/data/web-FineFoods.html",
        base="https://snap.stanford.edu/data",
        files={ALL: "{}.txt.gz"},
        names={"finefoods": 568_454},
    ),
    "movies": Publication(
        title="Amazon movies to October 2012, in blocks; 3.3 GB",
        page="https://snap.stanford.edu/data/web-Movies.html",
        base="https://snap.stanford.edu/data",
        files={ALL: "{}.txt.gz"},
        names={"movies": 7_911_684},
    ),
    "online-retail": Publication(
        title="UCI Online Retail: a shop's sales, December 2010 to December 2011 (CC BY 4.0)",
        page="https://archive.ics.uci.edu/dataset/352/online+retail",
        base="https://archive.ics.uci.edu/static/public/352",
        files={ALL: "data.csv"},
        names={"online-retail": 541_909},
        saved="online_retail.csv",
    ),
}  # fmt: skip

EDITIONS = tuple(edition for edition in PUBLICATIONS if edition.isdigit())


def source_of(
    name: str, edition: str | None = None, what: str | None = None, mirror: str | None = None
) -> PublishedFile:
    """Where a dataset lies.

    Args:
        name: as published; case and what stands between the words don't matter.
        edition: default: the oldest that has it, which is the smallest.
        what: default: what the edition names first.
        mirror: address that takes the place of the publisher's own base.

    Raises:
        Unusable: no such name or file; the message names those that are near.
    """
    wanted = _plain(name)
    matches = [
        (key, published)
        for key, publication in PUBLICATIONS.items()
        for published in publication.names
        if _plain(published) == wanted and edition in (None, key)
    ]
    if not matches:
        raise Unusable(_nothing_called(name, edition))
    key, published = matches[0]
    publication = PUBLICATIONS[key]
    what = what or next(iter(publication.files))
    if what not in publication.files:
        raise Unusable(f"{published} has no {what} file; it has {', '.join(publication.files)}")
    path = publication.files[what].format(published)
    base = (mirror or publication.base).rstrip("/")
    return PublishedFile(key, what, f"{base}/{path}", publication.saved, publication)


def editions_of(name: str) -> list[str]:
    """The editions that have a name."""
    return [edition for edition in EDITIONS if _plain(name) in map(_plain, PUBLICATIONS[edition].names)]


def _nothing_called(name: str, edition: str | None) -> str:
    if edition is not None and (others := editions_of(name)):
        return f"the edition of {edition} has no {name}; those of {' and '.join(others)} have it"
    known = {
        _plain(published): published
        for key, publication in PUBLICATIONS.items()
        if edition in (None, key)
        for published in publication.names
    }
    near = [known[plain] for plain in difflib.get_close_matches(_plain(name), known, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"no dataset is called {name!r}; {hint}`freshet data list` names all, --url fetches any other"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("&", " and ")).strip("_")
