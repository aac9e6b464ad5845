"""Installs bevkit: `pip install .`, with extras as in `pip install ".[export,tensorrt]"`. Nothing is compiled."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "bevkit" / "__init__.py").read_text()).group(1)

# Supported: torch 2.11 to the newest. torchvision pins the torch it was compiled against, so naming torchvision is
# what keeps the two a matching pair (2.11 with 0.26, 2.12 with 0.27, ...); timm follows either.
CORE = [
    "torch>=2.11",
    "torchvision>=0.26",
    "timm>=1.0.15",
    "mmengine>=0.10.7",
    "nuscenes-devkit>=1.2.0",
    "numpy>=1.26,<2",  # nuscenes-devkit's bound
    # OpenCV from 4.12 on wants numpy 2. mmengine and the devkit each name one of these; both hold the module cv2.
    "opencv-python>=4.8,<4.12",
    "opencv-python-headless>=4.8,<4.12",
    "pillow>=10",
    "scipy>=1.11",
    "matplotlib>=3.8",
    "tensorboard>=2.16",
    "rich>=13.7",
    "jinja2>=3.1",
    "setuptools<82",  # mmengine reads pkg_resources
]

EXTRAS = {
    "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
    # TensorRT for RTX checks without a GPU that NVIDIA's parser and builder accept a graph. The full TensorRT
    # (module `tensorrt`) comes with JetPack on a Jetson, or by `pip install tensorrt` where NVIDIA's index is reached.
    "tensorrt": ['tensorrt-rtx-cu13-libs>=1.7 ; platform_system == "Linux"',
                 'tensorrt-rtx-cu13-bindings>=1.7 ; platform_system == "Linux"'],
    "compress": ["nvidia-modelopt>=0.47", "requests", "tqdm", "pulp", "scipy"],
    # Never needed by the core. mmcv has no wheel for current torch: it compiles for about ten minutes. Install it with
    # `pip install "setuptools<81" && MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0` first.
    "mmdet3d": ["mmcv==2.1.0", "mmdet==3.3.0", "mmdet3d==1.4.0"],
    # What nuscenes-devkit's TrackingEval reads.
    "tracking": ["motmetrics>=1.4", "pandas>=2"],
    "dev": ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.6", "mypy>=1.11"],
}

setup(
    name="bevkit",
    version=VERSION,
    description="Camera bird's-eye-view perception and future-instance prediction on PyTorch and mmengine",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["bevkit", "bevkit.*"]),
    package_data={"bevkit": ["**/*.j2"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["bevkit = bevkit.cli.main:main"]},
)
