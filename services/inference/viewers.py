"""Who is to be answered: what the log, and the session of the request, say of the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge import Knowledge
from shared.event_features import EVENT_FEATURES, UNSAID, features_of
from shared.history import Window
from shared.pb.freshet.v1 import events_pb2 as pb


class Viewer(NamedTuple):
    """What is known of a user or a guest.

    Attributes:
        window: the latest events, those of the session last; None: there is none.
        seen: (n,) rows that must not be recommended; may repeat.
        session: how many events at the end of the window are the session's.
    """

    window: Window | None
    seen: NDArray[np.int32]
    session: int = 0


def viewer_of(user_id: str, session: Sequence[str], knowledge: Knowledge) -> Viewer:
    """The user, empty for a guest, with the products looked at lately, oldest first; unknown ones are ignored."""
    histories = knowledge.histories
    user = histories.row(user_id) if user_id else None
    window = None if user is None else histories.window(user)
    seen: NDArray[np.int32] = np.zeros(0, np.int32) if user is None else histories.masked(user)
    rows = [row for row in map(knowledge.catalogue.find, session) if row is not None]
    if not rows:
        return Viewer(window, seen)
    viewed = np.array(rows, np.int32)
    newest_ms = 0 if user is None else histories.newest_ms(user)
    latest = viewed[-histories.length :]
    features = _views(user_id, len(viewed), newest_ms, knowledge)[-histories.length :]
    return Viewer(_followed(window, latest, features), np.concatenate([seen, viewed]), len(latest))


def _views(user_id: str, count: int, newest_ms: int, knowledge: Knowledge) -> NDArray[np.float32]:
    """Features of that many views in a row, the first at this moment after the user's newest event, (count, F).

    Nothing but that they were views is known of them; a view's reward is what features gave to the latest one.
    """
    now_ms = max(newest_ms, knowledge.now_ms())
    state = pb.StateVector(
        user_id=user_id,
        kind=pb.EVENT_KIND_VIEW,
        event_time_ms=now_ms,
        reward=knowledge.view_reward,
        imputed=UNSAID,
    )
    features: NDArray[np.float32] = np.empty((count, len(EVENT_FEATURES)), np.float32)
    features[:] = features_of(state, now_ms)
    features[0] = features_of(state, newest_ms)
    return features


def _followed(window: Window | None, products: NDArray[np.int32], features: NDArray[np.float32]) -> Window:
    """The window with these events after its own; as many of the newest as it holds of one user."""
    if window is None:
        return Window(products[None], features[None], np.array([len(products)], np.int32))
    length = window.products.shape[1]
    kept = min(int(window.lengths[0]), length - len(products))
    end = int(window.lengths[0])
    return Window(
        np.concatenate([window.products[:, end - kept : end], products[None]], axis=1),
        np.concatenate([window.features[:, end - kept : end], features[None]], axis=1),
        np.array([kept + len(products)], np.int32),
    )
