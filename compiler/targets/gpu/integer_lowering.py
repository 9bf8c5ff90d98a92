"""What lowering integer operators keeps track of besides: requantization constants, residuals, tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.gemm import Gemm, padded_channels
from tilewright.compiler.targets.gpu.gemm_kernels import gemm_kernel, packed_weight
from tilewright.compiler.targets.gpu.lowering import Lowering, Need, Sliding
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.targets.kernels.scaling import Scaling
from tilewright.isa.ir import DType


@dataclass
class IntegerLowering(Lowering):
    """The state of lowering integer operators."""

    @property
    def element(self) -> DType:
        """Type of the values in memory."""
        return DType.I8

    def activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""
        operator = qops.OPERATORS[node.op]
        if operator.is_variadic:
            return list(node.inputs)
        return [name for formal, name in zip(operator.operands, node.inputs, strict=True) if not formal.is_constant]

    def sliding(self, node: Node) -> Sliding | None:
        """Give the window that a node slides over its first input, or None."""
        if node.op not in ("qconv2d", "qmaxpool", "qavgpool"):
            return None
        value = qops.INT8_MIN if node.op == "qmaxpool" else node["zero_in"]
        is_dense = node.op == "qconv2d" and node["groups"] == 1
        return Sliding(qops.window(self.graph, node), value, is_dense)

    def finish(self, node: Node, scaling: Scaling | None) -> Finish:
        """Give what follows the sums of a node."""
        has_table = bool(qops.has_operand(node.op, "table") and qops.operand(node, "table"))
        epilogue = node.get("epilogue") or qops.Epilogue()
        if scaling is None:
            return Finish(epilogue, has_table=has_table, has_scaling=False)
        return Finish(epilogue, scaling.is_high, scaling.has_shift, has_table)

    def scaling(self, node: Node) -> Scaling:
        """Give the requantization constants of a node."""
        bias, multiplier, shift = (self.array(node, name) for name in ("bias", "multiplier", "shift"))
        return Scaling.of(bias, multiplier, shift)

    def array(self, node: Node, operand: str) -> NDArray[Any]:
        """Give a constant operand."""
        return np.asarray(self.graph.constants[qops.operand(node, operand)])

    def parameters(self, node: Node, scaling: Scaling | None, channels: int) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays = dict(scaling.arrays(channels)) if scaling is not None else {}
        if qops.has_operand(node.op, "table") and qops.operand(node, "table"):
            arrays["table"] = self.array(node, "table").astype(np.int8)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}

    def residual(self, node: Node) -> tuple[dict[str, str], Image | None]:
        """Give a node's second operand as an argument."""
        name = qops.operand(node, "residual") if qops.has_operand(node.op, "residual") else ""
        if not name:
            return {}, None
        storage, image = self.image(node, name, Need())
        return {"residual": storage}, image

    def gemm(
        self, node: Node, gemm: Gemm, weight: NDArray[np.int8], scaling: Scaling, arguments: dict[str, str]
    ) -> None:
        """Append a convolution or matrix product."""
        chosen = self.choose(gemm)
        kernel = gemm_kernel(self.kernel_name(node.op), gemm, chosen)
        arguments["w"] = self.constant(f"{node.output}:w", packed_weight(gemm, chosen, weight))
        arguments |= self.parameters(node, scaling, padded_channels(gemm, chosen.columns))
        self.emit(node, kernel, arguments, gemm.macs, weight.size)
