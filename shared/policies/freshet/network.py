"""The action network as torch trains it; `shared.model.candidates` says what it reads, and serves it.

Steps are computed by the processor, or by an accelerator that torch finds here.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.model.candidates import HEADS, ActionNetwork, F
from shared.process.errors import Unusable

# Accelerators add up in another order than the processor. After the same steps, what the network says of a candidate
# may differ by this, as much as inference allows between the learner's engine and its own.
TOLERANCE = 1e-3


class TorchActionNetwork(nn.Module):
    """Features of candidates → what each head says: a logit beside the mixture's logarithm, and an action value.

    The last layer begins at 0: what has learned nothing changes nothing.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        shapes = ActionNetwork.shapes(hidden)
        for name, shape in shapes.items():
            bound = 0.0 if name.endswith("last") else (F if name.endswith("first") else hidden) ** -0.5
            self.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def forward(self, features: Tensor, first: int = 0) -> Tensor:
        """(N, F) → (2, N) by `HEADS`, or of these from `first` on alone."""
        # Not by `named_parameters`, which takes as long as a small product of matrices.
        layer = {name: parameter[first:] for name, parameter in self._parameters.items() if parameter is not None}
        x = features.expand(len(HEADS) - first, *features.shape)  # (2, N, F)
        for name in ("first", "second"):
            x = functional.silu(torch.baddbmm(layer[f"b_{name}"][:, None], x, layer[f"w_{name}"].mT))
        last: Tensor = torch.baddbmm(layer["b_last"][:, None, None], x, layer["w_last"][..., None])
        return last.squeeze(2)

    def compiled(self) -> ActionNetwork:
        """The same network, as it is now, for the compiled functions; shares no memory with this one."""

        def array(tensor: Tensor) -> NDArray[np.float32]:
            return tensor.detach().to("cpu", torch.float32).numpy().copy()

        return ActionNetwork(**{name: array(parameter) for name, parameter in self.named_parameters()})


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
