"""Where services lead to, out of EndpointSlices."""

import unittest

from real.api import Api
from real.services import HEADLESS, SERVICE_NAME, Services


def slice_of(service, ready, headless=False):
    """One with the pod a-0."""
    labels = {SERVICE_NAME: service} | ({HEADLESS: ""} if headless else {})
    endpoint = {"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "hostname": "a-0"}
    ports = [{"name": "grpc", "port": 1}, {"name": "metrics", "port": 2}]
    return {"metadata": {"labels": labels}, "endpoints": [endpoint], "ports": ports}


class Leading(unittest.TestCase):
    def services(self, *slices):
        services = Services(Api("", "", ""))
        services._slices.objects = dict(enumerate(slices))
        return services

    def test_clients_get_the_port_for_them_of_pods_that_are_ready(self):
        services = self.services(slice_of("a", True), slice_of("b", False))
        self.assertEqual(services.endpoints(headless=False), ["10.0.0.1:1"])

    def test_the_headless_service_is_not_for_clients(self):
        services = self.services(slice_of("all", True, headless=True))
        self.assertEqual(services.endpoints(headless=False), [])
        self.assertEqual(services.endpoints(headless=True), ["10.0.0.1:1"])

    def test_dns_knows_a_service_and_its_pods_by_name(self):
        services = self.services(slice_of("all", True, headless=True))
        for name in ["all.kv.svc.cluster.local", "a-0.all.kv.svc.cluster.local"]:
            self.assertEqual(services.addresses(name), ["10.0.0.1"])
        for name in ["all.kv", "other.kv.svc.cluster.local", "a-1.all.kv.svc.cluster.local"]:
            self.assertIsNone(services.addresses(name))

    def test_a_slice_may_have_neither_endpoints_nor_ports(self):
        services = self.services(slice_of("a", True) | {"endpoints": None, "ports": None})
        self.assertIsNone(services.addresses("a.kv.svc.cluster.local"))
        self.assertEqual(services.endpoints(headless=False), [])
