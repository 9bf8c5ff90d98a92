"""Attention and layer normalization in fp16, each kernel by itself through the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.attention import Attention, choose_warps
from tilewright.compiler.targets.gpu.float_epilogue import Activation, real
from tilewright.compiler.targets.gpu.instructions import interpreted
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.norms import layer_norm
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.tir.interpreter import evaluate, interpret
from tilewright.isa.ir import DType

_BATCH, _HEADS, _DEPTH = 2, 2, 32


def _run(kernel: Kernel, arrays: dict[str, NDArray[np.generic]]) -> None:
    padded = {}
    for buffer in kernel.function.buffers:
        padded[buffer.name] = np.zeros(buffer.shape, arrays[buffer.name].dtype)
        flat = arrays[buffer.name].reshape(-1)
        padded[buffer.name][: flat.size] = flat
    interpret(kernel.function, {}, padded, interpreted())
    arrays["y"][...] = padded["y"][: arrays["y"].size].reshape(arrays["y"].shape)


@pytest.mark.parametrize(("words", "warps"), [(16, 1), (21, 2)])
def test_attention_is_softmax_of_products(words: int, warps: int, rng: np.random.Generator) -> None:
    channels = _HEADS * _DEPTH
    image = Image.of((_BATCH, words, 3 * channels), dtype=DType.F16)
    target = Image.of((_BATCH, words, channels), dtype=DType.F16)
    problem = Attention(
        (image,) * 3, (0, channels, 2 * channels), target, _BATCH, words, _HEADS, _DEPTH, _DEPTH**-0.5, warps, 16
    )
    x = (2 * rng.normal(size=(_BATCH, words, 3, _HEADS, _DEPTH))).astype(np.float16)
    y = np.full((_BATCH, words, channels), np.nan, np.float16)
    arrays = {"q": x, "k": x, "v": x, "y": y}
    _run(problem.kernel("attention"), arrays)
    q, k, v = (x[:, :, i].astype(np.float64) for i in range(3))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) * _DEPTH**-0.5
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bhqk,bkhd->bqhd", powers / powers.sum(-1, keepdims=True), v).reshape(y.shape)
    assert np.linalg.norm(y - expected) < 1e-3 * np.linalg.norm(expected)


def test_warps_are_few_where_there_are_few_blocks() -> None:
    assert (choose_warps(1, 12, 128), choose_warps(32, 12, 128)) == (2, 4)


@pytest.mark.parametrize("channels", [40, 256])
def test_normalization_of_rows(channels: int, rng: np.random.Generator) -> None:
    image = Image.of((5, channels), dtype=DType.F16)
    x = np.zeros((5, image.pitch), np.float16)
    x[:, :channels] = 3 + 2 * rng.normal(size=(5, channels))
    scale, bias = (rng.normal(size=channels).astype(np.float32) for _ in range(2))
    arrays = {"x": x, "y": np.zeros_like(x), "scale": scale, "bias": bias}
    _run(layer_norm("norm", image, image, 1e-5), arrays)
    wide = x[:, :channels].astype(np.float64)
    spread = np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    expected = (wide - wide.mean(-1, keepdims=True)) / spread * scale + bias
    assert np.linalg.norm(arrays["y"][:, :channels] - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("x", [-100.0, -4.0, -1.3, -0.01, 0.0, 0.7, 3.9, 50.0])
def test_gelu(x: float) -> None:
    from math import erf

    expected = 0.5 * x * (1 + erf(x / 2**0.5))
    assert evaluate(Activation(is_gelu=True).value(real(x))) == pytest.approx(expected, rel=1e-5, abs=1.4e-4)
