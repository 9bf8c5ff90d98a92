"""Train, quantize and write the model that ships inside the package.

The network is MLPerf Tiny's ResNet-8 (a 3x3 convolution with 16 filters, three stacks of 16, 32 and 64
filters, global average pooling, a dense layer) on scikit-learn's handwritten digits, enlarged from 8x8 to
32x32. The digits are grey, so the input has one channel, not CIFAR's three: a first layer on a copied
channel would do work that says nothing. Everything after the first convolution has MLPerf's shapes. The
softmax is left to the host: it changes no ranking, and without it the whole network runs on the accelerator.

Run it with the ``train`` extra installed::

    pip install -e '.[train]'
    python tools/train_default_model.py

It writes three files to ``src/tilewright/data``: the int8 model, held-out samples, and a JSON with what was
measured. One seed and one thread make it repeatable: two runs on one machine, with one version of torch,
write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

SEED = 20
INPUT_SHAPE = (1, 1, 32, 32)
CLASSES = 10
TEST_IMAGES = 500
CALIBRATION_IMAGES = 200
SAMPLES_PER_CLASS = 4
OPSET = 17


@dataclass(frozen=True)
class Digits:
    """Images, float32 ``[n, 1, 32, 32]`` in 0..1, and labels, int64 ``[n]``, of both splits."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_data() -> Digits:
    images, labels = load_digits(return_X_y=True)
    small = torch.from_numpy((images / 16).astype(np.float32)).reshape(-1, 1, 8, 8)
    large = functional.interpolate(small, size=INPUT_SHAPE[2:], mode="bilinear", align_corners=False)
    train, test = train_test_split(np.arange(len(labels)), test_size=TEST_IMAGES, random_state=SEED, stratify=labels)
    targets = torch.from_numpy(labels.astype(np.int64))
    return Digits(large[train], targets[train], large[test], targets[test])


class Stack(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride) if stride != 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet8(nn.Module):
    """MLPerf Tiny's image classification network, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(INPUT_SHAPE[1], 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.stacks = nn.ModuleList([Stack(16, 16, 1), Stack(16, 32, 2), Stack(32, 64, 2)])
        self.dense = nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        for stack in self.stacks:
            y = stack(y)
        return self.dense(y.mean(dim=(2, 3)))


def shift(images: torch.Tensor, generator: torch.Generator, reach: int = 3) -> torch.Tensor:
    """Move each image by up to `reach` pixels in both directions, filling with background."""
    padded = functional.pad(images, (reach, reach, reach, reach))
    height, width = images.shape[2:]
    offsets = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [image[:, dy : dy + height, dx : dx + width] for image, (dy, dx) in zip(padded, offsets, strict=True)]
    )


def train(network: ResNet8, data: Digits, epochs: int, batch: int = 32) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    batches = -(-len(data.train_images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * batches)
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for chosen in torch.randperm(len(data.train_images), generator=generator).split(batch):
            images = shift(data.train_images[chosen], generator)
            loss = functional.cross_entropy(network(images), data.train_labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {total / len(data.train_images):.4f}", flush=True)
    network.eval()


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution with its batch normalization folded in."""
    with torch.no_grad():
        bias = conv.bias if conv.bias is not None else torch.zeros(conv.out_channels)
        if norm is None:
            return conv.weight.numpy(), bias.numpy()
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.weight * gain[:, None, None, None]
        return weight.numpy(), ((bias - norm.running_mean) * gain + norm.bias).numpy()


