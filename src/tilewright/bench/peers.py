"""Figures of others, read from `peers.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Peer:
    """One source of figures: of which suite, array and metric, in which unit, in whose words, and by case."""

    name: str
    suite: str
    config: str
    metric: str
    unit: str
    source: str
    values: Mapping[str, float]


@cache
def peers() -> tuple[Peer, ...]:
    """Give all peers."""
    data = tomllib.loads((files("tilewright.bench") / "peers.toml").read_text(encoding="utf-8"))
    return tuple(Peer(name, **entry) for name, entry in data.items())


def peer_of(suite: str, metric: str, config: str) -> Peer | None:
    """Give the peer with figures of this metric on an array of this size, if there is one."""
    wanted = (suite, metric, config)
    return next((peer for peer in peers() if (peer.suite, peer.metric, peer.config) == wanted), None)
