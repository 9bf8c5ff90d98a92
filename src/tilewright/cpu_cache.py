"""Models that were compiled for this processor before, kept on disk by the hash of all that they follow from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx
from onnx import ModelProto
from onnx.external_data_helper import uses_external_data

import tilewright
from tilewright.compiler.frontend.model_file import tensors_of
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.targets.cpu.native_segment import versions
from tilewright.compiler.targets.cpu.saved_program import NativeProgram, program_bytes, program_of
from tilewright.compiler.tir.native import Host
from tilewright.compiler.tir.object_cache import ObjectCache, cache_directory

_FORMAT = "program 1"
_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True)
class ModelCache:
    """Compiled models by what they are made from.

    Attributes
    ----------
    blobs : ObjectCache
    """

    blobs: ObjectCache

    @classmethod
    def default(cls) -> ModelCache:
        """Return the cache in the user's cache directory, which keeps at most 1 GiB: what was used last."""
        return cls(ObjectCache(cache_directory() / "models", _LIMIT_BYTES))

    @staticmethod
    def key(digest: str, dims: Mapping[str, int] | None, level: str, threads: int, schedules: str = "") -> str:
        """Return the key of what follows from a model with this digest, and from schedules that were measured."""
        host, asked = Host.this(), json.dumps(sorted((dims or {}).items()))
        return ObjectCache.key(
            _FORMAT, digest, asked, level, str(threads), host.triple, host.cpu, host.features, made_by(), schedules
        )

    def read(self, key: str) -> NativeProgram | None:
        """Return a program, or None when there is none or it is damaged."""
        data = self.blobs.read(key)
        return None if data is None else program_of(data)

    def write(self, key: str, program: NativeProgram) -> None:
        """Keep a program, if it is one that can be saved."""
        data = program_bytes(program)
        if data is not None:
            self.blobs.write(key, data)


def digest_of(model: str | Path | ModelProto | Graph) -> str:
    """Return the hash of a model, or nothing for one that cannot be read or is no ONNX model."""
    if isinstance(model, Graph):
        return ""
    try:
        data = model.SerializeToString(deterministic=True) if isinstance(model, ModelProto) else _read(model)
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(data).hexdigest()


def is_self_contained(model: str | Path | ModelProto) -> bool:
    """Tell whether a model that can be read has all its data in itself."""
    proto = model if isinstance(model, ModelProto) else ModelProto.FromString(_read(model))
    return not any(uses_external_data(tensor) for tensor in tensors_of(proto.graph))


def _read(path: str | Path) -> bytes:
    return Path(path).read_bytes()


def made_by() -> str:
    """Name everything that compiling takes."""
    return f"tilewright {tilewright.__version__} {_digest_of_sources()} {versions()} onnx {onnx.__version__}"


@cache
def _digest_of_sources() -> str:
    """Return the hash of everything that compiling takes."""
    root = Path(str(tilewright.__file__)).parent
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("isa", "compiler") for path in (root / folder).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
