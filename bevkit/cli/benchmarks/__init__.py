"""What `bevkit benchmark WHAT` times, one module each; every figure names the machine it was taken on."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path


def machine() -> dict[str, str]:
    """Says where and when a figure was taken."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"date": date.today().isoformat(), "processor": processor(), "cores": str(os.cpu_count()), "gpu": gpu,
            "python": platform.python_version(), "torch": str(torch.__version__)}


def processor() -> str:
    """Names this machine's processor as precisely as the system tells."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
