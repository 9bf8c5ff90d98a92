"""Where results of slow tools are kept: the face gives the place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Folders under keys, such as `tilewright.sim.rtl.cache.Cache`."""

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of a key; `make` fills it when it is not there yet."""
        ...


def content_key(parts: Iterable[str]) -> str:
    """Return 32 hexadecimal digits that name the parts and their borders."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]
