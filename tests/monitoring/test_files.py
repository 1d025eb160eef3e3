"""The dashboard and the alerts as files: what Grafana and Prometheus would only say when loaded."""

import json
import os
import re
import subprocess
import tempfile
import unittest

import dashboard

ALERTS = dashboard.ROOT / "deploy/mokv/files/alerts.yaml"
RUNBOOK = dashboard.ROOT / "docs/runbook.md"
GRID_COLUMNS = 24


class Dashboard(unittest.TestCase):
    def setUp(self):
        self.dashboard = dashboard.load()
        self.panels = dashboard.panels(self.dashboard)

    def test_every_panel_says_what_it_shows_and_in_which_unit(self):
        for panel in self.panels:
            self.assertTrue(panel["title"] and panel["description"], panel)
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            self.assertTrue(panel["targets"], panel["title"])

    def test_ids_are_unique(self):
        ids = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in self.panels:
            references = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(references), len(set(references)), panel["title"])

    def test_panels_do_not_overlap(self):
        taken = {}
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], GRID_COLUMNS, panel["title"])
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken[x, y] = panel["title"]

    def test_every_query_goes_to_the_chosen_data_source_and_cluster(self):
        for panel in self.panels:
            for target in panel["targets"]:
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
                for variable in ("$namespace", "$job"):
                    self.assertIn(f'=~"{variable}"', target["expr"], panel["title"])

    def test_every_query_parses(self):
        # promtool parses expressions only as rules.
        rules = [
            {"record": f"panel:{panel['id']}:{number}", "expr": expression}
            for panel in self.panels
            for number, (expression, _) in enumerate(dashboard.queries(panel, "1m"))
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            check = [os.environ["PROMTOOL"], "check", "rules", file.name]
            done = subprocess.run(check, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Alerts(unittest.TestCase):
    def setUp(self):
        self.rules = ALERTS.read_text().split("- alert: ")[1:]

    def test_every_alert_tells_what_to_do_and_names_its_section_of_the_runbook(self):
        sections = {heading.lower() for heading in re.findall(r"^## (\w+)", RUNBOOK.read_text(), re.M)}
        for rule in self.rules:
            for part in ("severity: ", "summary: ", "Means: ", "Look at: ", "Do: "):
                self.assertIn(part, rule)
            section = re.search(r"runbook: docs/runbook\.md#(\w+)", rule).group(1)
            self.assertIn(section, sections)

    def test_every_alert_has_a_unit_test(self):
        tests = (dashboard.ROOT / "tests/monitoring/alerts_test.yaml").read_text()
        for rule in self.rules:
            name = rule.split("\n")[0]
            self.assertIn(f'labels: \'ALERTS{{alertname="{name}"', tests)
