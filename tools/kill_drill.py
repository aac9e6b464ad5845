"""Kills world building, index building and training at random moments and checks that nothing is lost.

    python tools/kill_drill.py --kills 24 --json kills.json

Each job runs once in peace. Then it is started and killed (SIGKILL, with its workers) at random moments until its share
of kills is used up, run to its end, and must leave what the peaceful run left: the same files (world), the same index,
the same weights and optimiser state bit by bit (training). After every kill each checkpoint on disk must load.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def run_until(command: list[str], seconds: float | None) -> bool:
    """Runs a command in a process group of its own; kills the group after some seconds. Says whether it finished."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed by itself:\n{output.decode()[-3000:]}")
    return True


def drill(name: str, command: list[str], out: Path, check: Callable[[], None], kills: int, seconds: float) -> int:
    """Kills a job at uniformly random moments of its usual duration, checking after each; then lets it finish.

    A job that gets to its end before its share of kills is used up begins anew.
    """
    done = 0
    while done < kills:
        moment = random.uniform(0.05, 1.0) * seconds
        if run_until(command, moment):
            shutil.rmtree(out)
            continue
        done += 1
        print(f"{name}: kill {done} after {moment:.1f} s", flush=True)
        check()
    run_until(command, None)
    return done


def fingerprint(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def same_values(a: object, b: object) -> bool:
    import torch

    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_values(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_values, a, b))
    return a == b


def drill_world(folder: Path, kills: int) -> dict[str, object]:
    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "bevkit", "world", str(out), "--scenes", "2", "--frames", "10",
                "--image-size", "160x90", "--workers", "2"]
    start = time.time()
    run_until(command(folder / "peace"), None)
    seconds = time.time() - start
    count = drill("world", command(folder / "war"), folder / "war", lambda: None, kills, seconds)
    if fingerprint(folder / "peace") != fingerprint(folder / "war"):
        raise SystemExit("world: the killed build differs from the peaceful one")
    return dict(kills=count, seconds=round(seconds, 1), same=True)


def drill_index(world: Path, folder: Path, kills: int) -> dict[str, object]:
    def command(cache: Path) -> list[str]:
        script = ("from bevkit.datasets.nuscenes import NuScenesClips as C; "
                  f"print(len(C({str(world)!r}, 'v1.0-mini', past=3, future=4, cache_dir={str(cache)!r})))")
        return [sys.executable, "-c", script]
    start = time.time()
    run_until(command(folder / "peace"), None)
    seconds = time.time() - start
    count = drill("index", command(folder / "war"), folder / "war", lambda: None, kills, seconds)
    peace, war = fingerprint(folder / "peace"), fingerprint(folder / "war")
    if any(war.get(name) != digest for name, digest in peace.items()):
        raise SystemExit("index: the killed build differs from the peaceful one")
    return dict(kills=count, seconds=round(seconds, 1), same=True)


def drill_training(world: Path, folder: Path, kills: int) -> dict[str, object]:
    from bevkit.engine.checkpoint import latest_checkpoint, read_checkpoint

    def command(work_dir: Path) -> list[str]:
        return [sys.executable, "-m", "bevkit", "train", "configs/tiny/powerbev.py", "--resume",
                "--work-dir", str(work_dir), "--set", f"train_dataloader.dataset.dataroot={world}",
                f"val_dataloader.dataset.dataroot={world}", "train_cfg.max_epochs=8",
                "default_hooks.checkpoint.interval=1"]

    def every_checkpoint_loads() -> None:
        for path in (folder / "war").glob("*.pth"):
            read_checkpoint(path)

    start = time.time()
    run_until(command(folder / "peace"), None)
    seconds = time.time() - start
    count = drill("train", command(folder / "war"), folder / "war", every_checkpoint_loads, kills, seconds)
    peace, war = (read_checkpoint(latest_checkpoint(folder / name)) for name in ("peace", "war"))
    for part in ("state_dict", "optimizer"):
        if not same_values(peace[part], war[part]):
            raise SystemExit(f"train: {part} of the killed run differs from the peaceful one")
    return dict(kills=count, seconds=round(seconds, 1), same=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24, help="in all, shared among the three jobs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write the counts to a JSON file")
    args = parser.parse_args()
    random.seed(args.seed)
    folder = Path(tempfile.mkdtemp(prefix="kill_drill_"))
    share = -(-args.kills // 3)
    try:
        result = dict(world=drill_world(folder, share),
                      index=drill_index(folder / "peace", folder / "index", share),
                      train=drill_training(folder / "peace", folder / "train", share))
        print(result)
        if args.json:
            from bevkit.cli.output import write_json
            write_json(args.json, result)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
