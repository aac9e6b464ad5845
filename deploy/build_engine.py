"""Builds a TensorRT engine from an exported ONNX file, on the machine that will run it.

    python build_engine.py export/long16/model.onnx --out long16.engine --timing-cache orin.cache

Works with TensorRT 10 (JetPack 6 has 10.3) and 11 (JetPack 7.2.2 and later). The network is strongly typed: every
precision stands in the ONNX file (`bevkit export --precision fp16`), no builder flag changes it. Needs only TensorRT.
"""

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

MISSING = """TensorRT is not installed for this Python ({python}), so no engine can be built.
  Jetson: it comes with JetPack; `sudo apt install python3-libnvinfer`, and use the system's Python.
  PC or server: `pip install tensorrt` for CUDA 13, or `pip install tensorrt-cu12` for CUDA 12."""
OLDEST, NEWEST = 10, 11


class Failure(Exception):
    """Why there is no engine, in words for the user."""


def load_tensorrt():
    """Returns the module tensorrt; raises Failure where it is absent or of a version that this file does not know."""
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "tensorrt"
        raise Failure(MISSING.format(python=sys.executable) + ("" if absent else f"\n  It says: {error}")) from error
    major = int(trt.__version__.split(".")[0])
    if major < OLDEST:
        raise Failure(f"TensorRT: expected version {OLDEST} or {NEWEST}, got {trt.__version__}; update JetPack to 6 "
                      "or later, or tensorrt by pip")
    if major > NEWEST:
        print(f"TensorRT {trt.__version__} is newer than what this file knows ({NEWEST}); trying all the same")
    return trt


def network_flags(trt):
    """Returns the creation flags of a strongly typed network: TensorRT 10 must be asked, 11 builds no other."""
    flag = getattr(getattr(trt, "NetworkDefinitionCreationFlag", None), "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def parse(trt, builder, logger, path):
    """Reads an ONNX file into a network; raises Failure with what the parser says."""
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reasons = "\n".join(f"  {parser.get_error(index)}" for index in range(parser.num_errors))
        raise Failure(f"{path}: TensorRT {trt.__version__} does not read this graph:\n{reasons}")
    # The parser may own weights that the network points to, so it has to live as long.
    return network, parser


def configure(trt, builder, args):
    """Makes the builder's settings; returns them with the timing cache."""
    config = builder.create_builder_config()
    if args.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(args.workspace * 2**30))
    if args.optimization is not None:
        config.builder_optimization_level = args.optimization
    if args.verbose:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    cache = None
    if args.timing_cache is not None:
        known = args.timing_cache.read_bytes() if args.timing_cache.exists() else b""
        cache = config.create_timing_cache(known)
        config.set_timing_cache(cache, ignore_mismatch=False)
    return config, cache


def describe(network):
    """Lists the inputs and outputs of a network, a line each."""
    for kind, count, get in (("input", network.num_inputs, network.get_input),
                             ("output", network.num_outputs, network.get_output)):
        for tensor in map(get, range(count)):
            yield f"  {kind:6} {tensor.name:20} {str(tensor.dtype).split('.')[-1]:6} {list(tensor.shape)}"


def write(path, data):
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(memoryview(data))
    os.replace(unfinished, path)


def build(args):
    """Builds and writes the engine; raises Failure when there is none."""
    if not args.onnx.is_file():
        raise Failure(f"{args.onnx}: no such file; `bevkit export` writes it")
    trt = load_tensorrt()
    logger = trt.Logger(trt.Logger.VERBOSE if args.verbose else trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network, parser = parse(trt, builder, logger, args.onnx)
    print(f"TensorRT {trt.__version__}, {args.onnx}: {network.num_layers} layers")
    print("\n".join(describe(network)))
    config, cache = configure(trt, builder, args)
    start = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Failure(f"{args.onnx}: TensorRT {trt.__version__} could not build this graph; what it says stands above, "
                      "and --verbose shows more. Out of memory: try a smaller --workspace, and close other programs")
    out = args.out or args.onnx.with_suffix(".engine")
    write(out, engine)
    if cache is not None:
        write(args.timing_cache, cache.serialize())
    print(f"{out}: {engine.nbytes / 1e6:.1f} MB, built in {time.perf_counter() - start:.0f} s")
    print(f"Latency: trtexec --loadEngine={out} --useCudaGraph --useSpinWait --noDataTransfers (after `jetson_clocks`)")


def main(argv=None):
    """Parses the command line; returns 0, or 1 where there is no engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path, help="model.onnx of bevkit export")
    parser.add_argument("--out", type=Path, help="engine file (default: beside the ONNX file)")
    parser.add_argument("--workspace", type=float, metavar="GIB", help="most scratch memory of a layer (default: all)")
    parser.add_argument("--timing-cache", type=Path, metavar="FILE", help="read and written: makes the next build fast")
    parser.add_argument("--optimization", type=int, choices=range(6), help="builder effort, TensorRT's default is 3")
    parser.add_argument("--verbose", action="store_true", help="show all that TensorRT says; detailed layer names")
    try:
        build(parser.parse_args(argv))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
