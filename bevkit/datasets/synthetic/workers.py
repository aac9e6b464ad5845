"""Several processes record scenes side by side. None of them outlives the one that started it."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cv2

from .record import Recorder, write_file


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
    with _crew(min(workers, len(names)), out, recipe) as pipes:
        busy = set()
        for pipe in pipes:
            pipe.send(todo.pop(0))
            busy.add(pipe)
        while busy:
            for pipe in wait(list(busy)):
                word = _listen(pipe)
                if word == "frame":
                    each_frame()
                elif word != "done":
                    raise RuntimeError(f"world: a worker failed; run again to go on from the finished scenes.\n{word}")
                elif todo:
                    pipe.send(todo.pop(0))
                else:
                    busy.discard(pipe)


def _listen(pipe: Connection) -> str:
    try:
        return pipe.recv()
    except EOFError:
        return 'It ended without a word: out of memory, killed, or the script lacks `if __name__ == "__main__":`.'


@contextmanager
def _crew(count: int, out: Path, recipe: dict) -> Iterator[list[Connection]]:
    """Starts worker processes with one thread each and ends them at the end."""
    context = multiprocessing.get_context("spawn")  # forking a process that runs threads may hang
    kept = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(kept, "1"))
    processes, pipes = [], []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, out, recipe), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield pipes
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        for pipe in pipes:
            pipe.close()  # a worker that waits for work, or reports a frame, sees this and ends
        for process in processes:
            process.join(3)
            process.kill()


def _work(pipe: Connection, out: Path, recipe: dict) -> None:
    """Records the scenes that arrive by name until the other end is gone."""
    cv2.setNumThreads(1)
    try:
        while True:
            record_scene(out, pipe.recv(), recipe, lambda: pipe.send("frame"))
            pipe.send("done")
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception:
        pipe.send(traceback.format_exc())
