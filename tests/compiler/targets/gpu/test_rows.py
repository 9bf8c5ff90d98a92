"""Attention and layer normalization in fp16 and fp32, each kernel by itself through the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.attention import Attention, choose_warps
from tilewright.compiler.targets.gpu.attention_rows import RowAttention
from tilewright.compiler.targets.gpu.instructions import interpreted
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.norms import layer_norm
from tilewright.compiler.targets.kernels.activation import Activation, real
from tilewright.compiler.targets.kernels.layout import Image, Placed, View
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


def _problem(kind: DType, words: int, parts: int, mask: Placed | None) -> Attention | RowAttention:
    channels = _HEADS * _DEPTH
    image = Image.of((_BATCH, words, 3 * channels), dtype=kind)
    target = Image.of((_BATCH, words, channels), dtype=kind)
    operands = (image,) * 3, (0, channels, 2 * channels), target, _BATCH, words, _HEADS, _DEPTH, _DEPTH**-0.5, mask
    return RowAttention(*operands, parts, 4) if kind == DType.F32 else Attention(*operands, parts, 16)


def _check_attention(
    problem: Attention | RowAttention, mask: NDArray[np.float32] | None, rng: np.random.Generator
) -> None:
    kind = np.float32 if problem.target.dtype == DType.F32 else np.float16
    x = (2 * rng.normal(size=(_BATCH, problem.words, 3, _HEADS, _DEPTH))).astype(kind)
    y = np.full((_BATCH, problem.words, _HEADS * _DEPTH), np.nan, kind)
    arrays = {"q": x, "k": x, "v": x, "y": y} | ({} if mask is None else {"mask": mask})
    _run(problem.kernel("attention"), arrays)
    q, k, v = (x[:, :, i].astype(np.float64) for i in range(3))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) * _DEPTH**-0.5 + (0 if mask is None else mask)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bhqk,bkhd->bqhd", powers / powers.sum(-1, keepdims=True), v).reshape(y.shape)
    assert np.linalg.norm(y - expected) < (1e-5 if kind == np.float32 else 1e-3) * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("kind", "words", "parts"), [(DType.F16, 16, 1), (DType.F16, 21, 2), (DType.F32, 16, 2), (DType.F32, 21, 4)]
)
def test_attention_is_softmax_of_products(kind: DType, words: int, parts: int, rng: np.random.Generator) -> None:
    _check_attention(_problem(kind, words, parts, None), None, rng)


_SHAPES = {"keys": (_BATCH, 1, 1, 21), "rows": (21, 21), "scores": (1, _HEADS, 21, 21)}


@pytest.mark.parametrize("kind", [DType.F16, DType.F32])
@pytest.mark.parametrize("shape", _SHAPES.values(), ids=_SHAPES)
def test_masks_are_added_to_scores(kind: DType, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Some words are left out, as exporters say it; others are only worth less."""
    mask = rng.normal(size=shape).astype(np.float32)
    mask[rng.random(shape) < 0.3] = np.finfo(np.float32).min
    mask[..., 0] = 0
    placed = Placed("mask", mask.size, View.plain(shape).repeated((_BATCH, _HEADS, 21, 21)), None, DType.F32)
    _check_attention(_problem(kind, 21, 2, placed), mask, rng)


def test_warps_are_few_where_there_are_few_blocks() -> None:
    assert (choose_warps(1, 12, 128), choose_warps(32, 12, 128)) == (2, 4)


@pytest.mark.parametrize(("channels", "kind"), [(40, DType.F16), (256, DType.F16), (40, DType.F32)])
def test_normalization_of_rows(channels: int, kind: DType, rng: np.random.Generator) -> None:
    image, array = Image.of((5, channels), dtype=kind), np.float32 if kind == DType.F32 else np.float16
    x = np.zeros((5, image.pitch), array)
    x[:, :channels] = 3 + 2 * rng.normal(size=(5, channels))
    scale, bias = (rng.normal(size=channels).astype(np.float32) for _ in range(2))
    arrays = {"x": x, "y": np.zeros_like(x), "scale": scale, "bias": bias}
    _run(layer_norm("norm", image, image, 1e-5), arrays)
    wide = x[:, :channels].astype(np.float64)
    spread = np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    expected = (wide - wide.mean(-1, keepdims=True)) / spread * scale + bias
    far = 1e-5 if kind == DType.F32 else 1e-3
    assert np.linalg.norm(arrays["y"][:, :channels] - expected) < far * np.linalg.norm(expected)


@pytest.mark.parametrize("x", [-100.0, -4.0, -1.3, -0.01, 0.0, 0.7, 3.9, 50.0])
def test_gelu(x: float) -> None:
    from math import erf

    expected = 0.5 * x * (1 + erf(x / 2**0.5))
    assert evaluate(Activation(is_gelu=True).value(real(x))) == pytest.approx(expected, rel=1e-5, abs=1.4e-4)
