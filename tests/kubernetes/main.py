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

import cluster
import real.cluster
from container import Image
from load import Load
from podspec import Unplayable
from poll import Late
from scenario import REPLICAS, Cluster, Scenario, Wrong
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
    control_plane = parser.add_mutually_exclusive_group(required=True)
    control_plane.add_argument("--api", type=pathlib.Path, help="the program built from api/")
    control_plane.add_argument("--programs", type=pathlib.Path, help="that built from controlplane/")
    parser.add_argument("--directory", type=pathlib.Path, required=True, help="where all files go")
    parser.add_argument("--seed", type=int, help="plays the steps in an order of its own")
    parser.add_argument("steps", nargs="*", choices=[[], *STEPS], help="without any, all are played")
    return parser.parse_args()


def prepare(directory: pathlib.Path) -> None:
    for name in ["logs", "roots"]:
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
    chosen = choose_cluster(arguments)
    load = Load(chosen.endpoints, arguments.seed or 0)
    story = Scenario(chosen, load, {"replicas": REPLICAS}).play(STEPS[step] for step in steps)
    tasks = [asyncio.create_task(chosen.run()), asyncio.create_task(story)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


def choose_cluster(arguments: argparse.Namespace) -> Cluster:
    image = Image(arguments.binary)
    if arguments.programs:
        return real.cluster.Cluster(image, arguments.directory, arguments.programs)
    return cluster.Cluster(image, arguments.directory, arguments.api)


if __name__ == "__main__":
    sys.exit(main())
