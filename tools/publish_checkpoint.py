"""Strips a training checkpoint to its weights (the averaged ones where it has them), for others to start from.

    python tools/publish_checkpoint.py work_dirs/synthetic_powerbev_start/iter_816.pth powerbev.pth --half
"""

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    import torch

    import bevkit
    from bevkit.engine.checkpoint import read_checkpoint, weights_of
    from bevkit.files import write_atomically

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="checkpoint of bevkit train")
    parser.add_argument("out", help="file to write")
    parser.add_argument("--half", action="store_true", help="store float16: half the size, ample to train on from")
    args = parser.parse_args()
    weights = weights_of(read_checkpoint(args.source))
    if args.half:
        weights = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    buffer = io.BytesIO()
    torch.save(dict(state_dict=weights, meta=dict(source=Path(args.source).name, bevkit=bevkit.__version__)), buffer)
    write_atomically(args.out, buffer.getvalue())
    print(f"{args.out}: {len(weights)} tensors, {len(buffer.getvalue()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
