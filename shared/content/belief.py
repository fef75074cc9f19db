"""How far a policy's shares are probabilities, which those handed on from product to product must be. Pure.

A policy may say the popular products that it never counted after a history next to nothing, only to put them behind all
others. What then seems likelier than they are is not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def believed(popularity: FloatArray, logs: FloatArray, shares: FloatArray, least: float) -> float:
    """1 where shares leave popular products `least` of theirs or more, on average over popularity; else so much less.

    What they leave is exp(-KL(popularity || shares)): w or more where popularity is mixed in with weight w.

    Args:
        popularity: (A,) shares, each above 0.
        logs: (A,) of the policy's shares, none above 0; up to a constant.
        shares: (A,) themselves; likewise.
        least: (0, 1].
    """
    left = float(popularity @ (logs - np.log(popularity))) - float(np.log(shares.sum()))
    return min(1.0, float(np.exp(left)) / least)
