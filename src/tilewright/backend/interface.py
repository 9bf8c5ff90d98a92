"""The classes behind ONNX's backend interface."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import IR_VERSION, ModelProto, NodeProto, TypeProto, helper
from onnx.backend.base import Backend, BackendRep
from onnx.defs import onnx_opset_version
from onnx.reference import ReferenceEvaluator

from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError, InputError, TilewrightError

if TYPE_CHECKING:
    from tilewright.api import Compiled
    from tilewright.compiler.graph.graph import Graph
    from tilewright.sim.api import Simulator

_FUNCTIONAL = "FUNCTIONAL"
_HOST = "HOST"

#: `FUNCTIONAL`: the accelerator, by its functional simulator, and the host for the rest. `HOST`: no accelerator.
#: `CPU`, the name that ONNX's tools ask for when nobody chooses, means `FUNCTIONAL`.
DEVICES = (_FUNCTIONAL, _HOST, "CPU")


class TilewrightRep(BackendRep):
    """A model made ready, which may run many times.

    Parameters
    ----------
    model : ModelProto
    device : str
        One of `DEVICES`.
    config : Config
        The accelerator.

    Attributes
    ----------
    refusal : str
        Why `onnx.reference` runs the whole model instead of us; empty when it does not.
    """

    def __init__(self, model: ModelProto, device: str, config: Config) -> None:
        self.refusal = ""
        self._model = model
        self._is_host = device == _HOST
        self._config = config
        constants = {tensor.name for tensor in model.graph.initializer}
        self._inputs = [info for info in model.graph.input if info.name not in constants]
        self._ready: dict[tuple[tuple[int, ...], ...], Graph | Compiled | ReferenceEvaluator] = {}
        if all(_is_fixed(info.type) for info in self._inputs):
            self._prepared({})

    @property
    def is_compiled(self) -> bool:
        """Whether the model has been compiled: at once when its shapes are fixed, else when it first runs."""
        return bool(self._ready)

    def layers(self) -> list[tuple[str, str]]:
        """Give the kind and the place, `device` or `host`, of each layer of what ran last, or was prepared."""
        if not self._ready:
            return []
        latest = list(self._ready.values())[-1]
        if isinstance(latest, ReferenceEvaluator):
            return [(node.op_type, "host") for node in self._model.graph.node]
        if hasattr(latest, "layers"):
            return [(layer.kind, layer.place) for layer in latest.layers]
        return [(node.op, "host") for node in latest.nodes]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run on inputs given in the model's order, by name, or as the single array of a model with one input.

        Raises
        ------
        InputError
            When they are not what the model asks for.
        """
        given = self._named(inputs)
        ready = self._prepared(given)
        if isinstance(ready, ReferenceEvaluator):
            results = ready.run(None, given)
            return tuple(results.values() if isinstance(results, dict) else results)
        outputs = self._outputs(ready, given)
        return tuple(outputs[result.name] for result in self._model.graph.output)

    def _named(self, inputs: Any) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        listed: Sequence[Any] = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        names = [info.name for info in self._inputs]
        if len(listed) > len(names):
            raise InputError(f"the model has {len(names)} inputs, not {len(listed)}")
        return dict(zip(names, listed, strict=False))

    def _prepared(self, given: Mapping[str, Any]) -> Graph | Compiled | ReferenceEvaluator:
        """Compile for the shapes of the inputs given, once for each."""
        is_fixed = all(_is_fixed(info.type) for info in self._inputs)
        key = () if is_fixed else tuple(np.shape(array) for array in given.values() if isinstance(array, np.ndarray))
        if key not in self._ready:
            self._ready[key] = self._compiled(given)
        return self._ready[key]

    def _compiled(self, given: Mapping[str, Any]) -> Graph | Compiled | ReferenceEvaluator:
        from tilewright import api
        from tilewright.compiler.frontend import import_onnx

        shapes = {name: array.shape for name, array in given.items() if isinstance(array, np.ndarray)}
        try:
            graph = import_onnx(self._model, shapes=shapes)
            return graph if self._is_host else api.compile(graph, self._config, host_fallback=True)
        except TilewrightError as error:
            self.refusal = str(error)
            warnings.warn(f"onnx.reference runs the whole model: {error}", stacklevel=2)
            return ReferenceEvaluator(self._model)

    def _outputs(self, ready: Graph | Compiled, given: Mapping[str, Any]) -> Mapping[str, Any]:
        from tilewright.api import Compiled
        from tilewright.compiler.reference import evaluate

        if isinstance(ready, Compiled):
            return ready.run(given, on=_simulator(self._config)).outputs
        return evaluate(ready, given)


class TilewrightBackend(Backend):
    """Runs ONNX models on an accelerator's functional simulator, the host helping out.

    All methods take `config`, a Config or the name of a preset or file, besides the arguments that ONNX defines.
    """

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Say whether a device is one of `DEVICES`."""
        return device.split(":")[0] in DEVICES

    @classmethod
    def prepare(
        cls, model: ModelProto, device: str = _FUNCTIONAL, config: Config | str = "16x16", **kwargs: Any
    ) -> TilewrightRep:
        """Compile a model.

        Raises
        ------
        ConfigError
            When there is no such device or configuration.
        """
        if not cls.supports_device(device):
            raise ConfigError(f"a device is one of {', '.join(DEVICES)}, not {device!r}")
        chosen = config if isinstance(config, Config) else Config.load(config)
        return TilewrightRep(model, device.split(":")[0], chosen)

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = _FUNCTIONAL, **kwargs: Any) -> tuple[Any, ...]:
        """Compile a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = _FUNCTIONAL,
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one operator; `opset_version` is the newest that onnx knows unless given."""
        version = kwargs.pop("opset_version", onnx_opset_version())
        names = [name for name in dict.fromkeys(node.input) if name]
        given = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=True))
        arrays = {name: np.asarray(given[name]) for name in names}
        return cls.run_model(_single_node(node, arrays, version), arrays, device, **kwargs)


def _single_node(node: NodeProto, arrays: Mapping[str, NDArray[Any]], version: int) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    outputs = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
    imports = [helper.make_opsetid("", version)]
    if node.domain not in ("", "ai.onnx"):
        imports.append(helper.make_opsetid(node.domain, 1))
    graph = helper.make_graph([node], node.name or node.op_type, inputs, outputs)
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


@lru_cache(maxsize=4)
def _simulator(config: Config) -> Simulator:
    from tilewright import api

    return api.simulator("functional", config)


def _is_fixed(kind: TypeProto) -> bool:
    """Whether the shape of an input is written in the model, or it has none."""
    if not kind.HasField("tensor_type"):
        return True
    tensor = kind.tensor_type
    return tensor.HasField("shape") and all(dim.dim_value > 0 for dim in tensor.shape.dim)
