"""Draws a recording of the dashboard's panels, laid out as in Grafana.

usage: draw.py RECORDING PICTURE
"""

import json
import math
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

import dashboard

COLUMNS = 24
COLUMN_INCHES, ROW_INCHES, FOOT_INCHES = 0.75, 0.36, 0.5
# Values further apart than this are not joined.
GAP_S = 5
COLOURS = {"green": "#3f8f4f", "orange": "#d98018", "red": "#c4302b", "blue": "#3a6ea5"}
CAPTION = (
    "Drawn by tests/monitoring/picture from the panels' queries, answered by Prometheus; not by Grafana. "
    "Three members on one machine, ghz writing and reading through each; the leader was killed and started again."
)


def main(recording, picture):
    recording = json.loads(pathlib.Path(recording).read_text())
    lines = {panel["id"]: panel["lines"] for panel in recording["panels"]}
    panels = dashboard.load()["panels"]
    canvas = Canvas(panels)
    for panel in panels:
        if panel["type"] == "row":
            canvas.title_row(panel)
        elif panel["type"] == "stat":
            draw_stat(canvas.axes(panel, margin=0.1), panel, lines[panel["id"]])
        else:
            axes = canvas.axes(panel, margin=0.55)
            axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold")
            draw = {"timeseries": draw_series, "state-timeline": draw_states}[panel["type"]]
            draw(axes, panel, lines[panel["id"]])
            axes.set_xlim(0, recording["seconds"])
            axes.tick_params(labelsize=7)
    canvas.save(picture)


class Canvas:
    """Grafana's grid, in inches from the top left."""

    def __init__(self, panels):
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        self.width = COLUMNS * COLUMN_INCHES
        self.height = rows * ROW_INCHES + FOOT_INCHES
        self.figure = plt.figure(figsize=(self.width, self.height), facecolor="white")

    def axes(self, panel, margin):
        place = panel["gridPos"]
        left, top = place["x"] * COLUMN_INCHES, place["y"] * ROW_INCHES
        width, height = place["w"] * COLUMN_INCHES, place["h"] * ROW_INCHES
        # The bottom has the ticks and the legend.
        low, high = margin * 1.1, margin * 0.5
        bottom = self.height - top - height + low
        inside = (left + margin, bottom, width - margin - 0.1, height - low - high)
        sizes = (self.width, self.height, self.width, self.height)
        return self.figure.add_axes([inch / size for inch, size in zip(inside, sizes)])

    def title_row(self, panel):
        y = 1 - (panel["gridPos"]["y"] + 0.5) * ROW_INCHES / self.height
        self.figure.text(0.006, y, panel["title"], fontsize=12, va="center", color="#444444")

    def save(self, picture):
        self.figure.text(0.006, 0.15 / self.height, CAPTION, fontsize=8, color="#666666")
        self.figure.savefig(picture, dpi=80)


def draw_stat(axes, panel, lines):
    defaults = panel["fieldConfig"]["defaults"]
    value = lines[0]["values"][-1][1] if lines else float("nan")
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    axes.set_facecolor(COLOURS[colour])
    axes.set_xticks([])
    axes.set_yticks([])
    words = {key: option["text"] for mapping in defaults.get("mappings", []) for key, option in mapping["options"].items()}
    text = words.get(f"{value:g}", formatted(value, defaults["unit"]))
    axes.text(0.5, 0.42, text, fontsize=22, color="white", ha="center", va="center", transform=axes.transAxes)
    axes.text(0.03, 0.86, panel["title"], fontsize=9, color="white", va="center", transform=axes.transAxes)


def draw_series(axes, panel, lines):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for line in lines:
        axes.plot(*zip(*with_gaps(line["values"])), linewidth=1, label=line["name"])
    values = [value for line in lines for _, value in line["values"] if math.isfinite(value)]
    highest = max(values, default=0)
    axes.set_ylim(0, highest * 1.1 or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(value, unit)))
    axes.grid(alpha=0.25)
    if lines:
        axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, frameon=False)


def with_gaps(values):
    """The values, with nothing where there was none for a while."""
    last = None
    for at, value in values:
        if last is not None and at - last > GAP_S:
            yield at, float("nan")
        yield at, value
        last = at


def draw_states(axes, panel, lines):
    """A bar for as long as the value is 1."""
    lines = sorted(lines, key=lambda line: line["name"])
    for height, line in enumerate(lines):
        times = [at for at, _ in line["values"]]
        bars = [
            (at, following - at)
            for (at, value), following in zip(line["values"], times[1:])
            if value == 1 and following - at <= GAP_S
        ]
        axes.broken_barh(bars, (height + 0.1, 0.8), color=COLOURS["green"])
    axes.set_yticks([height + 0.5 for height in range(len(lines))], [line["name"] for line in lines])


def formatted(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    if unit in ("bytes", "Bps"):
        per = "/s" if unit == "Bps" else ""
        for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size:
                return f"{value / size:.3g} {name}{per}"
        return f"{value:.3g} B{per}"
    return f"{value:,.6g}" + ("/s" if unit == "reqps" else "")


if __name__ == "__main__":
    main(*sys.argv[1:])
