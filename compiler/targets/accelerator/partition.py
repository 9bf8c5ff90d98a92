"""Splits a graph into launches of the device and steps of the host; says in which form tensors lie on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.accelerator.folding import choose_fold, folded_layout
from tilewright.compiler.targets.accelerator.layout import Fold, TensorLayout, layout_of, stack_layout
from tilewright.compiler.targets.accelerator.legality import (
    ELEMENTWISE,
    MOVEMENT,
    ROWWISE,
    STACKED,
    is_depthwise,
    refusal,
)
from tilewright.compiler.targets.accelerator.rearrangement import rearranged_form, wants_image
from tilewright.isa.config import Config


class Form(NamedTuple):
    """A value on the device, whether it lies there as a matrix (a stack of several), and how it is folded."""

    value: str
    is_matrix: bool
    fold: Fold | None = None
    is_stack: bool = False


@dataclass(frozen=True)
class LayerPlan:
    """A node on the device.

    Attributes
    ----------
    node : Node
    is_matrix : bool
        The form of its activations; all of one node have the same.
    sources : tuple of Form
        The activations that it reads, by operand.
    target : Form
    """

    node: Node
    is_matrix: bool
    sources: tuple[Form, ...]
    target: Form


@dataclass
class LaunchPlan:
    """Layers that run one after the other, what is packed before and unpacked after."""

    layers: list[LayerPlan] = field(default_factory=list)
    uploads: list[Form] = field(default_factory=list)
    downloads: list[Form] = field(default_factory=list)


@dataclass(frozen=True)
class HostPlan:
    """A node on the host, and why."""

    node: Node
    reason: str


@dataclass(frozen=True)
class Partition:
    """What `partition` finds.

    Attributes
    ----------
    steps : tuple of LaunchPlan or HostPlan
    aliases : dict of Form to Form
        Values that are others' bytes seen with another shape.
    """

    steps: tuple[LaunchPlan | HostPlan, ...]
    aliases: dict[Form, Form]


def partition(graph: Graph, config: Config, refusals: Sequence[str | None] | None = None) -> Partition:
    """Split a graph.

    Parameters
    ----------
    graph
    config
    refusals
        For each node why it must run on the host, or None; by default what `legality` says.
    """
    reasons = refusals if refusals is not None else [refusal(graph, node, config) for node in graph.nodes]
    splitter = _Splitter(graph, config)
    for node, reason in _outputs_last(graph, list(zip(graph.nodes, reasons, strict=True))):
        if not splitter.take_alias(node):
            splitter.take(node, reason)
    splitter.finish()
    return Partition(tuple(splitter.steps), splitter.aliases)


def _outputs_last(graph: Graph, nodes: list[tuple[Node, str | None]]) -> list[tuple[Node, str | None]]:
    """Move what the host only makes outputs of behind everything else, so that it ends no launch early."""
    late: set[str] = set()
    for node, reason in reversed(nodes):
        users = [user for name in filter(None, node.outputs) for user in graph.consumers[name]]
        if reason is not None and node.op not in MOVEMENT and all(user.output in late for user in users):
            late.add(node.output)
    return sorted(nodes, key=lambda entry: entry[0].output in late)


class _Splitter:
    def __init__(self, graph: Graph, config: Config) -> None:
        self.graph, self.config = graph, config
        self.steps: list[LaunchPlan | HostPlan] = []
        self.aliases: dict[Form, Form] = {}
        self.on_host = {*graph.inputs, *graph.constants}
        self.on_device: dict[Form, LaunchPlan] = {}
        self.open: LaunchPlan | None = None

    def take(self, node: Node, reason: str | None) -> None:
        """Add a node to the open launch, or to the host's steps."""
        if self._take_rearrangement(node):
            return
        is_weight = any(user.op == "qbatchmatmul" for user in self.graph.consumers[node.output])
        if node.op == "transpose" and not is_weight and stack_form(self.graph, node.inputs[0]) not in self.on_device:
            reason = reason or "rearranges the bytes of a tensor that is on the host"
        if reason is not None:
            self._take_host(node, reason)
            return
        forms = [self._form_of(node, name) for name in activations(self.graph, node)]
        if (
            forms[0].value in self.on_host
            and forms[0] not in self.on_device
            and not is_depthwise(self.graph, node, self.config)
        ):
            forms[0] = forms[0]._replace(fold=choose_fold(self.graph, node, self.config))
        sources = tuple(forms)
        missing = [form for form in dict.fromkeys(sources) if form not in self.on_device]
        for form in missing:
            self._bring_to_host(form.value)
        launch = self._opened()
        for form in missing:
            launch.uploads.append(form)
            self.on_device[form] = launch
        target = self._form_of(node, node.output)
        launch.layers.append(LayerPlan(node, target.is_matrix, sources, target))
        self.on_device[target] = launch

    def _take_rearrangement(self, node: Node) -> bool:
        """Add a transpose or reshape of a tensor that is on the device, where a copy of rows does it."""
        if node.op not in ("transpose", "reshape") or self.graph.dtype(node.output) != "int8":
            return False
        for source in (Form(node.inputs[0], False), Form(node.inputs[0], True)):
            is_matrix = rearranged_form(self.graph, node, source.is_matrix, self.config)
            if source not in self.on_device or is_matrix is None:
                continue
            target = Form(node.output, is_matrix)
            launch = self._opened()
            launch.layers.append(LayerPlan(node, is_matrix, (source,), target))
            self.on_device[target] = launch
            return True
        return False

    def take_alias(self, node: Node) -> bool:
        """Let a movement of values that does not move bytes cost nothing."""
        if node.op not in MOVEMENT or node.inputs[0] in self.on_host:
            return False
        if (alias := self._stack_alias(node)) is not None:
            self.aliases[alias[0]] = alias[1]
            self.on_device[alias[0]] = self.on_device[alias[1]]
            return True
        if node.op not in ("reshape", "transpose"):
            return False
        forms = [form for form in (Form(node.inputs[0], False), Form(node.inputs[0], True)) if form in self.on_device]
        for form in forms:
            target = alias_form(self.graph, node, form.is_matrix, self.config)
            if target is not None:
                self.aliases[Form(node.output, target)] = form
                self.on_device[Form(node.output, target)] = self.on_device[form]
                return True
        return False

    def finish(self) -> None:
        """Bring the outputs to the host and close the last launch."""
        for name in self.graph.outputs:
            self._bring_to_host(name)
        self._close()

    def _form_of(self, node: Node, name: str) -> Form:
        """The form in which a node reads or writes a value."""
        x = node.inputs[0]
        is_free = node.op in (*ELEMENTWISE, *ROWWISE)
        if node.op in STACKED or (is_free and stack_form(self.graph, x) in self.on_device):
            return stack_form(self.graph, name)
        if node.op in ("qmatmul", *ROWWISE):
            return Form(name, True)
        if node.op in (*ELEMENTWISE, "qconcat", "qgather", "qpad"):
            return Form(name, self._is_matrix(node))
        return Form(name, False)

    def _is_matrix(self, node: Node) -> bool:
        """Whether what may be an image or a matrix is a matrix: as the node's first operand on the device is."""
        names = activations(self.graph, node)
        is_image = len(self.graph.shape(names[0])) == 4
        if is_image and (node.op == "qpad" or (node.op not in ELEMENTWISE and self.config.gemm.batch > 1)):
            return False  # height and width are cut, which are rows of a matrix
        for name in names:
            for is_matrix in (True, False):
                if Form(name, is_matrix) in self.on_device:
                    return is_matrix
        return not is_image

    def _stack_alias(self, node: Node) -> tuple[Form, Form] | None:
        """The form of a movement's result that has the bytes of a matrix, or stack of matrices, and that form."""
        target = moved_stack(self.graph, node, self.config)
        if target is None:
            return None
        source = stack_form(self.graph, node.inputs[0])
        return (target, source) if source in self.on_device else None

    def _take_host(self, node: Node, reason: str) -> None:
        for name in filter(None, node.inputs):
            self._bring_to_host(name)
        position = len(self.steps)  # before the open launch, which is not among the steps yet
        self.steps.insert(position, HostPlan(node, reason))
        self.on_host.update(filter(None, node.outputs))

    def _bring_to_host(self, name: str) -> None:
        if name in self.on_host:
            return
        forms = (Form(name, False), Form(name, True), Form(name, True, is_stack=True))
        form = next(form for form in forms if form in self.on_device)
        launch = self.on_device[form]
        if launch is self.open:
            self._close()
        launch.downloads.append(form)
        self.on_host.add(name)

    def _opened(self) -> LaunchPlan:
        if self.open is None:
            self.open = LaunchPlan()
        return self.open

    def _close(self) -> None:
        if self.open is not None:
            self.steps.append(self.open)
            self.open = None


