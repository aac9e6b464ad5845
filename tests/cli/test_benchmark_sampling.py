"""bevkit benchmark sampling: every form is timed beside the reference and the floor."""

import json

from bevkit.cli.main import main


def test_sampling_is_timed(tmp_path):
    path = tmp_path / "sampling.json"
    assert main(["benchmark", "sampling", "--size", "tiny", "--frames", "2", "--repeats", "2", "--json",
                 str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["form"].split()[0] for row in rows] == ["rows,", "rows,", "grid_sample", "bytes"]
    assert all(row["forward_ms"] > 0 for row in rows) and all(row["train_ms"] > 0 for row in rows[:-1])
    assert rows[0]["forward_ratio"] == rows[0]["train_ratio"] == 1
