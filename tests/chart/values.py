"""The values of the chart as their file describes them, and the table of them in the README.

`values.py PATH/README.md` writes the table anew, between the two marks in the file; test_values.py
checks that it is there.
"""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "mokv"
BEGIN = "<!-- values: written by tests/chart/values.py -->"
END = "<!-- end of values -->"

_KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9_]*):")


def defaults():
    """All values as the chart has them."""
    return yaml.safe_load((CHART / "values.yaml").read_text())


def descriptions():
    """The comment right above each key, by the key's path, in the file's order."""
    found, comment, parents = {}, [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if line.lstrip().startswith("# "):
            comment.append(line.lstrip()[2:])
            continue
        if key := _KEY.match(line):
            depth = len(key[1]) // 2
            parents[depth:] = [key[2]]
            if comment:
                found[".".join(parents)] = " ".join(comment)
        comment = []
    return found


def at(tree, path):
    """What stands at `path` in nested dictionaries."""
    for key in path.split("."):
        tree = tree[key]
    return tree


def leaves(tree, path=""):
    """The paths of all that is not a dictionary with keys."""
    for key, value in tree.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            yield from leaves(value, here)
        else:
            yield here


def ends(paths):
    """Those of some paths that have no longer one among them."""
    return [path for path in paths if not any(other.startswith(f"{path}.") for other in paths)]


def table():
    """The values in Markdown: a row for each that is described and has no described part."""
    described = descriptions()
    rows = ["| value | default | what |", "|---|---|---|"]
    for path in ends(described):
        default = json.dumps(at(defaults(), path))
        rows.append(f"| `{path}` | `{default}` | {described[path]} |")
    return "\n".join(rows)


def with_table(readme):
    """The text of the README with the table as it should be."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))
