"""Results by the hash of all that they depend on, so that nothing is computed twice, in this study or another."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tilewright.sim.rtl.cache import content_hash

#: The folders whose code decides what a program is and how long it takes.
_SOURCES = ("isa", "hw", "compiler", "sim")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a hash of the code that results depend on."""
    paths = sorted(
        path
        for folder in _SOURCES
        for path in Path(str(files("tilewright") / folder)).rglob("*")
        if path.suffix in (".py", ".cpp", ".hpp", ".h", ".toml")
    )
    return content_hash(part for path in paths for part in (path.name, path.read_bytes()))


@dataclass(frozen=True)
class ResultCache:
    """One JSON file a result, written whole or not at all.

    Attributes
    ----------
    folder : Path
        Made when needed.
    """

    folder: Path

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a result, or None when there is none or it is damaged."""
        try:
            data = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def put(self, key: str, result: dict[str, Any]) -> None:
        """Keep a result."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.stem, dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(result, file, separators=(",", ":"))
        os.replace(name, path)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
