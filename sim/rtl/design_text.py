"""The Verilog that is simulated: generated once, then cached."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import tilewright.hw
import tilewright.isa
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.vector_ops import VECTOR_OPS
from tilewright.sim.rtl.cache import Cache, content_hash

_FILE = "design.v"
_GENERATORS = ("amaranth", "pyosys")


def design_text(isa: InstructionSet, top: str, cache: Cache) -> str:
    """Return the Verilog of an instruction set's accelerator, as the compiled models are made from it.

    It is kept in the cache under the hash of the configuration and of the sources that generate it; an instruction
    set with vector operations of its own is generated each time.
    """
    if any(op not in VECTOR_OPS for op in isa.vector_ops):
        return _generate(isa, top)
    names = [op.name for op in isa.vector_ops]
    key = content_hash((isa.config.hash, top, repr(names), Path(__file__).read_bytes(), *_generator_sources()))

    def make(folder: Path) -> None:
        (folder / _FILE).write_text(_generate(isa, top))

    return (cache.get(f"design-{key}", make) / _FILE).read_text()


def _generate(isa: InstructionSet, top: str) -> str:
    from tilewright.hw import elaborate  # Amaranth takes a while to import

    return elaborate.verilog(isa, top)


def _generator_sources() -> list[bytes]:
    versions = [importlib.metadata.version(name).encode() for name in _GENERATORS]
    folders = [Path(folder) for package in (tilewright.hw, tilewright.isa) for folder in package.__path__]
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [*versions, *(part for path in files for part in (path.name.encode(), path.read_bytes()))]