def form_layout(graph: Graph, form: Form, config: Config) -> TensorLayout:
    """Return how a value lies on the device."""
    shape = graph.shape(form.value)
    if form.is_stack:
        return stack_layout(shape, config)
    return folded_layout(shape, form.fold, config) if form.fold else layout_of(shape, form.is_matrix, config)


def activations(graph: Graph, node: Node) -> list[str]:
    """The operands of a device node that are tensors in `act`, constants of elementwise operators included."""
    if node.op in ("qconcat", "qinterleave"):
        return list(node.inputs)
    if node.op in ("qadd", "qmul"):
        return [node.inputs[0], node.inputs[1]]
    names = list(node.inputs[: 2 if node.op == "qbatchmatmul" else 1])
    epilogue = node.get("epilogue")
    if epilogue is not None and epilogue.residual is not None:
        names.append(node.inputs[list(_operand_names(node)).index("residual")])
    return names


def _operand_names(node: Node) -> tuple[str, ...]:
    from tilewright.compiler.qops import OPERATORS

    return tuple(formal.name for formal in OPERATORS[node.op].operands)


def stack_form(graph: Graph, name: str) -> Form:
    """The form of a stack of matrices `[..., M, K]`; that of a matrix where there is only one."""
    return Form(name, True, is_stack=_total(graph.shape(name)[:-2]) > 1)


