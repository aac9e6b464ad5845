"""The page stands alone, is well formed, and says what it was given."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from bevkit.visualization.charts import line_chart, ticks
from bevkit.visualization.report import Card, Report, SceneFigure, render, say, table_of, tables_of, write_report

VOID = {"meta", "img", "input", "br", "link", "line", "circle", "path"}


class Balance(HTMLParser):
    """Collects tags and refuses an end without its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parse(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture
def report() -> Report:
    pictures = [np.full((20, 30, 3), shade, dtype=np.uint8) for shade in (10, 90, 200)]
    pairs = [(picture, picture) for picture in pictures]
    scene = SceneFigure("scene <1>", pictures, pairs, ("now", "+0.5 s", "+1.0 s"),
                        "A note & more.", pictures[0], {"VPQ": 41.25})
    return Report("Title <b>", "subtitle", [Card("VPQ", "38.2", "held out", True)], [scene],
                  metrics=[{"model": "ours", "VPQ": 38.2}, {"model": "copy last", "VPQ": 27.95, "IoU": 40.0}],
                  curves={"loss": [(step, 1 / (1 + step)) for step in range(50)], "empty": []},
                  provenance="Trained here.", commands=["bevkit demo"], environment={"torch": "2.12.1"},
                  export={"file": "m.onnx", "outputs": [{"name": "flow", "relative_error": 2e-6}]})


def test_the_page_stands_alone(report: Report, tmp_path) -> None:
    page = write_report(tmp_path / "deep" / "report.html", report).read_text()
    assert not re.search(r"https?://|//[a-z]+\.", page)
    tags = parse(page).seen
    sources = [attrs[name] for _, attrs in tags for name in ("src", "href", "srcset") if name in attrs]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert sum(tag == "img" for tag, _ in tags) == 3 + 6 + 1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_the_page_says_what_it_was_given(report: Report) -> None:
    page = render(report)
    for text in ("Title &lt;b&gt;", "scene &lt;1&gt;", "A note &amp; more.", "38.2", "41.25", "27.95", "2.00e-06",
                 "Trained here.", "bevkit demo", "2.12.1", "copy last"):
        assert text in page
    assert page.count("<svg class=\"chart\"") == 1  # a curve without points has no chart


def test_parts_may_be_left_out() -> None:
    tags = parse(render(Report("Only a title"))).seen
    assert not any(tag in ("section", "table", "img") for tag, _ in tags)
    one = SceneFigure("one", bev_frames=[(np.zeros((4, 4, 3), np.uint8),) * 2])
    parse(render(Report("A scene without cameras", scenes=[one])))


def test_tables_of_nested_values() -> None:
    tables = tables_of({"opset": 20, "ok": True, "nothing": None, "shape": [1, 2, 3], "empty": {},
                        "engines": {"fp32": {"seconds": 3.25}, "fp16": {"seconds": 4.5}},
                        "parity": {"tolerance": 1e-3, "outputs": [{"name": "flow"}]}})
    assert [table.title for table in tables] == ["", "engines", "parity", "parity · outputs"]
    assert ["shape", "1 × 2 × 3"] in tables[0].rows and ["ok", "yes"] in tables[0].rows
    assert tables[1].columns == ["name", "seconds"] and tables[1].numeric == [False, True]
    assert tables[1].rows == [["fp32", "3.25"], ["fp16", "4.50"]]


def test_a_missing_value_is_a_dash() -> None:
    table = table_of("", [{"model": "a", "VPQ": 1.0}, {"model": "b"}])
    assert table.rows[1] == ["b", "–"] and table.numeric == [False, True]
    assert [say(value) for value in (float("nan"), 1e-9, 12345, 0.0)] == ["nan", "1.00e-09", "12,345", "0"]


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0, 3.0], [0.0, 0.0], [float("nan"), 2.0, float("inf"), 1.0],
                                    [1e-7, 2e-7], [1e6, 3.0]])
def test_charts_stay_inside_their_frame(values: list[float]) -> None:
    svg = line_chart("a & b", list(enumerate(values)))
    numbers = [float(number) for path in re.findall(r' d="M([^"]*)"', svg) for number in re.split(r"[ L]", path)]
    assert numbers and all(0 <= number <= 340 for number in numbers)
    parse(svg)


def test_ticks_are_round() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert ticks(0.0, 2990.0, 3) == [0, 1000, 2000]
