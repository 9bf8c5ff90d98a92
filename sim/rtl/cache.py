"""A folder of built things, each under the hash of all it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import filelock

from tilewright.isa.errors import ToolchainError

_MANIFEST = "manifest.json"


def user_cache() -> Path:
    """Return Tilewright's folder in the user's cache directory; `XDG_CACHE_HOME` is honoured."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "tilewright"


def content_hash(parts: Iterable[str | bytes]) -> str:
    """Return 32 hexadecimal digits that name the parts and their borders."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Cache:
    """Entries are folders, made once under a lock, moved into place whole, checked whenever they are used.

    Attributes
    ----------
    folder : Path
        Made when needed.
    """

    folder: Path

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of an entry, making it when it is missing or damaged.

        Parameters
        ----------
        key : str
            A hash of everything that `make` depends on.
        make : Callable
            Fills the empty folder it is given.

        Raises
        ------
        ToolchainError
            If the cache cannot be written.
        """
        entry = self.folder / key
        if _is_whole(entry):
            return entry
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / f"{key}.lock"):
                if not _is_whole(entry):
                    self._make(entry, make)
        except OSError as error:
            reason = error.strerror or error
            raise ToolchainError(
                f"cannot write the cache of compiled models in {self.folder}: {reason}; set XDG_CACHE_HOME"
            ) from error
        return entry

    def _make(self, entry: Path, make: Callable[[Path], None]) -> None:
        work = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=self.folder))
        try:
            make(work)
            (work / _MANIFEST).write_text(json.dumps(_digests(work)))
            shutil.rmtree(entry, ignore_errors=True)
            work.rename(entry)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.name != _MANIFEST)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _is_whole(entry: Path) -> bool:
    try:
        manifest = json.loads((entry / _MANIFEST).read_text())
        return bool(manifest == _digests(entry))
    except (OSError, ValueError):
        return False
