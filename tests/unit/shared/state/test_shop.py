"""The settings that all services of a shop read from the same variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.process.errors import Unusable
from shared.process.settings import load
from shared.state.shop import ShopSettings, StreamSettings
from shared.state.stream import Stream


def test_a_stream_is_made_of_the_shops_settings() -> None:
    given = {"HISTORY_LENGTH": "7", "SESSION_GAP_DAYS": "0.5", "MODELS_DIR": "/m"}
    shop = load(ShopSettings, {f"FRESHET_SHOP_{name}": value for name, value in given.items()})
    stream = Stream(shop)
    assert (stream.histories.length, shop.session_gap_ms, shop.models_dir) == (7, 43_200_000, Path("/m"))


def test_the_defaults_are_those_of_a_stream_made_without_a_shop() -> None:
    shop = load(ShopSettings, {})
    assert shop.model_dump(include=set(StreamSettings.model_fields)) == StreamSettings().model_dump()
    assert (shop.place_new_products, shop.models_dir) == (True, Path(".freshet/models"))


def test_a_kind_that_is_none_is_refused_and_none_may_be_masked() -> None:
    with pytest.raises(Unusable) as refused:
        load(ShopSettings, {"FRESHET_SHOP_MASKED_KINDS": "review,foo"})
    assert "FRESHET_SHOP_MASKED_KINDS='review,foo': no kind of event is called 'foo'" in str(refused.value)
    assert "Value error" not in str(refused.value)
    assert load(ShopSettings, {"FRESHET_SHOP_MASKED_KINDS": ""}).masked_kinds == ""
