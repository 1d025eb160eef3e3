"""What is read out of the chart's objects."""

import unittest

from objects import Release

ROLES = """
{kind: StatefulSet, metadata: {name: a}, spec: {podManagementPolicy: Parallel,
  serviceName: all, volumeClaimTemplates: [{metadata: {name: data}}],
  template: {metadata: {labels: {}},
    spec: {serviceAccountName: mine, containers: [{volumeMounts: []}]}}}}
---
{kind: Role, metadata: {name: reader},
  rules: [{apiGroups: [apps], resources: [statefulsets], resourceNames: [a], verbs: [get]}]}
---
{kind: Role, metadata: {name: other},
  rules: [{apiGroups: [apps], resources: [statefulsets], resourceNames: [b], verbs: [get]}]}
---
{kind: RoleBinding, metadata: {name: reader}, roleRef: {name: reader}, subjects: [{name: mine}]}
"""


class Releases(unittest.TestCase):
    def test_only_what_a_bound_role_names_may_be_read(self):
        allowed = ["/apis/apps/v1/namespaces/kv/statefulsets/a"]
        self.assertEqual(Release.read(ROLES).readable(), allowed)

    def test_an_annotation_makes_another_revision(self):
        release = Release.read(ROLES)
        self.assertNotEqual(release.with_annotation("a", "b").revision, release.revision)

    def test_a_pod_has_a_name_claims_of_its_own_and_access_to_the_api(self):
        pod = Release.read(ROLES).pod("a-0")
        self.assertEqual((pod["spec"]["hostname"], pod["spec"]["subdomain"]), ("a-0", "all"))
        claim, access = pod["spec"]["volumes"]
        self.assertEqual(claim["persistentVolumeClaim"], {"claimName": "data-a-0"})
        (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
        self.assertEqual(mount["name"], access["name"])
