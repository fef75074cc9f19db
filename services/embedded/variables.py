"""Every variable that any part of Freshet knows, and the refusal of all others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic_settings import BaseSettings

from replay.settings import ReplaySettings
from services.evaluator.settings import EvaluatorSettings
from services.features.settings import FeaturesSettings
from services.gateway.settings import GatewaySettings
from services.inference.settings import InferenceSettings
from services.trainer.settings import TrainerSettings
from shared.process.errors import Unusable
from shared.process.settings import KafkaSettings, load, names_of, prefix_of
from shared.process.settings import refuse_unknown as refuse_unknown_of_services
from shared.state.shop import ShopSettings

CLASSES: tuple[type[BaseSettings], ...] = (
    KafkaSettings,
    ShopSettings,
    ReplaySettings,
    FeaturesSettings,
    TrainerSettings,
    InferenceSettings,
    EvaluatorSettings,
    GatewaySettings,
)

_PREFIX = "FRESHET_"

# What the tests are told, where they find real reviews for instance: a shell that has it set can still use the console.
_TESTS_PREFIX = "FRESHET_TEST_"


def refuse_unknown(environ: Mapping[str, str], classes: Iterable[type[BaseSettings]] = CLASSES) -> None:
    """Refuse any variable that begins with FRESHET_ and is known to no service.

    Raises:
        Unusable: names the first one, and the known one that is most like it.
    """
    classes = list(classes)
    refuse_unknown_of_services(classes, environ)
    prefixes = tuple(prefix_of(cls) for cls in classes)
    known = [name.removeprefix(_PREFIX) for cls in classes for name in names_of(cls)]
    for name in sorted(environ):
        ours = name.upper().startswith(_PREFIX) and not name.upper().startswith(_TESTS_PREFIX)
        if ours and not name.upper().startswith(prefixes):
            near = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), known, n=1)
            hint = f"; did you mean {_PREFIX}{near[0]}?" if near else "; `freshet settings` lists them all"
            raise Unusable(f"no service knows {name}{hint}")


def refuse_wrong(environ: Mapping[str, str], classes: Iterable[type[BaseSettings]] = CLASSES) -> None:
    """Refuse any value that a service could not start with.

    Raises:
        Unusable: names the variable.
    """
    for cls in classes:
        load(cls, environ)
