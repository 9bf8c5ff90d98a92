"""What lowering integer operators keeps track of on a processor: offset bytes, and their constants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish, Requantization
from tilewright.compiler.targets.cpu.native_lowering import NativeLowering
from tilewright.compiler.targets.cpu.program import Launch
from tilewright.compiler.targets.cpu.rows import broadcast
from tilewright.compiler.targets.kernels.integer_operands import IntegerOperands
from tilewright.compiler.targets.kernels.layout import Placed, View
from tilewright.compiler.targets.kernels.memory_plan import Storage
from tilewright.compiler.targets.kernels.scaling import continued
from tilewright.isa.ir import DType


@dataclass
class CpuLowering(NativeLowering, IntegerOperands[Launch]):
    """The state of lowering integer operators. Bytes in memory are 128 more than int8; what enters may be signed."""

    @property
    def element(self) -> DType:
        """Type of the values in memory."""
        return DType.U8

    # ---- memory ----------------------------------------------------------------------------------------------

    def border_byte(self, value: int) -> int:
        """Give the byte in memory of what a border holds."""
        return value + OFFSET

    def operand(self, name: str) -> Placed:
        """Give a value as offset bytes, copied where it is signed."""
        placed = self.places[name]
        if placed.dtype != DType.I8:
            return placed
        storage, size = f"t:{name}:bytes", prod(placed.view.shape)
        found = Placed(storage, size, View.plain(placed.view.shape), None, DType.U8)
        if storage not in self.storages:
            self.storages[storage] = Storage(storage, size)
            self.move(name, placed, found)
        self.places[name] = found
        return found

    def rows_of(self, name: str) -> Placed:
        """Give a value with its last dimension side by side, where whole vectors may be read."""
        placed = self.operand(name)
        if placed.view.strides[-1:] == (1,) and not placed.storage.startswith("in:"):
            return placed
        return self.padded_rows(name, placed, placed.view.shape[-2] if len(placed.view.shape) > 1 else 1)

    def padded_rows(self, name: str, placed: Placed, rows: int) -> Placed:
        """Copy a value to rows of whole vectors, and so many of them."""
        found = self._rows(f"t:{name}:rows{rows}", placed.view.shape, rows)
        self.move(name, placed, found)
        return found

    def row_residual(self, node: Node) -> tuple[dict[str, str], Placed | None]:
        """Give a node's second operand, with its last dimension side by side."""
        name = qops.operand(node, "residual")
        if not name:
            return {}, None
        shape = self.graph.shape(node.output)
        placed = self.rows_of(name)
        if placed.view.shape[-1] != shape[-1]:
            repeated = broadcast(placed.view, (*placed.view.shape[:-1], shape[-1]))
            placed = self.padded_rows(f"{name}:repeated", replace(placed, view=repeated), repeated.shape[-2])
        return {"residual": placed.storage}, placed

    # ---- operators -------------------------------------------------------------------------------------------

    def scaling(
        self, node: Node, less: NDArray[Any] | int = 0, largest: int = 1 << 31, region: int | None = None
    ) -> Requantization:
        """Give the requantization of a node: from its bias `less` is taken, what bytes are too large by.

        Where the constants are those of regions, only one holds.
        """
        bias, multiplier, shift = (self.array(node, name) for name in ("bias", "multiplier", "shift"))
        if region is not None:
            multiplier, shift = multiplier[region : region + 1], shift[region : region + 1]
        wrapped = (bias.astype(np.int64) - less).astype(np.int32)
        return Requantization.of(self.level, wrapped, multiplier, shift, largest)

    def finish(self, node: Node, scaling: Requantization | None) -> Finish:
        """Give what follows the sums of a node."""
        return Finish.of(self.level, node.get("epilogue") or qops.Epilogue(), scaling, self.has_table(node))

    def parameters(
        self, node: Node, scaling: Requantization | None, channels: int, has_bias: bool = True
    ) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays: dict[str, NDArray[Any]] = {}
        if scaling is not None:
            arrays = {key: continued(array, channels) for key, array in scaling.arrays.items()}
            if has_bias:
                arrays["bias"] = continued(scaling.bias, channels)
        if self.has_table(node):
            arrays["table"] = self.array(node, "table").astype(np.int8).view(np.uint8) ^ np.uint8(OFFSET)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}
