"""The learner: one stream and the policy that learns it. Pure: no clock, no log, no disk.

The same states in the same order give the same learner, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from numpy.typing import NDArray

from services.trainer.settings import TrainerSettings
from shared.numeric.arrays import with_prefix, without_prefix
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.contract import PolicySnapshot, SkipsSteps, StepReport
from shared.policies.registry import class_of, make
from shared.process.errors import Unusable
from shared.state.shop import ShopSettings
from shared.state.stream import Stream, StreamState


class LearnerState(TypedDict):
    """The part of a snapshot that is no array, as JSON keeps it."""

    parent: str
    stream: StreamState
    policy: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LearnerSnapshot:
    """All of a learner."""

    arrays: dict[str, NDArray[Any]]
    state: LearnerState


class Learner:
    """Everything the trainer knows; see `services.trainer.checkpoint` for how it is kept.

    Raises:
        Unusable: what the settings' policy learns can't be published.
    """

    def __init__(self, settings: TrainerSettings, shop: ShopSettings) -> None:
        self._take(settings, Stream(shop))
        self.parent = ""  # the newest version published

    def _take(self, settings: TrainerSettings, stream: Stream) -> None:
        if not class_of(settings.policy).published:
            raise Unusable(
                f"FRESHET_TRAINER_POLICY={settings.policy}: what it learns can't be published and served; judge it by "
                "`freshet evaluate`, and name another policy here, such as freshet or markov"
            )
        options = {"settings": settings} if settings.policy == "freshet" else {}  # the others' are their own
        self.settings = settings
        self.stream = stream
        self.policy = make(settings.policy, stream, settings.seed, **options)

    @property
    def applied(self) -> int:
        """Events learned from."""
        return self.stream.applied

    @property
    def skipped(self) -> int:
        """Gradient steps that were due and were left out."""
        return self.policy.skipped if isinstance(self.policy, SkipsSteps) else 0

    def hurry(self, *, behind: bool) -> None:
        """Say whether events come faster than they are learned from, so that the policy may leave out steps."""
        if isinstance(self.policy, SkipsSteps):
            self.policy.behind = behind

    def apply(self, state: StateVector) -> StepReport | None:
        """Learn of one event; the report of the gradient step, if it was time for one."""
        report = self.policy.learn(self.stream.apply(state))
        if self.applied % self.settings.publish_events == 0:  # part of what is learned, so that it is durable first
            self.policy.refit()
        return report

    def snapshot(self) -> LearnerSnapshot:
        """Everything the learner knows; learning on from it is learning on without a pause."""
        stream, stream_state = self.stream.snapshot()
        policy = self.policy.snapshot()
        arrays = with_prefix("stream/", stream) | with_prefix("policy/", policy.arrays)
        return LearnerSnapshot(arrays, LearnerState(parent=self.parent, stream=stream_state, policy=policy.state))

    @classmethod
    def restore(cls, settings: TrainerSettings, shop: ShopSettings, snapshot: LearnerSnapshot) -> Learner:
        """The learner that `snapshot` was taken of; the settings must be the same."""
        learner = cls(settings, shop)
        arrays, state = snapshot.arrays, snapshot.state
        learner._take(settings, Stream.restore(shop, without_prefix("stream/", arrays), state["stream"]))
        learner.policy.restore(PolicySnapshot(without_prefix("policy/", arrays), state["policy"]))
        learner.parent = state["parent"]
        return learner
