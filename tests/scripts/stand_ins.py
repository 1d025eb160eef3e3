"""A PATH of nothing but stand-ins: commands that write down how they were called, and answer or fail
as they are told."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_S = 20

STAND_IN = """#!/usr/bin/env bash
call="${0##*/} $*"
echo "$call" >>"$CALLS"
[[ -z $FAILS || $call != "$FAILS"* ]] || exit 1
"""


class ScriptTest(unittest.TestCase):
    """A test of `script`, a path in the repository."""

    script = ""
    # What the script uses of the system as it is.
    system = ()
    # What has stand-ins, and the lines of bash that give each one's answer.
    stand_ins = {}

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.bin = pathlib.Path(directory.name) / "bin"
        self.bin.mkdir()
        self.calls = pathlib.Path(directory.name) / "calls"
        for tool in ("bash", "env", *self.system):
            (self.bin / tool).symlink_to(shutil.which(tool))
        for tool, answer in self.stand_ins.items():
            (self.bin / tool).write_text(STAND_IN + answer)
            (self.bin / tool).chmod(0o755)

    def run_script(self, *arguments, fails="", **variables):
        """Runs the script. The call that begins with `fails` fails."""
        environment = {"PATH": str(self.bin), "CALLS": str(self.calls), "FAILS": fails, **variables}
        self.calls.write_text("")
        return subprocess.run(
            [ROOT / self.script, *arguments],
            env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    def made_calls(self):
        return self.calls.read_text().splitlines()

    def assert_done(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)

    def assert_fails(self, done, *words):
        """The script failed, and its last line has all the words."""
        self.assertEqual(done.returncode, 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr.splitlines()[-1])

    def assert_names_what_is_missing(self, sources, *arguments, **variables):
        """Without each of the tools the script stops, and says where that tool comes from."""
        for tool, source in sources.items():
            with self.subTest(tool):
                (self.bin / tool).rename(self.bin / "away")
                done = self.run_script(*arguments, **variables)
                (self.bin / "away").rename(self.bin / tool)
                self.assert_fails(done, f"{tool} is missing: ", source)
