"""Builds an exported graph with TensorRT for RTX: proof, without a GPU, that NVIDIA's parser and compiler take it.

It is no proof of speed and no engine for Orin, whose compute capability 8.7 it does not know; `deploy/build_engine.py`
builds with the full TensorRT on the vehicle's computer.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

MISSING = ("TensorRT for RTX is not installed, so no engine was built; "
           "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings, or leave it out with --no-tensorrt")


@dataclass(frozen=True)
class Engine:
    """What building gave.

    Attributes:
        runtime: name and version of the builder.
        capability: of the GPU it was built for.
        seconds: build time.
        bytes: size of the engine.
        layers: layers of the network as parsed, before the builder joined them.
    """

    runtime: str
    capability: str
    seconds: float
    bytes: int
    layers: int


def tensorrt_is_here() -> bool:
    """Says whether TensorRT for RTX is installed."""
    return importlib.util.find_spec("tensorrt_rtx_bindings") is not None


def build(path: Path, engine_path: Path | None = None, capability: str = "SM86") -> Engine:
    """Parses an ONNX file strongly typed and builds an engine for a compute capability; no GPU is needed.

    Args:
        path: ONNX file.
        engine_path: where to write the engine, None to drop it.
        capability: a member of TensorRT's ``ComputeCapability``, such as SM86 (RTX 30) or SM89 (RTX 40).

    Raises:
        ModuleNotFoundError: TensorRT for RTX is not installed.
        ValueError: its parser or builder refuses the graph; says why.
    """
    if not tensorrt_is_here():
        raise ModuleNotFoundError(MISSING)
    import tensorrt_rtx_bindings as trt

    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(parser.get_error(index).desc().splitlines()[-1] for index in range(parser.num_errors))
        raise ValueError(f"{path}: expected a graph that TensorRT's parser reads, it says: {reasons}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    start = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if engine is None:
        raise ValueError(f"{path}: expected a graph that TensorRT builds, it says: {'; '.join(logger.errors) or '?'}")
    if engine_path is not None:
        engine_path.write_bytes(memoryview(engine))
    return Engine(f"TensorRT for RTX {trt.__version__}", capability, seconds, engine.nbytes, network.num_layers)


def _logger(trt: ModuleType):  # noqa: ANN202  its class exists only once TensorRT is imported
    class Logger(trt.ILogger):
        """Keeps errors for the sentence; those about a missing CUDA driver are expected without a GPU."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity, message: str) -> None:  # noqa: ANN001
            if severity <= trt.ILogger.Severity.ERROR and "CUDA driver" not in message:
                self.errors.append(message)

    return Logger()
