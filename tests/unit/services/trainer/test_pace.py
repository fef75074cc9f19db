"""Gradient steps that are left out to keep up: fewer, counted, told, and never unless somebody says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.trainer import publish
from services.trainer.learner import Learner, LearnerSnapshot
from services.trainer.settings import TrainerSettings
from shared.log.ordered import ReaderSnapshot
from shared.policies.freshet.policy import BEHIND_STEPS
from shared.state.shop import ShopSettings
from tests.support.states import shoppers

READER: ReaderSnapshot = {"positions": {"0": 7}, "watermarks": {"0": 5}, "marks": {}, "ordered": True}
SHOP = ShopSettings()
EVENTS, BEHIND = 240, range(100, 180)


def settings(**more: object) -> TrainerSettings:
    values = {"batch": 8, "warmup_transitions": 20, "transitions_per_step": 2}
    return TrainerSettings.model_validate(values | more)


def learned(behind: range, of: TrainerSettings | None = None, learner: Learner | None = None) -> Learner:
    """A learner of `EVENTS` events, in a hurry at those of `behind`."""
    learner = learner or Learner(of or settings(), SHOP)
    for place, state in enumerate(shoppers(EVENTS)):
        if place >= learner.applied:
            learner.hurry(behind=place in behind)
            learner.apply(state)
    return learner


def same(one: LearnerSnapshot, other: LearnerSnapshot) -> bool:
    return one.state == other.state and all(
        np.array_equal(array, other.arrays[name], equal_nan=True) for name, array in one.arrays.items()
    )


def test_while_it_is_behind_one_of_four_steps_is_taken_and_after_that_all_of_them() -> None:
    whole, hurried = learned(range(0)), learned(BEHIND)
    assert whole.skipped == 0
    due = len(BEHIND) // 2  # transitions a step
    assert due * (1 - 1 / BEHIND_STEPS) - 1 <= hurried.skipped <= due * (1 - 1 / BEHIND_STEPS) + 1
    steps = [learner.policy.learned().steps for learner in (whole, hurried)]
    assert steps[1] == steps[0] - hurried.skipped
    assert hurried.policy.learned().skipped == hurried.skipped


def test_what_never_hurries_is_what_was_learned_before_there_was_a_pace() -> None:
    plain = Learner(settings(), SHOP)
    for state in shoppers(EVENTS):
        plain.apply(state)
    assert same(plain.snapshot(), learned(range(0), settings(pace="adaptive")).snapshot())


def test_the_manifest_of_what_has_skipped_a_step_says_so_for_good(tmp_path: Path) -> None:
    shop = ShopSettings(models_dir=tmp_path)
    whole, _ = publish.write(learned(range(0)), READER, settings(), shop)
    hurried = learned(BEHIND)
    manifest, _ = publish.write(hurried, READER, settings(), shop)
    assert (whole.deterministic, manifest.deterministic) == (True, False)
    assert manifest.version_id != whole.version_id, "what differs has another name"
    resumed = Learner.restore(settings(), SHOP, hurried.snapshot())
    assert resumed.skipped == hurried.skipped
    assert not publish.write(resumed, READER, settings(), ShopSettings(models_dir=tmp_path / "b"))[0].deterministic


def test_a_learner_resumed_while_behind_skips_the_same_steps() -> None:
    half = Learner(settings(), SHOP)
    for place, state in enumerate(shoppers(EVENTS)):
        if place < 140:
            half.hurry(behind=place in BEHIND)
            half.apply(state)
    resumed = learned(BEHIND, learner=Learner.restore(settings(), SHOP, half.snapshot()))
    assert same(resumed.snapshot(), learned(BEHIND).snapshot())


def test_a_policy_without_steps_can_not_hurry() -> None:
    learner = Learner(settings(policy="markov"), SHOP)
    learner.hurry(behind=True)
    for state in shoppers(30):
        learner.apply(state)
    assert learner.skipped == 0
