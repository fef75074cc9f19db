"""Action values of a simulated shop: how a product matches what is seen of a user, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shared.simulator.baselines import PLACES, follows
from shared.simulator.simulator import Simulator

VECTORS = 4  # of the state: liked for long, liked lately, shown, clicked
TOLD = 4  # of a product beside: popularity, price, how often it followed, and 1
_SCALE = 4.0  # of inner products, to be about as large as the other features


@dataclass(frozen=True, slots=True)
class Known:
    """What the log of the training period tells of A products."""

    vectors: Tensor  # (A, D)
    popularity: Tensor  # (A,) of deviation 1
    price: Tensor  # (A,) its logarithm, 0 on average and where it is not known
    follows: Tensor  # (A + 1, A) as `baselines.follows`; the last row, nothing, is followed by nothing
    decay: Tensor  # (PLACES,)

    @classmethod
    def of(cls, simulator: Simulator) -> Known:
        """What is known from a simulator's period."""
        shares = follows(simulator)
        price = np.log(np.where(simulator.prices > 0, simulator.prices, np.nan))
        price -= np.nanmean(price) if np.isfinite(price).any() else 0.0
        popular = simulator.popularity / max(1e-9, float(simulator.popularity.std()))
        return cls(
            vectors=torch.tensor(simulator.vectors, dtype=torch.float32),
            popularity=torch.tensor(popular, dtype=torch.float32),
            price=torch.tensor(np.nan_to_num(price), dtype=torch.float32),
            follows=torch.tensor(np.vstack([shares, np.zeros(len(shares))]), dtype=torch.float32),
            decay=torch.tensor(0.7 ** np.arange(PLACES), dtype=torch.float32),
        )


class QNetwork(nn.Module):
    """Q(s, a) = V(s) + sum_m u_m(s) sigmoid(w_m(s) · f(s, a)), of a trunk with two ReLU layers.

    Whether a product is wanted is a chance, and what follows is worth more or less: sigmoids, each with its worth.
    f tells how a product matches each of the state's vectors (what is liked for long and lately, what was shown and
    clicked), its popularity, its price, and how often it followed what is liked.
    """

    def __init__(self, state: int, known: Known, hidden: int, chances: int) -> None:
        """`state`: S, of which the first `VECTORS` · D are vectors."""
        super().__init__()
        self.known = known
        self.chances = chances
        self.trunk = nn.Sequential(nn.Linear(state, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.value = nn.Linear(hidden, 1)
        self.weights = nn.Linear(hidden, chances * (VECTORS + TOLD))
        self.worth = nn.Linear(hidden, chances)
        with torch.no_grad():  # it begins as a fair guess: what is like what is liked, popular, and followed it before
            bias = self.weights.bias.view(chances, VECTORS + TOLD)
            bias[:] = torch.tensor([1.0, 1.0, -0.2, 0.0, 0.5, 0.0, 0.5, -2.0])
            self.worth.bias.fill_(0.1)

    def forward(self, state: Tensor, liked: Tensor) -> Tensor:
        """(B, S), (B, H) rows of what was liked last → (B, A)."""
        k = self.known
        vectors = state[:, : VECTORS * k.vectors.shape[1]].view(len(state), VECTORS, -1)
        with torch.no_grad():
            followed = torch.einsum("bh,bha->ba", k.decay.expand(len(state), -1), k.follows[liked])  # NOTHING: zeros
            told = torch.stack(
                [
                    k.popularity.expand(len(state), -1),
                    k.price.expand(len(state), -1),
                    torch.log1p(500 * followed) / 2,
                    torch.ones_like(followed),
                ],
                dim=1,
            )
            features = torch.cat([_SCALE * vectors @ k.vectors.T, told], dim=1)  # (B, VECTORS + TOLD, A)
        trunk = self.trunk(state)
        weights = self.weights(trunk).view(len(state), self.chances, -1)
        wanted = torch.sigmoid(torch.bmm(weights, features))  # (B, M, A)
        result: Tensor = self.value(trunk) + torch.bmm(self.worth(trunk)[:, None], wanted)[:, 0]
        return result