class GraphBuilder:
    """Collects nodes and initializers; each method returns the name of the tensor that it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray, name: str) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def conv(self, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, name: str) -> str:
        weight, bias = fold(conv, norm)
        inputs = [x, self.constant(weight, f"{name}_weight"), self.constant(bias, f"{name}_bias")]
        pad = conv.padding[0]
        return self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[pad] * 4,
        )

    def stack(self, x: str, stack: Stack, name: str) -> str:
        y = self.conv(x, stack.conv1, stack.norm1, f"{name}_conv1")
        y = self.node("Relu", [y], f"{name}_relu1")
        y = self.conv(y, stack.conv2, stack.norm2, f"{name}_conv2")
        if stack.shortcut is not None:
            x = self.conv(x, stack.shortcut, None, f"{name}_shortcut")
        return self.node("Relu", [self.node("Add", [y, x], f"{name}_add")], f"{name}_relu2")


def to_onnx(network: ResNet8) -> onnx.ModelProto:
    graph = GraphBuilder()
    y = graph.conv("image", network.conv, network.norm, "conv")
    y = graph.node("Relu", [y], "relu")
    for index, stack in enumerate(network.stacks, start=1):
        y = graph.stack(y, stack, f"stack{index}")
    y = graph.node("GlobalAveragePool", [y], "pool")
    y = graph.node("Flatten", [y], "flatten", axis=1)
    weight = graph.constant(network.dense.weight.detach().numpy(), "dense_weight")
    bias = graph.constant(network.dense.bias.detach().numpy(), "dense_bias")
    graph.node("Gemm", [y, weight, bias], "logits", transB=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "resnet8_digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, INPUT_SHAPE)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, CLASSES))],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class Images(quantization.CalibrationDataReader):
    """Hands images to the quantizer one at a time."""

    def __init__(self, images: torch.Tensor) -> None:
        self.remaining = iter(images.numpy())

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.remaining, None)
        return None if image is None else {"image": image[None]}


def quantize(model: onnx.ModelProto, images: torch.Tensor) -> onnx.ModelProto:
    """Quantize to int8 QDQ: asymmetric activations per tensor, symmetric weights per output channel."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)  # handed over in memory, the quantizer would change it
        quantization.quantize_static(
            source,
            target,
            Images(images),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        result = onnx.load(target)
    strip(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def strip(model: onnx.ModelProto) -> None:
    """Take out what says how the file was made, and the shapes that inference restores."""
    model.producer_name, model.producer_version, model.doc_string = "tilewright", "", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def accuracy(model: onnx.ModelProto, images: np.ndarray, labels: np.ndarray) -> float:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [int(session.run(None, {"image": image[None]})[0].argmax()) for image in images]
    return float(np.mean(np.array(found) == labels))


def write(folder: Path, float_model: onnx.ModelProto, int8_model: onnx.ModelProto, data: Digits) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = data.test_images.numpy(), data.test_labels.numpy()
    model_bytes = int8_model.SerializeToString(deterministic=True)
    (folder / "default_resnet8_int8.onnx").write_bytes(model_bytes)
    first = [np.flatnonzero(labels == label)[:SAMPLES_PER_CLASS] for label in range(CLASSES)]
    chosen = np.sort(np.concatenate(first))
    sample_images, sample_labels = images[chosen], labels[chosen]
    np.savez_compressed(folder / "default_resnet8_samples.npz", image=sample_images, label=sample_labels)
    facts = {
        "model": "default_resnet8_int8.onnx",
        "samples": "default_resnet8_samples.npz",
        "network": "ResNet-8 of MLPerf Tiny, one input channel, logits out",
        "data": "scikit-learn digits, enlarged to 32x32, 0..1",
        "train_images": len(data.train_images),
        "test_images": len(images),
        "test_accuracy_float": accuracy(float_model, images, labels),
        "test_accuracy_int8": accuracy(int8_model, images, labels),
        "sample_images": len(sample_images),
        "sample_accuracy_int8": accuracy(int8_model, sample_images, sample_labels),
        "seed": SEED,
        "made_with": {name: version(name) for name in ("torch", "onnx", "onnxruntime", "scikit-learn")},
    }
    (folder / "default_resnet8.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


def main() -> None:
    default = Path(__file__).resolve().parents[1] / "src" / "tilewright" / "data"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=default, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = load_data()
    network = ResNet8()
    train(network, data, arguments.epochs)
    float_model = to_onnx(network)
    int8_model = quantize(float_model, data.train_images[:CALIBRATION_IMAGES])
    write(arguments.out, float_model, int8_model, data)


if __name__ == "__main__":
    main()
