"""The action network as torch trains it; `shared.model.candidates` says what it reads, and serves it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.model.candidates import HEADS, ActionNetwork, F


class TorchActionNetwork(nn.Module):
    """Features of candidates → what each head says: a logit beside the mixture's logarithm, and an action value.

    The last layer begins at 0: what has learned nothing changes nothing.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(F, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.heads = nn.Linear(hidden, len(HEADS))
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(…, F) → (…, 2) by `HEADS`."""
        result: Tensor = self.heads(functional.silu(self.second(functional.silu(self.first(features)))))
        return result

    def compiled(self) -> ActionNetwork:
        """The same network, as it is now, for the compiled functions; shares no memory with this one."""

        def array(tensor: Tensor) -> NDArray[np.float32]:
            return tensor.detach().to("cpu", torch.float32).numpy().copy()

        first, second, heads = self.first, self.second, self.heads
        return ActionNetwork(
            array(first.weight), array(first.bias), array(second.weight), array(second.bias),
            array(heads.weight), array(heads.bias),
        )  # fmt: skip
