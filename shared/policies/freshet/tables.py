"""Per-product parameters that grow with the catalogue, and an Adam that updates only the rows a step touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from shared.numeric.arrays import capacity

# Vectors start small: an untrained product neither leads nor trails the ranking.
INITIAL_SCALE = 0.05

VECTORS = ("input", "output.ce", "output.q")
BIASES = ("bias.ce", "bias.q")


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of every table, as leaves of one step's graph."""

    rows: Tensor | None  # (R,) ascending product rows; None: all
    values: dict[str, Tensor]  # (R, D) or (R,), each requires grad

    def local(self, products: Tensor) -> Tensor:
        """Product rows → places within these rows; all must be among them."""
        return products if self.rows is None else torch.searchsorted(self.rows, products)


class ProductTables:
    """input, output.<head> (A, D) and bias.<head> (A,), growing; with the target network's copies."""

    def __init__(self, dimension: int, generator: torch.Generator, capacity: int = 1024) -> None:
        self.size = 0
        self.dimension = dimension
        self._generator = generator
        shapes = dict.fromkeys(VECTORS, (capacity, dimension)) | dict.fromkeys(BIASES, (capacity,))
        self.values = {name: torch.zeros(shape) for name, shape in shapes.items()}
        self.target = {name: torch.zeros(shapes[name]) for name in ("input", "output.q", "bias.q")}
        self.mean = {name: torch.zeros(shape) for name, shape in shapes.items()}  # Adam's first moment
        self.square = {name: torch.zeros(shape) for name, shape in shapes.items()}  # Adam's second moment

    def grow_to(self, products: int) -> None:
        """Give every product up to `products` a row, at once usable by online and target network."""
        self._reserve(products)
        for row in range(self.size, products):
            for name in VECTORS:
                self.values[name][row] = INITIAL_SCALE * torch.randn(self.dimension, generator=self._generator)
            for name, table in self.target.items():
                table[row] = self.values[name][row]
        self.size = max(self.size, products)

    def gather(self, touched: Tensor | None) -> Rows:
        """The rows one step may change: those given (ascending, unique), or all."""
        if touched is None:
            return Rows(None, {n: t[: self.size].detach().requires_grad_() for n, t in self.values.items()})
        return Rows(touched, {n: t[touched].requires_grad_() for n, t in self.values.items()})

    def copy_to_target(self) -> None:
        """Make the target network's copies equal to the online ones."""
        for name, table in self.target.items():
            table[: self.size] = self.values[name][: self.size]

    def adam(
        self,
        rows: Rows,
        step: int,
        *,
        learning_rate: float,
        weight_decay: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
    ) -> None:
        """Update rows by their gradients, and leave the others as they are.

        Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

        Args:
            step: counted from 1.
        """
        names = [name for name, leaf in rows.values.items() if leaf.grad is not None]
        place = slice(0, self.size) if rows.rows is None else rows.rows
        with torch.no_grad():
            values, means, squares = (
                [table[name][place] for name in names] for table in (self.values, self.mean, self.square)
            )  # views of all rows, copies of some
            adamw(
                values,
                [gradient for leaf in rows.values.values() if (gradient := leaf.grad) is not None],
                means,
                squares,
                [],
                [torch.tensor(step - 1.0) for _ in names],
                fused=True,  # one pass over the memory, which is what a large catalogue costs
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=learning_rate,
                weight_decay=weight_decay,
                eps=1e-8,
                maximize=False,
            )
            if rows.rows is not None:
                for name, value, mean, square in zip(names, values, means, squares, strict=True):
                    self.values[name][place], self.mean[name][place], self.square[name][place] = value, mean, square

    def to_tensors(self) -> dict[str, Tensor]:
        """Every row in use, for a checkpoint."""
        return {
            f"{group}/{name}": table[: self.size].clone()
            for group, tables in self._groups().items()
            for name, table in tables.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `to_tensors` gave."""
        size = len(tensors["values/input"])
        self._reserve(size)
        for group, tables in self._groups().items():
            for name, table in tables.items():
                table[:size] = tensors[f"{group}/{name}"]
        self.size = size

    def _groups(self) -> dict[str, dict[str, Tensor]]:
        return {"values": self.values, "target": self.target, "mean": self.mean, "square": self.square}

    def _reserve(self, products: int) -> None:
        have = len(self.values["input"])
        if products <= have:
            return
        for tables in self._groups().values():
            for name, table in tables.items():
                larger = torch.zeros((capacity(have, products), *table.shape[1:]))
                larger[:have] = table
                tables[name] = larger
