"""What PyTorch takes for the same work on the same GPU, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_SAMPLES = 15
_WARM = 5


def cublas_time(size: int, kind: str) -> tuple[str | None, float | None]:
    """Time cuBLAS's product of square matrices: its name, and milliseconds.

    Parameters
    ----------
    size : int
    kind : str
        `i8`, to int32, `f16` or `f32`.
    """
    torch = _torch()
    if torch is None:
        return None, None
    if kind == "i8":
        a, b = (torch.randint(-128, 128, (size, size), dtype=torch.int8, device="cuda") for _ in range(2))
        multiply, name = torch._int_mm, "_int_mm"
    else:
        dtype = torch.float16 if kind == "f16" else torch.float32
        a, b = (torch.randn((size, size), dtype=dtype, device="cuda") for _ in range(2))
        multiply, name = torch.matmul, "matmul"
    transposed = b.t()  # columns innermost is what cuBLAS is fastest with
    return f"cuBLAS, torch {torch.__version__} {name}", _median(torch, lambda: multiply(a, transposed), 20)


def compiled_time(name: str, batch: int, precision: str) -> tuple[str | None, float | None]:
    """Time a network of `bench.float_networks` by `torch.compile`, replayed as a CUDA graph; TF32 is not used.

    Give None where PyTorch (for ResNet-18 also torchvision) is missing.
    """
    torch = _torch()
    make = {"resnet18": _resnet18, "encoder_layer": _encoder_layer}[name]
    dtype = None if torch is None else {"fp16": torch.float16, "fp32": torch.float32}[precision]
    found = None if torch is None else make(torch, batch, dtype)
    if torch is None or found is None:
        return None, None
    module, x = found
    with torch.no_grad():
        compiled = torch.compile(module)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                compiled(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            compiled(x)
        milliseconds = _median(torch, graph.replay, 100 if batch == 1 else 20)
    return f"torch {torch.__version__} compile, {precision}, one CUDA graph", milliseconds


def _torch() -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch


def _median(torch: Any, work: Callable[[], object], repeats: int) -> float:
    """Time `repeats` runs together; give the milliseconds of one, the median of some samples."""
    for _ in range(_WARM):
        work()
    times = []
    for _ in range(_SAMPLES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / repeats)
    return float(sorted(times)[_SAMPLES // 2])


def _resnet18(torch: Any, batch: int, dtype: Any) -> tuple[Any, Any] | None:
    try:
        models = importlib.import_module("torchvision.models")
    except ImportError:
        return None
    module = models.resnet18().eval().to(dtype).cuda().to(memory_format=torch.channels_last)
    x = torch.randn((batch, 3, 224, 224), device="cuda").to(dtype).to(memory_format=torch.channels_last)
    return module, x


def _encoder_layer(
    torch: Any, batch: int, dtype: Any, words: int = 128, channels: int = 768, heads: int = 12
) -> tuple[Any, Any]:
    nn, functional = torch.nn, torch.nn.functional

    class Layer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))
            self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
            self.first, self.second = (nn.LayerNorm(channels, eps=1e-12) for _ in range(2))

        def heads(self, x: Any) -> Any:
            return x.view(batch, words, heads, channels // heads).transpose(1, 2)

        def forward(self, x: Any) -> Any:
            q, k, v = (self.heads(part(x)) for part in (self.q, self.k, self.v))
            mixed = functional.scaled_dot_product_attention(q, k, v)
            x = self.first(self.out(mixed.transpose(1, 2).reshape(batch, words, channels)) + x)
            return self.second(self.narrow(functional.gelu(self.wide(x))) + x)

    x = torch.randn((batch, words, channels), device="cuda").to(dtype)
    return Layer().eval().to(dtype).cuda(), x
