"""Replace a nest by the instruction that means it."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.compiler.tir.primitives.loops import around, find_loop, replace_stmt
from tilewright.compiler.tir.tensorize import Tensorizer
from tilewright.isa.ir import Function


def tensorize(function: Function, loop: str, tensorizer: Tensorizer, placement: Mapping[str, int]) -> Function:
    """Replace a loop, with all that is in it, by one instruction.

    Before::

        for i in range(4):
          for k in range(16):
            for byte in range(64):
              w[k, byte] = i8(dram_w[i * 16 + k, byte])

    After `tensorize(f, "k", tensorizer, {"w": 0, "dram_w": 4096})`::

        for i in range(4):
          LOAD_WGT(extent0=1, extent_run=16, base=0, dram_base=i * 1024 + 4096)

    Parameters
    ----------
    function : Function
    loop : str
    tensorizer : Tensorizer
    placement : Mapping[str, int]
        Where the buffers that the nest uses lie: first entries.

    Raises
    ------
    ScheduleError, TensorizeError
        For an unknown loop; if the nest is no instruction, with the reasons, or not at these places.
    """
    nest = find_loop(function, loop)
    outer = tuple(f.var.name for f in around(function, nest))
    return replace_stmt(function, nest, tensorizer.call(nest, outer, placement))
