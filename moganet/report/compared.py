"""Models beside each other, as sections of a page: figures, curves, tests, images on which they differ, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moganet.numbers import percent
from moganet.report.charts import Series, line_chart
from moganet.report.page import Section, Shown
from moganet.results import Metric

TABLE, STYLES = "moganet.report/table.html", "abcdefgh"
STYLE = "moganet.report/compared.css"
Metrics = Mapping[str, Mapping[float, float]]  # {name: {epoch: value}}


@dataclass(frozen=True)
class Pairing:
    """What images on which two models differ are shown. heads: what is so of the first, and of the second."""

    first: Sequence[Shown]
    second: Sequence[Shown]
    heads: tuple[str, str]


def style_of(number: int) -> str:
    """Give the style of the line of a model: eight colours, then these dashed."""
    return STYLES[number % len(STYLES)] + " again" * (number >= len(STYLES))


def table_section(
    kicker: str, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
) -> Section:
    """Show rows under heads, the first of each its name."""
    return Section(kicker, title, TABLE, {"heads": heads, "rows": rows, "note": note}, style=STYLE)


def curves_section(runs: Mapping[str, Metrics], watched: Metric) -> Section:
    """Draw the curves of several runs in one plot for each figure, those that they have."""
    charts = [
        _chart(f"Validation: {watched.title}", runs, f"val/{watched.name}", is_share=watched.share),
        _chart("Validation: loss", runs, "val/loss"),
        _chart("Training: loss", runs, "train/loss"),
    ]
    drawn = [chart for chart in charts if chart is not None]
    absent = [name for name, metrics in runs.items() if not metrics]
    reason = f"Without curves, since the run's folder is not beside the model: {', '.join(absent)}."
    left_out = {"curves": reason} if absent else {}
    if not drawn:
        return Section("Training", left_out=left_out)
    content = {"charts": drawn}
    return Section("Training", "", "moganet.report/curves.html", content, style=STYLE, left_out=left_out)


def _chart(
    title: str, runs: Mapping[str, Metrics], key: str, *, is_share: bool = False
) -> tuple[str, str, list[Series]] | None:
    series = [
        Series(name, style_of(number), [(epoch + 1, value) for epoch, value in sorted(metrics[key].items())])
        for number, (name, metrics) in enumerate(runs.items())
        if metrics.get(key)
    ]
    if not series:
        return None
    ends = [f"{one.name}: {percent(one.points[-1][1]) if is_share else f'{one.points[-1][1]:.3g}'}" for one in series]
    return title, line_chart(series, f"{title} by epoch. At the end {'; '.join(ends)}.", percent=is_share), series


def pictures_section(pairings: Sequence[Pairing], title: str) -> Section:
    """Show images that one model of two has right and the other wrong."""
    return Section("Where they differ", title, "moganet.report/differ.html", {"pairings": pairings}, style=STYLE)
