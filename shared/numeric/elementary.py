"""Logarithm and exponential at single precision, for compiled loops that take many numbers side by side.

numba calls the C library once for each number, and numpy needs a pass through memory for each function. These are
polynomials without a branch, after Cephes' logf and expf (Moshier, Methods and Programs for Mathematical Functions,
1989), so that a loop over an array becomes vector instructions: as fast as numpy, and as exact, within one unit in the
last place.
"""

from __future__ import annotations

import math

import numpy as np

from shared.numeric.compiled import compiled

# log 2 in two parts: the first has few bits, so that a whole number times it is exact.
_LOG2_HIGH, _LOG2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_PER_LOG2 = np.float32(1.0 / math.log(2.0))
_ONE, _HALF = np.float32(1.0), np.float32(0.5)
_MANTISSA_BITS, _EXPONENT_OF_ONE = np.int32(23), np.int32(127)
_SQRT_HALF_BITS = np.int32(np.float32(math.sqrt(0.5)).view(np.int32))
# Below this e to a number is no normal float.
LEAST_POWER = np.float32(-87.0)


@compiled
def log_of(number: np.float32) -> np.float32:
    """The natural logarithm of a normal float above 0."""
    bits = np.float32(number).view(np.int32)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    # number = 2^exponent · (1 + f), 1 + f within [√½, √2]
    f = np.int32(bits - (exponent << _MANTISSA_BITS)).view(np.float32) - _ONE
    p = np.float32(7.0376836292e-2)
    p = p * f + np.float32(-1.1514610310e-1)
    p = p * f + np.float32(1.1676998740e-1)
    p = p * f + np.float32(-1.2420140846e-1)
    p = p * f + np.float32(1.4249322787e-1)
    p = p * f + np.float32(-1.6668057665e-1)
    p = p * f + np.float32(2.0000714765e-1)
    p = p * f + np.float32(-2.4999993993e-1)
    p = p * f + np.float32(3.3333331174e-1)
    squared, n = f * f, np.float32(exponent)
    return np.float32(f + (f * squared * p + n * _LOG2_LOW - _HALF * squared) + n * _LOG2_HIGH)


@compiled
def exp_of(number: np.float32) -> np.float32:
    """e to a number of at most 88, as if none were below `LEAST_POWER`."""
    x = max(number, LEAST_POWER)
    n = np.float32(math.floor(x * _PER_LOG2 + _HALF))
    f = x - n * _LOG2_HIGH - n * _LOG2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * f + np.float32(1.3981999507e-3)
    p = p * f + np.float32(8.3334519073e-3)
    p = p * f + np.float32(4.1665795894e-2)
    p = p * f + np.float32(1.6666665459e-1)
    p = p * f + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(n) + _EXPONENT_OF_ONE) << _MANTISSA_BITS).view(np.float32)
    return np.float32((p * f * f + f + _ONE) * power)
