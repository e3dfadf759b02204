"""Charts as inline SVG, coloured by the page's style sheet so that they follow its light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 10, 38
MARKED = 40  # points up to which each is marked


@dataclass(frozen=True)
class Series:
    """A line: its name, its style ("a", "b") and its points (x, y)."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


class _Axes:
    """Two linear scales, with their ticks, in a drawing of WIDTH x HEIGHT."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], xticks: Sequence[float] | None = None) -> None:
        self.xticks = _ticks(*x) if xticks is None else xticks
        self.yticks = _ticks(*y)
        self.x0, self.x1 = x
        self.y0, self.y1 = self.yticks[0], self.yticks[-1]

    def place(self, x: float, y: float) -> tuple[float, float]:
        right, up = (x - self.x0) / ((self.x1 - self.x0) or 1), (y - self.y0) / ((self.y1 - self.y0) or 1)
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def draw(self, xlabel: str, *, percent: bool, xpercent: bool = False) -> str:
        parts = []
        for value in self.yticks:
            _, y = self.place(self.x0, value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value, percent)}</text>')
        for value in self.xticks:
            if self.x0 <= value <= self.x1:
                x, _ = self.place(value, self.y0)
                label = _number(value, xpercent)
                parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(xlabel)}</text>')
        return "".join(parts)


def epoch_ticks(last: float) -> list[int]:
    """Give the epochs that an axis names, the first of them 1: there is no epoch before it."""
    step = max(1, round(float(np.diff(MaxNLocator(5, integer=True).tick_values(1, max(last, 2)))[0])))
    return [1, *(epoch for epoch in range(step, int(last) + 1, step) if epoch > max(1, step // 2))]


def epoch_span(epochs: Sequence[float]) -> tuple[float, float]:
    """Give where an axis of epochs begins and ends: at 1 and the last; a single one stands in the middle."""
    first, last = min(1.0, *epochs), max(epochs)
    return (first, last) if last > first else (first - 0.5, last + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(5).tick_values(low, high if high > low else low + 1e-9)
    return [float(value) for value in ticks]


def _number(value: float, percent: bool = False) -> str:
    if percent:
        return f"{100 * value:g} %"
    if value and abs(value) < 0.01:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:,.6g}"


def _svg(body: str, alt: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}">{body}</svg>')


def line_chart(series: Sequence[Series], alt: str, *, percent: bool = False, xlabel: str = "epoch") -> Markup:
    """Draw lines over the epochs, which count from 1; those whose values are shares as percent."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    low = 0.0 if not percent or min(ys) < 0.5 else min(ys)
    axes = _Axes(epoch_span(xs), (low, max(ys)), epoch_ticks(max(xs)))
    return _svg(axes.draw(xlabel, percent=percent) + "".join(_line(one, axes) for one in series), alt)


def share_chart(series: Sequence[Series], alt: str, xlabel: str) -> Markup:
    """Draw lines of shares over a share, both axes from 0 to 100 percent."""
    axes = _Axes((0, 1), (0, 1))
    body = axes.draw(xlabel, percent=True, xpercent=True) + "".join(_line(one, axes) for one in series)
    return _svg(body, alt)


def _line(one: Series, axes: _Axes) -> str:
    points = [axes.place(x, y) for x, y in one.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline class="line {one.style}" points="{path}"/>'
    if len(points) > MARKED:
        return line
    return line + "".join(f'<circle class="dot {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)


def reliability_chart(confidence: np.ndarray, correct: np.ndarray, bins: int, alt: str, of: str = "images") -> Markup:
    """Draw how often answers of each confidence are right, over the diagonal where they would be as often as they say.

    confidence, correct: (N,), in 0..1. A bar is as strong as its share of the answers. of: what these are given for.
    """
    axes = _Axes((0, 1), (0, 1))
    body = axes.draw("confidence", percent=True, xpercent=True)
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    for place in np.unique(places):
        inside = places == place
        share = inside.mean()
        left, top = axes.place(place / bins, correct[inside].mean())
        right, bottom = axes.place((place + 1) / bins, 0)
        said = f"{100 * place / bins:.0f} to {100 * (place + 1) / bins:.0f} % sure: "
        said += f"{100 * correct[inside].mean():.0f} % right, {inside.sum():,} {of}"
        body += (
            f'<rect class="bar" x="{left + 1:.1f}" y="{top:.1f}" width="{right - left - 2:.1f}" '
            f'height="{max(bottom - top, 1):.1f}" opacity="{0.35 + 0.65 * share**0.5:.2f}"><title>{said}</title></rect>'
        )
    (x0, y0), (x1, y1) = axes.place(0, 0), axes.place(1, 1)
    body += f'<line class="ideal" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'
    return _svg(body, alt)
