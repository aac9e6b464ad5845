"""The engine builder runs against a stand-in for TensorRT 10 and 11, and says plainly when there is none."""

import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace

import build_engine
import pytest

SCRIPT = Path(build_engine.__file__)


class FakeParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def parse_from_file(self, path):
        return "bad" not in path

    def get_error(self, index):
        return "In node 3: no importer for NonZero"


class FakeBuilder:
    def __init__(self, logger):
        self.flags = None

    def create_network(self, flags):
        FakeBuilder.flags = flags
        tensor = SimpleNamespace(name="images", dtype="DataType.FLOAT", shape=(1, 6, 3, 224, 480))
        return SimpleNamespace(num_layers=9, num_inputs=1, num_outputs=1, get_input=lambda index: tensor,
                               get_output=lambda index: tensor)

    def create_builder_config(self):
        return SimpleNamespace(set_memory_pool_limit=lambda pool, size: None, create_timing_cache=FakeCache,
                               set_timing_cache=lambda cache, ignore_mismatch: None)

    def build_serialized_network(self, network, config):
        return memoryview(b"engine")


class FakeCache:
    def __init__(self, known):
        self.known = known

    def serialize(self):
        return self.known + b"+"


def fake(version: str) -> SimpleNamespace:
    flags = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1} if version < "11" else {"OTHER": 0})
    logger = type("Logger", (), {"VERBOSE": 0, "WARNING": 1, "__init__": lambda self, level: None})
    return SimpleNamespace(__version__=version, NetworkDefinitionCreationFlag=flags, Logger=logger, Builder=FakeBuilder,
                           OnnxParser=FakeParser, MemoryPoolType=SimpleNamespace(WORKSPACE=0))


@pytest.mark.parametrize("version, flags", [("10.3.0", 2), ("11.4.1", 0)])
def test_network_is_strongly_typed(version, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt", fake(version))
    onnx, cache = tmp_path / "model.onnx", tmp_path / "orin.cache"
    onnx.write_bytes(b"")
    for known in (b"+", b"++"):
        assert build_engine.main([str(onnx), "--workspace", "2", "--timing-cache", str(cache)]) == 0
        assert cache.read_bytes() == known
    assert FakeBuilder.flags == flags
    assert (tmp_path / "model.engine").read_bytes() == b"engine"
    assert "9 layers" in capsys.readouterr().out


def test_what_the_parser_says_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt", fake("10.3.0"))
    (tmp_path / "bad.onnx").write_bytes(b"")
    assert build_engine.main([str(tmp_path / "bad.onnx")]) == 1
    assert "no importer for NonZero" in capsys.readouterr().err


def test_an_old_tensorrt_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt", fake("8.6.1"))
    (tmp_path / "model.onnx").write_bytes(b"")
    assert build_engine.main([str(tmp_path / "model.onnx")]) == 1
    assert "expected version 10 or 11, got 8.6.1" in capsys.readouterr().err


def test_absent_tensorrt_is_said_plainly(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "tensorrt.py").write_text("raise ModuleNotFoundError('No module', name='tensorrt')")
    for onnx, words in ((tmp_path / "model.onnx", "TensorRT is not installed"), (tmp_path / "no.onnx", "no such file")):
        done = subprocess.run([sys.executable, str(SCRIPT), str(onnx)], capture_output=True, text=True,
                              env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
