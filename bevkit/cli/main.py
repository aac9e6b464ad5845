"""The command `bevkit`: finds the verb, reads its arguments, runs it, and turns a user's mistake into one sentence."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.markup import escape
from rich.table import Table

import bevkit
from bevkit.cli.output import Parser, complain, console
from bevkit.suggest import nearest

# Each verb is a module, imported only when it is called: its docstring says what it does, `add_arguments(parser)`
# declares what it takes, with examples, and `run(args) -> int` does it and returns the exit code.
VERBS = {
    "world": ("bevkit.cli.world", "draw a synthetic world in genuine nuScenes format"),
    "look": ("bevkit.cli.look", "draw data and labels of a config, before training"),
    "train": ("bevkit.cli.train", "train a model; --resume continues after a kill"),
    "test": ("bevkit.cli.test", "score a model on a data set"),
    "predict": ("bevkit.cli.predict", "draw what a model sees and foresees in a scene"),
    "import-checkpoint": ("bevkit.cli.import_checkpoint", "turn an author's released weights into bevkit's"),
    "export": ("bevkit.cli.export", "write ONNX and check it with ONNX Runtime and TensorRT"),
    "benchmark": ("bevkit.cli.benchmarks", "time pooling, loading, the model, a training step"),
    "demo": ("bevkit.cli.demo", "world, training, test, export and one HTML report"),
    "doctor": ("bevkit.cli.doctor", "say what is installed and how to get what is missing"),
}
BENCHMARKS = {
    "bev-pool": ("bevkit.cli.benchmarks.bev_pool", "lift-splat pooling against sort-and-cumsum and index_add"),
    "loader": ("bevkit.cli.benchmarks.loader", "images a second and core, from file to tensor"),
    "model": ("bevkit.cli.benchmarks.model", "the forward pass of a model, stage by stage"),
    "prior": ("bevkit.cli.benchmarks.prior", "the detection score of a guess without looking, and of the truth"),
    "sampling": ("bevkit.cli.benchmarks.sampling", "how sparse queries read images, against grid_sample"),
    "view-transformer": ("bevkit.cli.benchmarks.view_transformer", "every view transformer on the same features"),
    "train-step": ("bevkit.cli.benchmarks.train_step", "one optimiser step of a config"),
}
USAGE_ERROR = 2
Verbs = Mapping[str, tuple[str, str]]


def main(argv: list[str] | None = None) -> int:
    """Runs ``bevkit`` with arguments and returns its exit code: 0 done, 1 it failed, 2 the call was wrong."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["-V"], ["--version"]):
        print(f"bevkit {bevkit.__version__}")
        return 0
    if words[:1] == ["benchmark"]:
        return dispatch("bevkit benchmark", BENCHMARKS, words[1:])
    return dispatch("bevkit", VERBS, words)


def dispatch(program: str, verbs: Verbs, words: list[str]) -> int:
    """Runs the verb that the first word names with the words behind it."""
    if not words or words[0] in ("-h", "--help", "help"):
        overview(program, verbs)
        return 0
    verb, *rest = words
    if verb not in verbs:
        complain(f'{program} has no verb "{verb}"{nearest(verb, verbs) or f"; `{program} --help` lists them"}')
        return USAGE_ERROR
    module = importlib.import_module(verbs[verb][0])
    parser = Parser(f"{program} {verb}", (module.__doc__ or "").strip())
    module.add_arguments(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from, not only what it says")
    return guarded(module.run, parser.parse_args(rest))


def overview(program: str, verbs: Verbs) -> None:
    """Prints what the command can do."""
    console.print(f"\n[bold]bevkit {bevkit.__version__}[/]  camera bird's-eye-view perception and future prediction\n")
    console.print(f"Usage: [bold]{program}[/] [cyan]VERB[/] ...   [dim]`{program} VERB --help` explains one[/]\n",
                  highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for verb, (_, summary) in verbs.items():
        table.add_row(f"[cyan]{verb}[/]", escape(summary))
    console.print(table)
    if program == "bevkit":
        console.print("\n[dim]First steps: bevkit doctor, then bevkit demo.[/]\n", highlight=False)


def guarded(run: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Runs a verb; a mistake of the user's becomes one red sentence and exit code 2."""
    try:
        return int(run(args) or 0)
    except KeyboardInterrupt:
        complain("stopped")
        return 130  # as a shell reports it
    except (ValueError, TypeError, FileNotFoundError) as error:
        sentence = users_mistake(error)
        if sentence is None or args.traceback:
            raise
        complain(sentence)
        return USAGE_ERROR


def users_mistake(error: Exception) -> str | None:
    """Returns the sentence of an error that bevkit raised on purpose, None for an error that surprised it.

    On purpose means: by a `raise` of bevkit's own code, here or in a data worker, whose report torch puts into its own
    error; or a file that bevkit was told to open and that is not there.
    """
    message = str(error)
    if "Original Traceback" in message:
        *_, place, line, last = message.rstrip().splitlines()
        filename, message = place.split('"')[1] if '"' in place else "", last.split(": ", 1)[-1]
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        filename, line = frame.filename, frame.line or ""
    deliberate = "raise " in line or isinstance(error, FileNotFoundError)
    return message if deliberate and is_ours(filename) else None


def is_ours(filename: str) -> bool:
    return Path(bevkit.__file__).resolve().parent in Path(filename).resolve().parents


if __name__ == "__main__":
    sys.exit(main())
