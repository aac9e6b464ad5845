"""bevkit: camera bird's-eye-view perception and future-instance prediction on PyTorch and mmengine."""

__version__ = "0.1.0"
