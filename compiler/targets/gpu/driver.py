"""The CUDA driver: memory, modules, streams and graphs, by `cuda-bindings`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.kernel import Kernel, TensorMap
from tilewright.isa.errors import DeviceError, ToolchainError

_ADVICE = "the GPU target needs an NVIDIA GPU with its driver and `pip install 'tilewright[gpu]'`"
_LEAST_CAPABILITY = (8, 0)
_ERROR_LOG_BYTES = 8192
TENSOR_MAP_BYTES = 128


def bindings() -> ModuleType:
    """Import the bindings.

    Raises
    ------
    ToolchainError
        When the package or the driver is missing.
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise ToolchainError(f"no package `cuda-bindings` ({error}): {_ADVICE}") from None
    module: ModuleType = driver
    return module


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine, its context current.

    Attributes
    ----------
    api : module
        The driver's functions.
    context : CUcontext
    name : str
    capability : tuple of int
    processors : int
        Multiprocessors.
    driver_version : str
    """

    api: Any
    context: Any
    name: str
    capability: tuple[int, int]
    processors: int
    driver_version: str

    @classmethod
    def open(cls) -> Gpu:
        """Find the GPU.

        Raises
        ------
        ToolchainError
            When there is no driver, no device, or one that is too old.
        """
        api = bindings()
        try:
            (result,) = api.cuInit(0)
        except RuntimeError:  # the bindings look for the driver's library only here
            raise ToolchainError(f"no CUDA driver is installed here: {_ADVICE}") from None
        if result != api.CUresult.CUDA_SUCCESS:
            raise ToolchainError(f"no CUDA device here ({result.name}): {_ADVICE}")
        if not _checked(api, api.cuDeviceGetCount()):
            raise ToolchainError(f"the CUDA driver finds no device: {_ADVICE}")
        device = _checked(api, api.cuDeviceGet(0))
        kinds = api.CUdevice_attribute
        major, minor, processors = (
            _checked(api, api.cuDeviceGetAttribute(kind, device))
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                kinds.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            )
        )
        name = _checked(api, api.cuDeviceGetName(128, device)).split(b"\0")[0].decode()
        if (major, minor) < _LEAST_CAPABILITY:
            raise ToolchainError(f"{name} has compute capability {major}.{minor}; the GPU target needs 8.0")
        context = _checked(api, api.cuDevicePrimaryCtxRetain(device))
        _checked(api, api.cuCtxSetCurrent(context))
        version = _checked(api, api.cuDriverGetVersion())
        return cls(api, context, name, (major, minor), processors, f"{version // 1000}.{version % 1000 // 10}")

    @property
    def architecture(self) -> str:
        """What kernels are compiled for."""
        major, minor = self.capability
        return f"sm_{major}{minor}{'a' if major >= 9 else ''}"

    def check(self, result: Any) -> Any:
        """Give the value of a call.

        Raises
        ------
        DeviceError
            Naming the error.
        """
        return _checked(self.api, result)

    def make_current(self) -> None:
        """Use the context in this thread."""
        self.check(self.api.cuCtxSetCurrent(self.context))

    def allocate(self, size: int) -> int:
        """Give memory."""
        return int(self.check(self.api.cuMemAlloc(max(size, 1))))

    def free(self, address: int) -> None:
        """Take memory back."""
        self.check(self.api.cuMemFree(address))

    def fill(self, address: int, size: int, byte: int) -> None:
        """Set every byte."""
        self.check(self.api.cuMemsetD8(address, byte, size))

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy an array to the device."""
        contiguous = np.ascontiguousarray(array)
        self.check(self.api.cuMemcpyHtoD(address, contiguous.ctypes.data, contiguous.nbytes))

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Copy from the device into an array."""
        self.check(self.api.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))

    def synchronize(self) -> None:
        """Wait for everything."""
        self.check(self.api.cuCtxSynchronize())

    def stream(self) -> Any:
        """Make a stream."""
        return self.check(self.api.cuStreamCreate(self.api.CUstream_flags.CU_STREAM_NON_BLOCKING))

    def load(self, ptx: str) -> Any:
        """Load a module.

        Raises
        ------
        DeviceError
            With the assembler's words.
        """
        api, log = self.api, bytes(_ERROR_LOG_BYTES)  # the bindings write into it
        options = [api.CUjit_option.CU_JIT_ERROR_LOG_BUFFER, api.CUjit_option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
        values = [log, _ERROR_LOG_BYTES]
        result, module = api.cuModuleLoadDataEx(ptx.encode() + b"\0", len(options), options, values)
        if result != api.CUresult.CUDA_SUCCESS:
            text = log.split(b"\0")[0].decode(errors="replace")
            raise DeviceError(f"the CUDA driver refuses a kernel ({result.name}): {text}")
        return module

    def function(self, module: Any, kernel: Kernel) -> Any:
        """Give a kernel of a module, allowed the shared memory that it needs."""
        function = self.check(self.api.cuModuleGetFunction(module, kernel.name.encode()))
        if kernel.shared_bytes > 48 * 1024:
            kind = self.api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.check(self.api.cuFuncSetAttribute(function, kind, kernel.shared_bytes))
        return function

    def launch(self, function: Any, kernel: Kernel, addresses: Sequence[int], stream: Any) -> None:
        """Start a kernel; it may start before the one in front ends, which it waits for itself."""
        api = self.api
        config = api.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = (*kernel.grid, 1)
        config.blockDimX, config.blockDimY, config.blockDimZ = kernel.threads, 1, 1
        config.sharedMemBytes, config.hStream = kernel.shared_bytes, stream
        if self.capability >= (9, 0):
            attribute = api.CUlaunchAttribute()
            attribute.id = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            attribute.value.programmaticStreamSerializationAllowed = 1
            config.attrs, config.numAttrs = [attribute], 1
        kinds = (ctypes.c_void_p,) * len(addresses)
        self.check(api.cuLaunchKernelEx(config, function, (tuple(addresses), kinds), 0))

    def tensor_map(self, tensor_map: TensorMap, address: int) -> NDArray[np.uint8]:
        """Encode what the copy engine needs to know of a buffer at an address."""
        api = self.api
        encoded = self.check(
            api.cuTensorMapEncodeTiled(
                api.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, address,
                [api.cuuint64_t(n) for n in tensor_map.extents], [api.cuuint64_t(tensor_map.pitch)],
                [api.cuuint32_t(n) for n in tensor_map.box], [api.cuuint32_t(1)] * 2,
                api.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
                api.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
                api.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                api.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        )  # fmt: skip
        return np.frombuffer(ctypes.string_at(encoded.getPtr(), TENSOR_MAP_BYTES), np.uint8)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """Make a graph of what `work` starts on a stream."""
        api = self.api
        self.check(api.cuStreamBeginCapture(stream, api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        work()
        graph = self.check(api.cuStreamEndCapture(stream))
        return self.check(api.cuGraphInstantiate(graph, 0))

    def milliseconds(self, stream: Any, work: Callable[[], None], repeats: int) -> float:
        """Time `repeats` runs of `work` together; give the mean of one."""
        api = self.api
        start, end = (self.check(api.cuEventCreate(0)) for _ in range(2))
        self.check(api.cuEventRecord(start, stream))
        for _ in range(repeats):
            work()
        self.check(api.cuEventRecord(end, stream))
        self.check(api.cuEventSynchronize(end))
        return float(self.check(api.cuEventElapsedTime(start, end))) / repeats


def _checked(api: Any, result: Any) -> Any:
    status, *values = result
    if status != api.CUresult.CUDA_SUCCESS:
        raise DeviceError(f"the CUDA driver says {status.name}")
    return values[0] if len(values) == 1 else tuple(values) if values else None


def why_missing() -> str:
    """Say why nothing can run on a GPU here; an empty text when it can."""
    try:
        Gpu.open()
    except (ToolchainError, DeviceError) as error:
        return str(error)
    return ""
