"""What products are like each other and what users like: low-rank factors of a period's counts of user and product."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

# A product of few events is known badly: its vector is events / (events + this) long.
SHRINK_EVENTS = 2.0


def product_vectors(counts: sparse.csr_array, dimension: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Vectors whose inner products say how alike products are, (A, D), of length below 1.

    Right singular vectors of the counts divided by the roots of both sums, without the first, which is popularity
    alone (spectral co-clustering: Dhillon, KDD 2001, section 4), the sums raised by their mean so that rarely seen
    products don't make dimensions of their own (Chaudhuri, Chung & Tsiatas, COLT 2012).

    Args:
        counts: (U, A), not negative.
    """
    damped = counts.astype(np.float64)
    damped.data = np.log1p(damped.data)
    of_users, of_products = np.asarray(damped.sum(axis=1)).ravel(), np.asarray(damped.sum(axis=0)).ravel()
    left = 1.0 / np.sqrt(of_users + of_users.mean())
    right = 1.0 / np.sqrt(of_products + of_products.mean())
    scaled = sparse.diags_array(left) @ damped @ sparse.diags_array(right)
    found = min(dimension + 1, min(counts.shape) - 1)
    _, values, transposed = svds(scaled.tocsc(), k=found, v0=rng.standard_normal(min(counts.shape)))
    best = np.argsort(-values)[1:]  # ascending as they come
    coordinates = np.zeros((counts.shape[1], dimension))
    coordinates[:, : len(best)] = (transposed[best] * values[best, None]).T * right[:, None]
    events = np.asarray(counts.sum(axis=0)).ravel()
    length = np.linalg.norm(coordinates, axis=1)
    known = events / (events + SHRINK_EVENTS)
    return coordinates * np.where(length > 1e-12, known / np.maximum(length, 1e-12), 0.0)[:, None]


def log_popularity(events: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of each product's events and one, 0 on average over the products: (A,) → (A,)."""
    raised = np.log1p(events)
    return np.asarray(raised - raised.mean())
