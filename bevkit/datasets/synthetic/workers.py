"""Several processes record scenes side by side. None of them outlives the one that started it for long.

A worker is a fresh interpreter that reads scenes' names from its standard input and answers line by line. So it works
from any caller (a script, a notebook, a program full of threads), and it ends when its caller is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from .record import Recorder, write_file

_ROOT = Path(__file__).parents[3]
_START = "from bevkit.datasets.synthetic.workers import work; work()"


def record_scene(out: Path, name: str, recipe: dict, each_frame: Callable[[], None]) -> None:
    """Records one scene; its file of rows, written last, says that the scene is whole."""
    recorder = Recorder(out, name, recipe["seed"], tuple(recipe["image_size"]), recipe["frames"])
    rows = recorder.run(each_frame)
    write_file(out / ".scenes" / f"{name}.json", json.dumps(rows).encode())


def record_scenes(out: Path, names: list[str], recipe: dict, workers: int, each_frame: Callable[[], None]) -> None:
    """Records scenes in this process (workers=1) or in several others.

    Raises:
        RuntimeError: a worker failed; its traceback is in the message.
    """
    if workers <= 1 or len(names) <= 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            for name in names:
                record_scene(out, name, recipe, each_frame)
        finally:
            cv2.setNumThreads(threads)
        return
    todo = list(names)
    crew = [_hire(out, recipe) for _ in range(min(workers, len(names)))]
    try:
        with ThreadPoolExecutor(len(crew)) as pool:
            shifts = [pool.submit(_supervise, worker, todo, each_frame) for worker in crew]
            try:
                for shift in shifts:
                    shift.result()
            finally:
                todo.clear()
                _dismiss(crew)
    finally:
        _dismiss(crew)


def _hire(out: Path, recipe: dict) -> subprocess.Popen:
    """Starts one worker with one thread and tells it what to make."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    worker = subprocess.Popen(
        [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    _tell(worker, {"out": str(out.resolve()), "recipe": recipe})
    return worker


def _tell(worker: subprocess.Popen, message: object) -> None:
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(message) + "\n")
    worker.stdin.flush()


def _supervise(worker: subprocess.Popen, todo: list[str], each_frame: Callable[[], None]) -> None:
    """Hands one worker scene after scene until none is left."""
    assert worker.stdout is not None
    while True:
        try:
            name = todo.pop(0)
        except IndexError:  # nothing left
            return
        try:
            _tell(worker, name)
        except BrokenPipeError:
            pass  # it is gone; what it said last is read below
        word = ""
        for line in worker.stdout:
            word = json.loads(line)
            if word != "frame":
                break
            each_frame()
        if word != "done":
            todo.clear()
            reason = word if word not in ("", "frame") else "It ended without a word: out of memory, or killed."
            raise RuntimeError(f"world: a worker failed; run again to go on from the finished scenes.\n{reason}")


def _dismiss(crew: list[subprocess.Popen]) -> None:
    for worker in crew:
        worker.kill()
        worker.wait()


def work() -> None:
    """Lives a worker's life: records the scenes whose names arrive, until nobody sends any more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints shall mix with the answers

    def answer(word: str) -> None:
        answers.write(json.dumps(word) + "\n")
        answers.flush()

    cv2.setNumThreads(1)
    try:
        order = json.loads(sys.stdin.readline())
        for line in sys.stdin:
            record_scene(Path(order["out"]), json.loads(line), order["recipe"], lambda: answer("frame"))
            answer("done")
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # the caller is gone: no traceback, no flushing into a closed pipe
    except Exception:
        answer(traceback.format_exc())
