"""The docker command, and how a container of mökv is confined."""

import json
import os
import pathlib
import subprocess

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "docker"
# Made by `run`, which removes what carries the label or belongs to the project.
IMAGE = os.environ["MOKV_TEST_IMAGE"]
PROJECT = os.environ["MOKV_TEST_PROJECT"]
LABEL = ["--label", os.environ["MOKV_TEST_LABEL"]]
COMMAND_DEADLINE_S = 60


def confined(profile=DEPLOY / "seccomp.json"):
    """The options of `docker run` that leave a container what mökv needs, and nothing else."""
    return [
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        f"--security-opt=seccomp={profile}",
    ]


def docker(*arguments):
    """What the command prints on stdout; it must succeed."""
    done = attempt(*arguments)
    if done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def attempt(*arguments):
    """The command's end, whatever it was."""
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False
    )


def inspect(what):
    [found] = json.loads(docker("inspect", what))
    return found
