"""`bevkit benchmark loader` on a tiny data set: every way runs and gives the same picture."""

import json

from bevkit.cli.main import main


def test_every_way_is_timed(tiny, tmp_path, capsys):
    out = tmp_path / "loader.json"
    assert main(["benchmark", "loader", "--dataroot", str(tiny), "--size", "18", "32", "--images", "5",
                 "--repeats", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["files"] for row in rows] == [5] * 4 and all(row["images_per_second"] > 0 for row in rows)
    assert rows[0]["speedup"] == 1 and rows[0]["grey_difference"] == 0 and rows[1]["grey_difference"] < 1
    assert "FIERY" in capsys.readouterr().out
