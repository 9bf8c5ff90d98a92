"""Turns quantized average pooling into qavgpool and qglobalavgpool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Shape
from tilewright.compiler.passes.matching import QuantizedResult, rewrite_quantized
from tilewright.compiler.passes.quantization import Source, Unsuitable, required_source
from tilewright.compiler.passes.recognise_reduce import reduced_axes
from tilewright.compiler.passes.scaling import scaling_constants
from tilewright.compiler.passes.windows import as_image, declared_pads, image_shape, window_of
from tilewright.compiler.qops import Window, window_counts


@dataclass(frozen=True)
class RecognisePool:
    """Replace DequantizeLinear, AveragePool, GlobalAveragePool or ReduceMean over H and W, QuantizeLinear.

    Before: `%f = onnx.AveragePool(dequantized x)`, `%y: int8 = onnx.QuantizeLinear(%f)`.
    After: `%y: int8 = qavgpool(x, bias, multiplier, shift)`, or qglobalavgpool when the window is the whole plane.
    """

    multiplier_bits: int = 16
    name: str = "recognise-pool"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable average as an integer operator."""
        rules = {
            "onnx.AveragePool": self._average,
            "onnx.GlobalAveragePool": self._global,
            "onnx.ReduceMean": self._mean,
        }
        return rewrite_quantized(graph, rules)

    def _global(self, editor: GraphEditor, result: QuantizedResult) -> str:
        assert result.core is not None
        return self._plane_average(editor, result, required_source(editor.graph, result.core.inputs[0]))

    def _mean(self, editor: GraphEditor, result: QuantizedResult) -> str:
        assert result.core is not None
        source = required_source(editor.graph, result.core.inputs[0])
        axes = reduced_axes(editor.graph, result.core)
        if axes != tuple(range(2, len(editor.graph.shape(source.name)))):
            raise Unsuitable(result.core.reason or f"the mean is over dimensions {axes}, not over a plane")
        return self._plane_average(editor, result, source)

    def _average(self, editor: GraphEditor, result: QuantizedResult) -> str:
        graph, pool = editor.graph, result.core
        assert pool is not None
        source = required_source(graph, pool.inputs[0])
        image = image_shape(graph, source.name)
        window = window_of(graph, pool, pool["kernel_shape"])
        counted = declared_pads(graph, pool, pool["kernel_shape"])
        if not pool.get("count_include_pad", 0):
            counted = (0, 0, 0, 0)
        if window.kernel == image[2:] and not any(window.pads):
            return self._plane_average(editor, result, source)
        return self._windows(editor, result, source, window, counted)

    def _windows(
        self, editor: GraphEditor, result: QuantizedResult, source: Source, window: Window, counted: Shape
    ) -> str:
        image = image_shape(editor.graph, source.name)
        counts = np.unique(window_counts(window, image[2], image[3], counted))
        zero = source.quantization.zero
        bias = np.array([-zero * window.kernel[0] * window.kernel[1]])
        ratio = source.quantization.scale / result.quantization.scale
        factors = [ratio / max(int(count), 1) for count in counts]
        scaling = scaling_constants(editor, result.name, bias, factors, self.multiplier_bits)
        attributes = {
            **window.as_attributes(),
            "counted_pads": counted,
            "counts": tuple(int(count) for count in counts),
            "zero_in": zero,
            "epilogue": result.epilogue,
        }
        shape = (*image[:2], *window.output_extents(image[2], image[3]))
        inputs = (as_image(editor, source.name), *scaling, "", "")
        output = (f"{result.name}/pool", "int8", shape)
        return _shaped(editor, result, editor.emit("qavgpool", inputs, output, attributes, result.origin), shape)

    def _plane_average(self, editor: GraphEditor, result: QuantizedResult, source: Source) -> str:
        batch, channels, height, width = image_shape(editor.graph, source.name)
        count = height * width
        bias = np.array([-source.quantization.zero * count])
        factor = source.quantization.scale / result.quantization.scale / count
        scaling = scaling_constants(editor, result.name, bias, [factor], self.multiplier_bits)
        inputs = (as_image(editor, source.name), *scaling, "", "")
        shape = (batch, channels, 1, 1)
        output = (f"{result.name}/pool", "int8", shape)
        attributes = {"epilogue": result.epilogue}
        return _shaped(editor, result, editor.emit("qglobalavgpool", inputs, output, attributes, result.origin), shape)


def _shaped(editor: GraphEditor, result: QuantizedResult, name: str, shape: Shape) -> str:
    wanted = editor.graph.shape(result.name)
    if wanted == shape:
        return name
    return editor.emit("reshape", [name], (f"{result.name}/shaped", "int8", wanted), {"shape": wanted}, result.origin)
