"""The models of a sweep: networks by name, ONNX files by path; each read once in a process."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import integer_passes
from tilewright.compiler.targets.accelerator.networks import mobilenet_v2_graph, resnet18_graph
from tilewright.isa.errors import InputError

#: Structures with seeded weights, by the names of `tilewright bench accelerator`.
NETWORKS: Mapping[str, Callable[[np.random.Generator], Graph]] = {
    "resnet18": resnet18_graph,
    "mobilenet_v2": mobilenet_v2_graph,
}


@lru_cache(maxsize=16)
def read_model(name: str) -> Graph:
    """Return the imported graph of a model.

    Raises
    ------
    InputError
        When it is neither a known network nor a file.
    ModelError
        When the file is no valid model.
    """
    if name in NETWORKS:
        return NETWORKS[name](np.random.default_rng(zlib.crc32(name.encode())))
    from tilewright import api

    _check_file(name)
    return api.load(name)


@lru_cache(maxsize=16)
def integer_graph(name: str, multiplier_bits: int) -> Graph:
    """Return the integer graph of a model: `read_model`, and all that compiling does before it knows the array."""
    return run_passes(read_model(name), integer_passes(multiplier_bits))


@lru_cache(maxsize=16)
def model_digest(name: str) -> str:
    """Return what names a model's content: the network's name, or a hash of the file."""
    if name in NETWORKS:
        return name
    _check_file(name)
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def _check_file(name: str) -> None:
    if not os.path.isfile(name):
        raise InputError(f"model `{name}` is neither a network ({', '.join(NETWORKS)}) nor a file")
