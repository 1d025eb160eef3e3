"""What the chart tells the server: that the binary the variable MOKV names understands it."""

import os
import subprocess
import unittest

from rendering import render


def help_of(command):
    done = subprocess.run(
        [os.environ["MOKV"], command, "--help"],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return done.stdout


class Server(unittest.TestCase):
    def setUp(self):
        objects = render()
        (self.member,) = objects["StatefulSet", "kv-mokv"]["spec"]["template"]["spec"]["containers"]
        test = objects["Pod", "kv-mokv-test"]["spec"]
        self.commands = [
            [*self.member["command"], *self.member["args"]],
            self.member["lifecycle"]["preStop"]["exec"]["command"],
            test["containers"][0]["command"],
        ]

    def test_every_command_and_flag_is_one_of_the_binarys(self):
        for binary, command, *arguments in self.commands:
            self.assertEqual(binary, "/mokv")
            known = help_of(command)
            for flag in (argument for argument in arguments if argument.startswith("--")):
                with self.subTest(command=command, flag=flag):
                    self.assertRegex(known, rf"(?m)^ +(-\w, )?{flag.split('=')[0]}\b")

    def test_every_variable_is_one_of_the_binarys(self):
        known = help_of("serve") + help_of("leave")
        for variable in self.member["env"]:
            if variable["name"].startswith("MOKV_"):
                self.assertRegex(known, rf"\[env: {variable['name']}\b")


if __name__ == "__main__":
    unittest.main()
