"""Single layers from shapes alone, with random data: what `tilewright bench accelerator` measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.qops import Epilogue


@dataclass(frozen=True)
class ConvolutionShape:
    """A square convolution of one image.

    Attributes
    ----------
    name : str
    size : int
        Height and width of the input.
    inputs, outputs : int
        Channels.
    kernel, pad, stride : int
    groups : int
    """

    name: str
    size: int
    inputs: int
    outputs: int
    kernel: int
    pad: int
    stride: int
    groups: int = 1

    @property
    def output_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, those on padding included."""
        return self.output_size**2 * self.inputs // self.groups * self.outputs * self.kernel**2

    @property
    def least_bytes(self) -> tuple[int, int, int]:
        """Bytes of the inputs that count and of the results, for one image, and between them those of the weights."""
        inputs = min(self.size, self.output_size * self.kernel) ** 2 * self.inputs
        weights = self.inputs // self.groups * self.outputs * self.kernel**2
        return inputs, weights, self.output_size**2 * self.outputs


@dataclass(frozen=True)
class MatrixShape:
    """A product of an `rows x depth` and a `depth x columns` matrix."""

    name: str
    rows: int
    columns: int
    depth: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.columns * self.depth

    @property
    def least_bytes(self) -> tuple[int, int, int]:
        """Bytes of the left side, the right side, and the product."""
        return self.rows * self.depth, self.columns * self.depth, self.rows * self.columns


#: The convolutions of ResNet-18 that VTA's figures are for.
VTA_LAYERS = tuple(
    ConvolutionShape(*fields)
    for fields in (
        ("C2", 56, 64, 64, 3, 1, 1), ("C3", 56, 64, 128, 3, 1, 2), ("C4", 56, 64, 128, 1, 0, 2),
        ("C5", 28, 128, 128, 3, 1, 1), ("C6", 28, 128, 256, 3, 1, 2), ("C7", 28, 128, 256, 1, 0, 2),
        ("C8", 14, 256, 256, 3, 1, 1), ("C9", 14, 256, 512, 3, 1, 2), ("C10", 14, 256, 512, 1, 0, 2),
        ("C11", 7, 512, 512, 3, 1, 1),
    )
)  # fmt: skip

#: ResNet-18's first convolution.
CONV1 = ConvolutionShape("conv1", 224, 3, 64, 7, 3, 2)

#: Depthwise convolutions.
DEPTHWISE_LAYERS = (
    ConvolutionShape("dw56", 56, 64, 64, 3, 1, 1, 64),
    ConvolutionShape("dw28", 28, 128, 128, 3, 1, 1, 128),
    ConvolutionShape("dw14", 14, 256, 256, 3, 1, 1, 256),
)

#: ResNet-18's twenty convolutions: the different ones, and how often each is there.
RESNET18_CONVOLUTIONS = tuple(zip((CONV1, *VTA_LAYERS), (1, 4, 1, 1, 3, 1, 1, 3, 1, 1, 3), strict=True))

#: Matrix products with measured figures of Gemmini.
GEMMS = (
    MatrixShape("gemm128", 128, 128, 128),
    MatrixShape("gemm256", 256, 256, 256),
    MatrixShape("gemm512", 512, 512, 512),
    MatrixShape("gemm_m128_n768_k768", 128, 768, 768),
    MatrixShape("gemm_m128_n3072_k768", 128, 3072, 768),
    MatrixShape("gemm_m16_n1024_k1024", 16, 1024, 1024),
)


def convolution_graph(
    shape: ConvolutionShape, rng: np.random.Generator, multiplier_bits: int = 16, batch: int = 1
) -> Graph:
    """Return a graph of one convolution of `batch` images with random weights; input `x`, output `y`."""
    out = shape.output_size
    depth = shape.inputs // shape.groups
    weight = rng.integers(-128, 128, (shape.outputs, depth, shape.kernel, shape.kernel), np.int8)
    attributes = {
        "strides": (shape.stride,) * 2,
        "pads": (shape.pad,) * 4,
        "dilations": (1, 1),
        "groups": shape.groups,
        "zero_in": int(rng.integers(-128, 128)),
        "epilogue": Epilogue(int(rng.integers(-20, 20))),
    }
    constants = {"weight": weight, **scaling(shape.outputs, depth * shape.kernel**2, rng, multiplier_bits)}
    sizes = ((batch, shape.inputs, shape.size, shape.size), (batch, shape.outputs, out, out))
    return single_node_graph(shape.name, "qconv2d", attributes, constants, *sizes)


def matrix_graph(shape: MatrixShape, rng: np.random.Generator, multiplier_bits: int = 16) -> Graph:
    """Return a graph of one matrix product with a random constant right side; input `x`, output `y`."""
    weight = rng.integers(-128, 128, (shape.depth, shape.columns), np.int8)
    attributes = {"zero_in": int(rng.integers(-128, 128)), "epilogue": Epilogue(int(rng.integers(-20, 20)))}
    constants = {"weight": weight, **scaling(shape.columns, shape.depth, rng, multiplier_bits)}
    sizes = ((shape.rows, shape.depth), (shape.rows, shape.columns))
    return single_node_graph(shape.name, "qmatmul", attributes, constants, *sizes)


def scaling(channels: int, terms: int, rng: np.random.Generator, multiplier_bits: int) -> dict[str, Array]:
    """Return bias, multiplier and shift that bring sums of random products into the range of int8."""
    spread = 74 * 74 * np.sqrt(terms) / 60
    shift = int(np.log2(spread)) + multiplier_bits
    low = 1 << (multiplier_bits - 1)
    return {
        "bias": rng.integers(-1000, 1000, channels, np.int32),
        "multiplier": rng.integers(low, 2 * low, channels, np.int32),
        "shift": np.full(channels, min(shift, 47), np.int32),
    }


def single_node_graph(
    name: str,
    op: str,
    attributes: dict[str, object],
    constants: dict[str, Array],
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    operands: tuple[str, ...] = ("x", "weight", "bias", "multiplier", "shift", "", ""),
) -> Graph:
    """Return a graph of one node from `x` to `y`."""
    values = {"x": Value("x", "int8", in_shape), "y": Value("y", "int8", out_shape)}
    values |= {key: Value(key, array.dtype.name, array.shape) for key, array in constants.items()}
    node = Node(op, operands, ("y",), attributes, (name,))
    return Graph(name, values, (node,), constants, ("x",), ("y",), {"": 17})
