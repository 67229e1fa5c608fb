"""What can be said about a single watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bobrapet.runtime.predicate import Predicate


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Options of `for_`, `owns` and `watches`."""

    predicates: Sequence[Predicate] = ()
    """All must agree, after those of `with_event_filter`."""

    only_metadata: bool = False
    """Keep only metadata in memory. Reading the whole object from the cache then starts a second informer."""

    match_every_owner: bool = False
    """`owns` only: wake every owner of the kind, not just the controlling one."""
