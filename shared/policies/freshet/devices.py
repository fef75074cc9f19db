"""Where gradient steps are computed: the processor, or an accelerator that torch finds here.

Accelerators add up in another order than the processor. After the same steps, what the network says of a candidate may
differ by `TOLERANCE`, as much as inference allows between the learner's engine and its own.
"""

from __future__ import annotations

import torch

from shared.process.errors import Unusable

TOLERANCE = 1e-3


def device_of(name: str) -> torch.device:
    """The device of that name, as FRESHET_TRAINER_DEVICE gives it.

    Raises:
        Unusable: torch finds no such device here.
    """
    there = devices()
    if name not in there and f"{name}:0" not in there:
        raise Unusable(
            f"FRESHET_TRAINER_DEVICE={name}: torch {torch.__version__} finds no such device here, only "
            f"{', '.join(there)}; choose one of these, or install a torch that is built for the accelerator"
        )
    return torch.device(name)


def devices() -> list[str]:
    """The devices that torch finds here, the processor first."""
    of_cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *of_cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
