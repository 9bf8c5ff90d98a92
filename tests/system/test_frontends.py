"""Models from other frameworks; each test needs its framework, and is skipped without it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

import tilewright
from tilewright.compiler.onnxruntime_check import run_onnxruntime
from tilewright.isa.errors import InputError, ModelError, ToolchainError


def test_torch_module_quantized_and_run(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tilewright[torch]'")
    pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript: pip install 'tilewright[torch]'")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 4),
    )
    module.train()
    images = rng.uniform(-1, 1, (16, 3, 8, 8)).astype(np.float32)
    model = tilewright.from_torch(module, torch.from_numpy(images[:1]), input_names=["image"])
    assert module.training
    onnx.checker.check_model(model, full_check=True)
    assert [info.name for info in model.graph.input] == ["image"]
    output = model.graph.output[0].name
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(images[:1])).numpy()
    given = run_onnxruntime(model, {"image": images[:1]})[output]
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    quantized = tilewright.quantize(model, {"image": images})
    assert quantized.agreements[-1].cosine > 0.98
    compiled = tilewright.compile(quantized.model, "tiny")
    kinds = {layer.kind for layer in compiled.layers if layer.place == "device"}
    assert {"qconv2d", "qmatmul"} <= kinds
    inputs = {"image": images[:1]}
    np.testing.assert_array_equal(compiled.run(inputs).outputs[output], compiled.reference(inputs)[output])


def test_torch_module_that_cannot_be_exported() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tilewright[torch]'")
    pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript: pip install 'tilewright[torch]'")

    class Untraceable(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: object) -> object:
            raise ValueError("no graph today")

    with pytest.raises(ModelError, match="Untraceable: torch cannot export the module: "):
        tilewright.from_torch(Untraceable(), torch.zeros(1))


@pytest.mark.parametrize("is_quantized", [False, True])
def test_tflite(is_quantized: bool, rng: np.random.Generator, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed: pip install 'tilewright[tflite]'")
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed: pip install 'tilewright[tflite]'")
    images = rng.uniform(-1, 1, (16, 8, 8, 3)).astype(np.float32)
    weight = rng.normal(size=(3, 3, 3, 8)).astype(np.float32) / 5

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])  # type: ignore[untyped-decorator]
    def network(x: object) -> object:
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, weight, 1, "SAME")), (1, 2))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    if is_quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    model = tilewright.from_tflite(path)
    onnx.checker.check_model(model, full_check=True)
    (given,), (output,) = model.graph.input, model.graph.output
    inputs = {given.name: images[:1]}
    compiled = tilewright.compile(model, "16x16", host_fallback=True)
    assert ("qconv2d" in {layer.kind for layer in compiled.layers}) == is_quantized
    expected = network(tf.constant(images[:1])).numpy()
    np.testing.assert_allclose(compiled.run(inputs).outputs[output.name], expected, atol=0.05 if is_quantized else 1e-4)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch() -> None:
    message = r"^from_torch needs torch, which is not installed: pip install 'tilewright\[torch\]'$"
    with pytest.raises(ToolchainError, match=message):
        tilewright.from_torch(None, ())


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="tensorflow is installed")
def test_without_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"\0" * 16)
    message = r"^from_tflite needs tensorflow, which is not installed: pip install 'tilewright\[tflite\]'$"
    with pytest.raises(ToolchainError, match=message):
        tilewright.from_tflite(tmp_path / "model.tflite")


def test_missing_tflite_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.tflite: no such model file"):
        tilewright.from_tflite(tmp_path / "absent.tflite")
