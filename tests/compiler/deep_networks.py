"""More whole networks from their structure alone: ResNet-50 and EfficientNet-Lite0, with random weights."""

from __future__ import annotations

import numpy as np

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder

#: ResNet-50's stages: channels inside a block, blocks, and the stride of the first.
RESNET50_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))

#: EfficientNet-Lite0's stages: how much wider a block is inside, channels, blocks, stride of the first, kernel.
EFFICIENTNET_LITE0_STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip


def resnet50_graph(rng: np.random.Generator, size: int = 224, classes: int = 1000, batch: int = 1) -> Graph:
    """Return ResNet-50 (its stride in the 3x3 convolutions) for images of `size` x `size` pixels."""
    net = NetworkBuilder("resnet50", (batch, 3, size, size), rng)
    x, inputs = net.max_pool(net.convolution("x", 64, 7, 2), 3, 2), 64
    for channels, blocks, stride in RESNET50_STAGES:
        for first in (stride, *(1,) * (blocks - 1)):
            outputs = 4 * channels
            shortcut = x if inputs == outputs else net.convolution(x, outputs, 1, first, relu=False)
            y = net.convolution(net.convolution(x, channels, 1), channels, 3, first)
            x, inputs = net.convolution(y, outputs, 1, residual=shortcut), outputs
    return net.graph(net.matrix(net.global_average(x), classes))


def efficientnet_lite0_graph(rng: np.random.Generator, size: int = 224, classes: int = 1000, batch: int = 1) -> Graph:
    """Return EfficientNet-Lite0 for images of `size` x `size` pixels."""
    net = NetworkBuilder("efficientnet_lite0", (batch, 3, size, size), rng)
    x, inputs = net.convolution("x", 32, 3, 2), 32
    for expansion, channels, blocks, stride, kernel in EFFICIENTNET_LITE0_STAGES:
        for first in (stride, *(1,) * (blocks - 1)):
            wide = expansion * inputs
            y = net.convolution(x, wide, 1) if expansion > 1 else x
            y = net.convolution(y, wide, kernel, first, groups=wide)
            shortcut = x if first == 1 and inputs == channels else ""
            x, inputs = net.convolution(y, channels, 1, residual=shortcut, relu=False), channels
    return net.graph(net.matrix(net.global_average(net.convolution(x, 1280, 1)), classes))