def moved_stack(graph: Graph, node: Node, config: Config) -> Form | None:
    """Return the form of a movement's result whose bytes are those of its input as a stack of matrices, or None.

    Heads are channel blocks of a matrix, one after the other, where each is a number of whole blocks.
    """
    shape, result = graph.shape(node.inputs[0]), graph.shape(node.output)
    if config.gemm.batch != 1 or min(len(shape), len(result)) < 2 or not all(shape):
        return None
    if node.op == "split_heads" and _total(shape[:-2]) == 1:
        return stack_form(graph, node.output) if result[-1] % config.lanes == 0 else None
    if node.op == "merge_heads" and _total(shape[:-3]) == 1:
        return Form(node.output, True) if shape[-1] % config.lanes == 0 else None
    if node.op == "reshape" and shape[-2:] == result[-2:] and _total(shape[:-2]) > 1:
        return stack_form(graph, node.output)
    return None


def alias_form(graph: Graph, node: Node, is_matrix: bool, config: Config) -> bool | None:
    """Return the form in which a movement's result has the same bytes as its input, or None."""
    shape, result = graph.shape(node.inputs[0]), graph.shape(node.output)
    if not all(shape) or not shape or not result:
        return None
    source = layout_of(shape, is_matrix, config)
    if node.op == "transpose":
        is_view = not is_matrix or len(shape) > 3 or wants_image(graph, node.output)
        return _transposed_form(shape, tuple(node["perm"]), is_matrix, config) if is_view else None
    if is_matrix and shape[-1] == result[-1]:
        return True
    if not is_matrix and min(len(shape), len(result)) > 2 and shape[:2] == result[:2]:
        return False
    if not is_matrix and _is_vector(source, shape) and len(result) >= 2 and result[-1] == shape[1]:
        return True if result[-1] * shape[0] == _total(result) else None
    if is_matrix and len(result) == 4 and result[2:] == (1, 1) and result[1] == shape[-1] and source.width == 1:
        return False
    return None


def _total(shape: tuple[int, ...]) -> int:
    product = 1
    for extent in shape:
        product *= extent
    return product


def _is_vector(layout: TensorLayout, shape: tuple[int, ...]) -> bool:
    return layout.groups == 1 and shape[2:] == (1, 1)


def _transposed_form(shape: tuple[int, ...], perm: tuple[int, ...], is_matrix: bool, config: Config) -> bool | None:
    """NCHW to NHWC and back are two views of the same bytes, for one image and one image at a time."""
    rank = len(shape)
    if config.gemm.batch != 1 or rank < 3 or shape[0] != 1:
        return None
    if perm == (0, *range(2, rank), 1) and not is_matrix:
        return True
    return False if perm == (0, rank - 1, *range(1, rank - 1)) and is_matrix else None
