"""What the policies share that are a network from a sequence of products to the next one: `gru4rec` and `sasrec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.policies.fitted_encoder import FittedEncoder
from shared.policies.sequences import Passes, Progress, SequenceNetwork, fit
from shared.policies.served import FloatArray
from shared.policies.stream import Stream
from shared.process.arrays import without_prefix

# On a stream every refit goes on from the last one, so it need not be long.
REFIT = Passes(most=10, most_steps=400)
WHOLE = Passes(most=20)


class SequencePolicy(FittedEncoder):
    """A network, fitted at fixed points or on whole sequences at once.

    Args:
        dimension: D
        refit: how `refit` goes on fitting.
        whole: how `fit_sequences` fits.
    """

    def __init__(
        self, stream: Stream, seed: int, *, dimension: int = 64, refit: Passes = REFIT, whole: Passes = WHOLE
    ) -> None:
        super().__init__(stream, seed)
        self._dimension = dimension
        self._length = stream.settings.history_length
        self._refit, self._whole = refit, whole
        self._network: SequenceNetwork | None = None
        self._refits = 0

    def refit(self) -> None:
        """Go on fitting, with a vector for each product that came since, on all that is remembered."""
        sequences = self._remembered.sequences()
        if not any(len(own) > 1 for own in sequences):
            return
        network = self._grown()
        self._refits += 1
        fit(network, sequences, self._length, self._refit, np.random.default_rng([self._seed, self._refits]))
        self._take(network)

    def fit_sequences(
        self,
        sequences: Sequence[NDArray[np.int32]],
        validation: Sequence[int] | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Learn anew from whole sequences, in place of what was learned.

        Args:
            sequences: rows of the stream's products, an array for each user, oldest first.
            validation: the product that followed each, to choose the best pass by; None: the last pass is taken.
        """
        network = self._new()
        rng = np.random.default_rng([self._seed, 0])
        fit(network, sequences, self._length, self._whole, rng, validation, on_progress)
        self._take(network)

    def query(self, history: NDArray[np.int32], features: FloatArray) -> FloatArray:  # noqa: ARG002
        """The network's."""
        assert self._network is not None, "there are vectors of it"  # noqa: S101
        with torch.no_grad():
            found: FloatArray = self._network.queries(history[None], np.array([len(history)], np.int32))[0].numpy()
        return found

    def network(self, products: int) -> SequenceNetwork:
        """An unfitted network for so many products, drawn from torch's own generator."""
        raise NotImplementedError

    def _new(self) -> SequenceNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            return self.network(len(self._stream.products))

    def _grown(self) -> SequenceNetwork:
        network = self._new()
        if self._network is not None:
            old = self._network.state_dict()
            new = network.state_dict()
            new["vectors"][: len(old["vectors"])] = old["vectors"]
            network.load_state_dict(old | {"vectors": new["vectors"]})
        return network

    def _take(self, network: SequenceNetwork) -> None:
        self._network = network
        self.items = network.vectors.detach().numpy()
        self.bias = np.zeros(len(self.items), np.float32)

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {"refits": np.array([self._refits], np.int64)}
        if self._network is not None:
            arrays |= {f"network/{name}": t.numpy().copy() for name, t in self._network.state_dict().items()}
        return arrays

    def _from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._refits = int(arrays["refits"][0])
        weights = {name: torch.from_numpy(np.array(a)) for name, a in without_prefix("network/", arrays).items()}
        if weights:
            network = self.network(len(weights["vectors"]))
            network.load_state_dict(weights)
            self._take(network)
