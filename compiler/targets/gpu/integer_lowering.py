"""What lowering integer operators keeps track of besides: requantization constants, residuals, tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.gemm import Gemm, padded_channels
from tilewright.compiler.targets.gpu.gemm_kernels import gemm_kernel, packed_weight
from tilewright.compiler.targets.gpu.lowering import GpuLowering
from tilewright.compiler.targets.gpu.program import Launch
from tilewright.compiler.targets.kernels.integer_operands import IntegerOperands
from tilewright.compiler.targets.kernels.scaling import Scaling
from tilewright.isa.ir import DType


class IntegerLowering(IntegerOperands[Launch], GpuLowering):
    """The state of lowering integer operators."""

    @property
    def element(self) -> DType:
        """Type of the values in memory."""
        return DType.I8

    def finish(self, node: Node, scaling: Scaling | None) -> Finish:
        """Give what follows the sums of a node."""
        epilogue = node.get("epilogue") or qops.Epilogue()
        if scaling is None:
            return Finish(epilogue, has_table=self.has_table(node), has_scaling=False)
        return Finish(epilogue, scaling.is_high, scaling.has_shift, self.has_table(node))

    def scaling(self, node: Node) -> Scaling:
        """Give the requantization constants of a node."""
        bias, multiplier, shift = (self.array(node, name) for name in ("bias", "multiplier", "shift"))
        return Scaling.of(bias, multiplier, shift)

    def parameters(self, node: Node, scaling: Scaling | None, channels: int) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays = dict(scaling.arrays(channels)) if scaling is not None else {}
        if self.has_table(node):
            arrays["table"] = self.array(node, "table").astype(np.int8)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}

    def gemm(
        self, node: Node, gemm: Gemm, weight: NDArray[np.int8], scaling: Scaling, arguments: dict[str, str]
    ) -> None:
        """Append a convolution or matrix product."""
        chosen = self.choose(gemm)
        kernel = gemm_kernel(self.kernel_name(node.op), gemm, chosen)
        arguments["w"] = self.constant(f"{node.output}:w", packed_weight(gemm, chosen, weight))
        arguments |= self.parameters(node, scaling, padded_channels(gemm, chosen.columns))
        self.emit(node, kernel, arguments, gemm.macs, weight.size)
