"""Figures of others, read from `peers.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Peer:
    """One source's figures of one metric: of which suite and array, in which unit, in whose words, and by case."""

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
    return tuple(Peer(**{"name": key, **entry}) for key, entry in data.items())


def peers_of(suite: str, metric: str, config: str, case: str) -> tuple[Peer, ...]:
    """Give the peers with a figure of this metric and case on an array of this size."""
    wanted = (suite, metric, config)
    found = (peer for peer in peers() if (peer.suite, peer.metric, peer.config) == wanted)
    return tuple(peer for peer in found if case in peer.values)


def peer_of(suite: str, metric: str, config: str, case: str) -> Peer | None:
    """Give the first of them, if there is one."""
    return next(iter(peers_of(suite, metric, config, case)), None)
