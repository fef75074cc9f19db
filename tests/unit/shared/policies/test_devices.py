"""Where gradient steps are computed: refused where there is no such device, and everywhere the same within rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.model.candidates import F, outputs
from shared.policies.freshet import network
from shared.policies.freshet.double_dqn import DoubleDQN
from shared.policies.freshet.replay_buffer import Batch
from shared.policies.freshet.settings import FreshetSettings
from shared.process.errors import Unusable

STEPS, B, S = 300, 16, 8


def test_the_processor_is_always_there() -> None:
    assert network.devices()[0] == "cpu"
    assert network.device_of("cpu") == torch.device("cpu")


def test_an_absent_accelerator_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert [str(network.device_of(name)) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    for absent in ("cuda:2", "mps"):
        words = f"FRESHET_TRAINER_DEVICE={absent}: torch .* finds no such device here, only cpu, cuda:0, cuda:1;"
        with pytest.raises(Unusable, match=words):
            network.device_of(absent)
        with pytest.raises(Unusable, match=words):
            DoubleDQN(FreshetSettings(device=absent), 7)


def learned(device: str) -> DoubleDQN:
    """A network after `STEPS` steps on drawn batches."""
    rng = np.random.default_rng(3)
    dqn = DoubleDQN(FreshetSettings(device=device), 7)
    for _ in range(STEPS):
        candidates, following = rng.normal(0, 0.5, (2, B, S, F)).astype(np.float16)
        reward = candidates[:, 0].sum(axis=1).astype(np.float32) / F
        ones = np.ones(B, np.bool_)
        dqn.step(Batch(candidates, following, ones, ones, reward, np.full(B, 0.5, np.float32)))
    return dqn


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_after_the_same_steps_every_device_says_the_same_within_the_tolerance(device: str) -> None:
    if not any(there.partition(":")[0] == device for there in network.devices()):
        pytest.skip(f"torch finds no {device} here")
    features = np.random.default_rng(4).normal(0, 0.5, (F, 200)).astype(np.float32)
    here, there = (outputs(learned(name).network.compiled(), features) for name in ("cpu", device))
    assert np.abs(here).max() > 0.1, "something was learned"
    assert np.abs(here - there).max() <= network.TOLERANCE
