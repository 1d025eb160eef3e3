"""Plays the chart's pods through a cluster's life: see README.md. Started by `run`, which gives this
process namespaces of its own.
"""

import argparse
import asyncio
import logging
import pathlib
import random
import sys
import time

from cluster import Cluster
from container import Image
from kubelet import Node
from load import Load
from network import Network
from objects import Release, Unplayable
from poll import Late
from scenario import REPLICAS, Scenario, Wrong
from steps import STEPS


def main() -> int:
    arguments = read_arguments()
    prepare(arguments.directory)
    steps = arguments.steps or list(STEPS)
    if arguments.seed is not None:
        random.Random(arguments.seed).shuffle(steps)
    try:
        asyncio.run(play(arguments, steps))
    except (Wrong, Late, Unplayable, OSError) as problem:
        print(f"FAILED: {problem}", file=sys.stderr)
        return 1
    return 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="what the image has in it")
    parser.add_argument("--api", type=pathlib.Path, required=True, help="the program built from api/")
    parser.add_argument("--directory", type=pathlib.Path, required=True, help="where all files go")
    parser.add_argument("--seed", type=int, help="plays the steps in an order of its own")
    parser.add_argument("steps", nargs="*", choices=[[], *STEPS], help="without any, all are played")
    return parser.parse_args()


def prepare(directory: pathlib.Path) -> None:
    for name in ["api", "credentials", "logs", "roots", "volumes"]:
        (directory / name).mkdir(parents=True)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        filename=directory / "logs" / "kubernetes.log",
        format="%(asctime)s.%(msecs)03d %(message)s",
        datefmt="%FT%T",
        level=logging.INFO,
    )


async def play(arguments: argparse.Namespace, steps: list[str]) -> None:
    """Ends when the steps are played, or the cluster cannot go on."""
    values = {"replicas": REPLICAS}
    directory = arguments.directory
    image = Image(arguments.binary)
    node = Node(image, Network(), directory, directory / "credentials", lambda: cluster.release)
    cluster = Cluster(Release.render(values), node, arguments.api)
    load = Load(cluster.endpoints, arguments.seed or 0)
    story = Scenario(cluster, load, values).play(STEPS[step] for step in steps)
    tasks = [asyncio.create_task(cluster.run()), asyncio.create_task(story)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


if __name__ == "__main__":
    sys.exit(main())
