"""Three members in containers: what befalls containers, with a client that writes meanwhile."""

import unittest

from cluster import PORT, Cluster, wait_until
from docker import docker, inspect
from writer import Writer


class ThreeMembers(unittest.TestCase):
    """Each test finds three members that serve, and leaves three."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def setUp(self):
        self.cluster.wait_until_all_serve()

    def tearDown(self):
        self.cluster.wait_until_all_serve()
        ids = {self.cluster.status(member)["cluster_id"] for member in self.cluster.members}
        self.assertEqual(len(ids), 1, "there is one cluster")

    def test_any_member_takes_writes_and_each_reads_them_by_name(self):
        for writer in self.cluster.members:
            docker("exec", writer.container, "/mokv", "set", f"by-{writer.name}", "v", f"--endpoints={writer.name}:{PORT}")
            for reader in self.cluster.members:
                value = docker(
                    "exec", writer.container, "/mokv", "get", f"by-{writer.name}", f"--endpoints={reader.name}:{PORT}"
                )
                self.assertEqual(value, "v")

    def test_a_member_that_is_cut_off_comes_back(self):
        with Writer(self.cluster, "cut-off") as writer:
            for member in self.cluster.members:
                self.cluster.cut_off(member)
                writer.wait_for_some()
                self.cluster.reconnect(member)
                self.cluster.wait_until_all_serve()

    def test_a_member_whose_address_is_taken_meanwhile_comes_back_at_another(self):
        with Writer(self.cluster, "taken") as writer:
            for member in self.cluster.members:
                former = member.address
                self.cluster.cut_off(member)
                self.addCleanup(docker, "rm", "--force", "--volumes", self.cluster.run_stranger())
                self.cluster.reconnect(member)
                self.assertNotEqual(member.address, former)
                self.cluster.wait_until_all_serve()
                writer.wait_for_some()

    def test_a_member_that_is_killed_comes_back(self):
        with Writer(self.cluster, "killed") as writer:
            for member in self.cluster.members:
                docker("kill", member.container)
                writer.wait_for_some()
                self.cluster.start(member)
                self.cluster.wait_until_all_serve()

    def test_a_member_that_is_stopped_ends_well_and_comes_back(self):
        with Writer(self.cluster, "stopped") as writer:
            for member in self.cluster.members:
                docker("stop", "--time=30", member.container)
                self.assertEqual(inspect(member.container)["State"]["ExitCode"], 0)
                writer.wait_for_some()
                self.cluster.start(member)
                self.cluster.wait_until_all_serve()

    def test_all_members_that_are_killed_at_once_come_back(self):
        with Writer(self.cluster, "all-killed") as writer:
            docker("kill", *(member.container for member in self.cluster.members))
            for member in self.cluster.members:
                self.cluster.start(member)
            self.cluster.wait_until_all_serve()
            writer.wait_for_some()

    def test_members_may_come_back_with_each_others_addresses(self):
        with Writer(self.cluster, "moved") as writer:
            before = [member.address for member in self.cluster.members]
            for member in self.cluster.members:
                self.cluster.remove(member)
            for member in reversed(self.cluster.members):
                self.cluster.run(member)
            after = [member.address for member in self.cluster.members]
            self.assertNotEqual(before, after)
            self.cluster.wait_until_all_serve()
            writer.wait_for_some()

    def test_a_container_that_is_replaced_has_its_data(self):
        with Writer(self.cluster, "replaced") as writer:
            for member in self.cluster.members:
                node = self.cluster.status(member)["node_id"]
                self.cluster.remove(member)
                writer.wait_for_some()
                self.cluster.run(member)
                self.cluster.wait_until_all_serve()
                self.assertEqual(self.cluster.status(member)["node_id"], node)


if __name__ == "__main__":
    unittest.main()
