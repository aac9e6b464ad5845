"""Line charts as inline SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 340, 176
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 24


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Returns about ``count`` round numbers inside an interval."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def smooth(values: np.ndarray, share: float = 0.04) -> np.ndarray:
    """Returns a centred moving average over a share of the values, one-sided at the ends."""
    half = int(len(values) * share)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    index = np.arange(len(values))
    first, end = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def short(value: float) -> str:
    """Writes a number for an axis."""
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}".replace(".0e", "e")


def finite(points: Points) -> np.ndarray:
    """Returns the points [P 2] of finite value in the order of their steps."""
    data = np.array([point for point in points if math.isfinite(point[1])], dtype=np.float64).reshape(-1, 2)
    return data[np.argsort(data[:, 0], kind="stable")]


def last(points: Points) -> str:
    """Writes where the moving average of a curve ends."""
    data = finite(points)
    return f"{smooth(data[:, 1])[-1]:.3g}" if len(data) else "–"


def line_chart(name: str, points: Points) -> str:
    """Draws one curve of (step, value): every value faintly, their moving average strongly.

    Values that are not finite are left out; a rare spike may leave the chart at its top.
    """
    data = finite(points)
    if len(data) == 0:
        return ""
    steps, values = data.T
    mean = smooth(values)
    low, high = min(mean.min(), np.quantile(values, 0.02)), max(mean.max(), np.quantile(values, 0.98))
    if low > 0 and low < 0.6 * high:
        low = 0.0
    room = (high - low or abs(high) or 1.0) * 0.06
    low, high = low - (room if low else 0), high + room
    start, end = steps[0], max(steps[-1], steps[0] + 1)

    def place(step: float, value: float) -> tuple[float, float]:
        return (LEFT + (step - start) / (end - start) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM))

    def path(series: np.ndarray) -> str:
        keep = np.unique(np.linspace(0, len(series) - 1, 400).round().astype(int))  # no more points than pixels
        return "M" + "L".join("{:.1f} {:.1f}".format(*place(steps[index], min(high, max(low, series[index]))))
                              for index in keep)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_escape(name)}">']
    for value in ticks(low, high):
        _, y = place(start, value)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>')
    for step in ticks(start, end, 3):
        x, _ = place(step, low)
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{short(step)}</text>')
    x, y = place(steps[-1], mean[-1])
    parts.append(f'<path class="faint" d="{path(values)}"/><path class="line" d="{path(mean)}"/>'
                 f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/></svg>')
    return "".join(parts)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
