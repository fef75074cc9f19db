"""What a shop's metadata says of one product: its name, where it belongs, and with what it is viewed and bought."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listing:
    """One product as its metadata tells of it; what is not told is empty."""

    title: str = ""
    brand: str = ""
    categories: tuple[str, ...] = ()  # from the widest to the narrowest
    also_bought: tuple[str, ...] = ()  # product ids
    also_viewed: tuple[str, ...] = ()
