"""Compiled code on disk, under the user's cache directory, found by the hash of what it was made from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"TWOBJ1\n\0"
_DIGEST_BYTES = 32


def cache_directory() -> Path:
    """Return the directory for Tilewright's caches: in XDG_CACHE_HOME, or else in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tilewright"


@dataclass(frozen=True)
class ObjectCache:
    """Blobs by key; safe against concurrent writers, and what was damaged counts as missing.

    Attributes
    ----------
    directory : Path
        Created when first written to; where that fails, nothing is kept.
    limit_bytes : int, optional
        How much is kept: the blobs that were read or written last. By default everything.
    """

    directory: Path
    limit_bytes: int | None = None

    @classmethod
    def default(cls) -> ObjectCache:
        """Return the cache in the user's cache directory."""
        return cls(cache_directory() / "objects")

    @staticmethod
    def key(*parts: str) -> str:
        """Return the key of what follows from these texts."""
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return the blob of a key, made and kept when it is missing."""
        found = self.read(key)
        if found is not None:
            return found
        blob = make()
        self.write(key, blob)
        return blob

    def read(self, key: str) -> bytes | None:
        """Return the blob of a key, or None when it is missing or damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if self.limit_bytes is not None:
            with contextlib.suppress(OSError):
                os.utime(path)
        digest, blob = data[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES], data[len(_MAGIC) + _DIGEST_BYTES :]
        is_sound = data.startswith(_MAGIC) and hashlib.sha256(blob).digest() == digest
        return blob if is_sound else None

    def write(self, key: str, blob: bytes) -> None:
        """Keep a blob; readers see all of it or nothing. A directory that cannot be written to is no error."""
        with contextlib.suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.directory, prefix=f".{key[:16]}-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + hashlib.sha256(blob).digest() + blob)
                os.replace(name, self._path(key))
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            self._prune()

    def _prune(self) -> None:
        """Remove the blobs whose use is longest ago, as long as all together are too large."""
        if self.limit_bytes is None:
            return
        found = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in self.directory.glob("*.o"))
        size = sum(blob for _, blob, _ in found)
        for _, blob, path in found[:-1]:
            if size <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            size -= blob

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.o"
