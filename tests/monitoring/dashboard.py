"""Reads the chart's Grafana dashboard, for its tests and for its picture."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = ROOT / "deploy/mokv/files/dashboard.json"

# What Grafana puts in: every variable is left at "All".
VARIABLES = {"$namespace": ".*", "$job": ".*", "$instance": ".*"}


def load():
    return json.loads(PATH.read_text())


def panels(dashboard):
    """The panels that show something: all but the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(panel, rate_interval):
    """The panel's expressions as Grafana sends them, each with its legend."""
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", rate_interval)
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        yield expression, target["legendFormat"]
