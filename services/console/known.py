"""Every variable that any part of Freshet knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic_settings import BaseSettings

from replay.settings import ReplaySettings
from services.evaluator.settings import EvaluatorSettings
from services.features.settings import FeaturesSettings
from services.inference.settings import InferenceSettings
from services.trainer.settings import TrainerSettings
from shared.errors import Unusable
from shared.settings import KafkaSettings, names_of

CLASSES: tuple[type[BaseSettings], ...] = (
    KafkaSettings,
    ReplaySettings,
    FeaturesSettings,
    TrainerSettings,
    InferenceSettings,
    EvaluatorSettings,
)

# Where the tests find real reviews: set for a shell, it must not hinder the console.
_OF_THE_TESTS = {"FRESHET_TEST_DATA"}


def refuse_unknown(environ: Mapping[str, str], classes: Iterable[type[BaseSettings]] = CLASSES) -> None:
    """Refuse any variable that begins with FRESHET_ and that no service knows.

    Raises:
        Unusable: names the first one and the known one it is nearest to.
    """
    known = {name for cls in classes for name in names_of(cls)} | _OF_THE_TESTS
    for name in sorted(environ):
        if name.upper().startswith("FRESHET_") and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else "; `freshet settings` lists them all"
            raise Unusable(f"no service knows {name}{hint}")
