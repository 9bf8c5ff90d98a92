"""Quantizing through the public interface and the command: data in all its forms, agreement, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import ModelProto, TensorProto, helper, numpy_helper

import tilewright
from tilewright.agreement import agreement_of
from tilewright.cli import cli
from tilewright.isa.errors import InputError

CLASSES = 4


def classifier(rng: np.random.Generator) -> ModelProto:
    weight, bias = rng.normal(size=(CLASSES, 3, 4, 4)).astype(np.float32), np.zeros(CLASSES, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
        helper.make_node("Flatten", ["c"], ["y"], "flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1, 1, (30, 3, 4, 4)).astype(np.float32)


@pytest.fixture
def model_file(rng: np.random.Generator, tmp_path: Path) -> Path:
    onnx.save(classifier(rng), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_quantized_model_compiles(model_file: Path, images: np.ndarray, tmp_path: Path) -> None:
    quantized = tilewright.quantize(model_file, {"x": images})
    assert (quantized.calibrated, quantized.compared) == (24, 6)
    stages = {entry.stage: entry for entry in quantized.agreements}
    assert stages["float"].largest == 0
    assert stages["float, cleaned up"].cosine > 0.9999
    for stage in ("quantized, onnxruntime", "quantized, integer reference"):
        assert 0.98 < stages[stage].cosine < 1
        assert stages[stage].top1 is not None
    quantized.save(tmp_path / "int8.onnx")
    compiled = tilewright.compile(tmp_path / "int8.onnx", "tiny")
    assert "qconv2d" in {layer.kind for layer in compiled.layers if layer.place == "device"}
    inputs = {"x": images[:1]}
    np.testing.assert_array_equal(compiled.run(inputs).outputs["y"], compiled.reference(inputs)["y"])


def test_all_forms_of_data_are_the_same(model_file: Path, images: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=images)
    np.savez(tmp_path / "renamed.npz", anything=images)
    np.save(tmp_path / "all.npy", images)
    for name, suffix in (("npz", "npz"), ("npy", "npy")):
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            path = tmp_path / name / f"{index:03}.{suffix}"
            np.savez(path, x=image) if suffix == "npz" else np.save(path, image[None])
    given = [tilewright.quantize(model_file, tmp_path / n) for n in ("all.npz", "renamed.npz", "all.npy", "npz", "npy")]
    given += [tilewright.quantize(model_file, data) for data in ({"x": images[:, None]}, [{"x": i} for i in images])]
    assert len({quantized.model.SerializeToString() for quantized in given}) == 1


def test_accuracy_is_counted_on_what_was_held_back(model_file: Path, images: np.ndarray) -> None:
    session = tilewright.quantize(model_file, {"x": images}, samples=10, held_back=20, labels=np.zeros(30, np.int64))
    accuracies = {entry.stage: entry.accuracy for entry in session.agreements}
    shares = [share for share in accuracies.values() if share is not None]
    assert session.compared == 20
    assert len(shares) == 4
    assert all(0 < share < 1 and (share * 20).is_integer() for share in shares)


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ({"u": np.zeros((4, 3)), "v": np.zeros(1)}, {}, "the calibration data has no 'x'; it has 'u', 'v'"),
        ({"x": np.zeros((4, 3, 4, 4))}, {}, "calibration data of 'x' must be float32, not float64"),
        ({"x": np.zeros((4, 4), np.float32)}, {}, "calibration data of 'x' must have 4 or 5 dimensions, not 2"),
        ({"x": np.zeros((0, 3, 4, 4), np.float32)}, {}, "the calibration data holds no samples"),
        ({"x": np.zeros((4, 3, 4, 4), np.float32)}, {"samples": 9}, "cannot calibrate with 9 samples: there are 4"),
        ({"x": np.zeros((4, 3, 4, 4), np.float32)}, {"labels": np.zeros(3)}, "there are 3 labels for 4 samples"),
    ],
)  # fmt: skip
def test_wrong_data(data: dict[str, np.ndarray], arguments: dict[str, object], message: str, model_file: Path) -> None:
    with pytest.raises(InputError) as caught:
        tilewright.quantize(model_file, data, **arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_agreement() -> None:
    inputs = {"x": np.zeros((1, 5))}
    a = np.array([[[1.0, 2, 3]], [[3, 2, 1]]])
    b = np.array([[[1.0, 2, 3]], [[2, 3, 1]]])
    entry = agreement_of("s", "y", a, b, inputs, np.array([2, 1]))
    assert (entry.top1, entry.accuracy, entry.largest, entry.reach) == (0.5, 1.0, 1.0, 3.0)
    assert entry.cosine == pytest.approx((14 + 13) / 28)
    assert agreement_of("s", "y", a, b, {"x": np.zeros((1, 3))}).top1 is None  # an autoencoder's output
    assert agreement_of("s", "y", np.zeros((1, 2)), np.zeros((1, 2)), inputs).cosine == 1


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["quantize", *(str(a) for a in arguments)], prog_name="tilewright")


def test_command(model_file: Path, images: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=images, y=np.zeros(30, np.int64))
    output = tmp_path / "int8.onnx"
    common = [model_file, "-o", output, "--calibrate", tmp_path / "data.npz"]
    shown = invoke(*common, "--labels", "y", "--activations", "uint8")
    assert shown.exit_code == 0, shown.output
    for text in ("quantized, integer reference", "calibrated with 24 samples, compared on 6", "accuracy"):
        assert text in shown.output
    assert invoke(*common, "--per-tensor", "-q", "--json", tmp_path / "figures.json").output == ""
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["agreements"][0]["stage"] == "float"
    onnx.checker.check_model(onnx.load(output), full_check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--calibrate", "absent.npz"), "error: cannot read `"),
        (("--calibrate", "empty"), "holds no .npz or .npy files"),
        (("--calibrate", "data.npz", "--labels", "z"), "has no labels 'z'; it has 'x'"),
        (("--calibrate", "data.npz", "--dim", "batch"), "a dimension is written NAME=N, such as batch=1, not `batch`"),
        (("--calibrate", "data.npz", "--samples", "99"), "error: cannot calibrate with 99 samples: there are 30"),
    ],
)  # fmt: skip
def test_command_mistakes(
    arguments: tuple[str, ...], message: str, model_file: Path, images: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    np.savez("data.npz", x=images)
    result = invoke(model_file, "-o", "out.onnx", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not Path("out.onnx").exists()


def test_keyword_spotting_keeps_its_accuracy(measuring_models: Path) -> None:
    """The samples are stored as the int8 model takes them; the float model takes what they stand for."""
    with np.load(measuring_models / "kws_eval_500.npz") as archive:
        integers, labels = archive["x"], archive["y"]
    scale, zero = _input_quantization(onnx.load(measuring_models / "dscnn_kws_int8.onnx"))
    data = ((integers.astype(np.float32) - zero) * scale).reshape(-1, 49, 10, 1)
    quantized = tilewright.quantize(
        measuring_models / "dscnn_kws_fp32.onnx", {"input_1": data}, samples=100, held_back=400, labels=labels
    )
    stages = {entry.stage: entry for entry in quantized.agreements}
    before, after = stages["float"].accuracy, stages["quantized, integer reference"].accuracy
    print(stages)
    assert before is not None
    assert after is not None
    assert before > 0.85
    assert abs(after - before) <= 0.01


def _input_quantization(model: ModelProto) -> tuple[float, int]:
    """Give the scale and zero point of a quantized model's input."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    moved = {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type in ("Reshape", "Transpose") and node.input[0] in moved:
            moved.add(node.output[0])
        if node.op_type == "DequantizeLinear" and node.input[0] in moved:
            return float(arrays[node.input[1]].reshape(())), int(arrays[node.input[2]].reshape(()))
    raise AssertionError("the model's input is not quantized")
