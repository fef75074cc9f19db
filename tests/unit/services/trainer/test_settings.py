"""What the trainer refuses to start with."""

from __future__ import annotations

import pytest

from services.trainer.settings import TrainerSettings
from shared.process.errors import Unusable
from shared.process.settings import load


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PUBLISH_EVENTS", "1500", "PUBLISH_EVENTS=1500 must be a multiple of FRESHET_TRAINER_CHECKPOINT_EVENTS=1000"),
        ("DISCOUNT", "1.5", "FRESHET_TRAINER_DISCOUNT='1.5': Input should be less than 1"),
    ],
)
def test_wrong_values_are_refused_with_what_is_wrong(name: str, value: str, words: str) -> None:
    with pytest.raises(Unusable) as refused:
        load(TrainerSettings, {f"FRESHET_TRAINER_{name}": value})
    assert words in str(refused.value)
    assert "Value error" not in str(refused.value)
