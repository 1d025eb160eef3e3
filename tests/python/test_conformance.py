"""What a client knows that was generated from the contract alone must work on every member."""

import json
import os
import pathlib
import subprocess
import unittest

import contract_pb2 as pb
import contract_pb2_grpc
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from cluster import Cluster

HERE = pathlib.Path(__file__).parent
TIMEOUT_S = 10
cluster = None


def setUpModule():
    global cluster
    cluster = Cluster(os.environ["MOKV"])
    try:
        cluster.wait_until_ready()
    except BaseException:
        cluster.stop()
        raise


def tearDownModule():
    cluster.stop()


class Conformance(unittest.TestCase):
    """Opens a channel to every member for each test."""

    def setUp(self):
        self.channels = [grpc.insecure_channel(address) for address in cluster.addresses]
        self.members = [contract_pb2_grpc.KVStub(channel) for channel in self.channels]

    def tearDown(self):
        for channel in self.channels:
            channel.close()

    def assertFails(self, code, call, *arguments, **options):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, timeout=TIMEOUT_S, **options)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()


class Contract(Conformance):
    def test_every_call_works_on_every_member(self):
        for number, member in enumerate(self.members):
            with self.subTest(member=number):
                key = f"every-call-{number}"
                self.assertTrue(member.Set(pb.SetRequest(key=key, value=b"v"), timeout=TIMEOUT_S).ok)
                read = member.Get(pb.GetRequest(key=key), timeout=TIMEOUT_S)
                self.assertEqual((read.key, read.value), (key, b"v"))
                listed = {item.key: item.value for item in member.List(Empty(), timeout=TIMEOUT_S)}
                self.assertEqual(listed[key], b"v")
                self.assertTrue(member.Delete(pb.DeleteRequest(key=key), timeout=TIMEOUT_S).ok)
                self.assertFails(grpc.StatusCode.NOT_FOUND, member.Get, pb.GetRequest(key=key))
                self.assertEqual(len(member.GetServers(Empty(), timeout=TIMEOUT_S).servers), 3)

    def test_a_write_through_one_member_is_read_through_any_other_at_once(self):
        for number, writer in enumerate(self.members):
            for other, reader in enumerate(self.members):
                value = f"{number} to {other}".encode()
                writer.Set(pb.SetRequest(key="relay", value=value), timeout=TIMEOUT_S)
                read = reader.Get(pb.GetRequest(key="relay"), timeout=TIMEOUT_S)
                self.assertEqual(read.value, value)

    def test_deleting_a_missing_key_succeeds(self):
        for member in self.members:
            self.assertTrue(member.Delete(pb.DeleteRequest(key="never"), timeout=TIMEOUT_S).ok)

    def test_every_member_names_the_same_single_leader(self):
        answers = [member.GetServers(Empty(), timeout=TIMEOUT_S).servers for member in self.members]
        leaders = [[server.id for server in servers if server.is_leader] for servers in answers]
        self.assertEqual(len(leaders[0]), 1)
        self.assertEqual(leaders, [leaders[0]] * 3)
        self.assertEqual({server.rpc_addr for server in answers[0]}, set(cluster.addresses))

    def test_any_byte_may_stand_in_a_value_and_none_need(self):
        for value in (b"", bytes(range(256)), b"\x01" * 4096):
            self.members[1].Set(pb.SetRequest(key="bytes", value=value), timeout=TIMEOUT_S)
            read = self.members[2].Get(pb.GetRequest(key="bytes"), timeout=TIMEOUT_S)
            self.assertEqual(read.value, value)

    def test_list_streams_more_than_one_window_of_keys(self):
        value = os.urandom(32 << 10)
        wrote = {f"list-{number:03}" for number in range(150)}
        for key in wrote:
            self.members[0].Set(pb.SetRequest(key=key, value=value), timeout=TIMEOUT_S)
        for member in self.members:
            items = [item for item in member.List(Empty(), timeout=TIMEOUT_S) if item.key in wrote]
            self.assertEqual({item.key for item in items}, wrote)
            self.assertEqual(len(items), len(wrote))
            self.assertEqual({item.value for item in items}, {value})


class Refusals(Conformance):
    def test_an_empty_key_is_an_invalid_argument(self):
        for member in self.members:
            self.assertFails(grpc.StatusCode.INVALID_ARGUMENT, member.Set, pb.SetRequest(value=b"v"))
            self.assertFails(grpc.StatusCode.INVALID_ARGUMENT, member.Get, pb.GetRequest())

    def test_a_key_over_the_limit_is_refused_with_the_limit_named(self):
        details = self.assertFails(
            grpc.StatusCode.INVALID_ARGUMENT, self.members[0].Set, pb.SetRequest(key="k" * 4097)
        )
        self.assertIn("4096", details)

    def test_a_value_over_the_limit_is_refused_and_the_connection_lives_on(self):
        large = pb.SetRequest(key="large", value=bytes((1 << 20) + 1))
        self.assertFails(grpc.StatusCode.INVALID_ARGUMENT, self.members[0].Set, large)
        whole = pb.SetRequest(key="large", value=bytes(1 << 20))
        self.assertTrue(self.members[0].Set(whole, timeout=TIMEOUT_S).ok)
        self.members[0].Delete(pb.DeleteRequest(key="large"), timeout=TIMEOUT_S)

    def test_a_message_over_the_limit_is_refused_before_it_is_read(self):
        huge = pb.SetRequest(key="huge", value=bytes(32 << 20))
        self.assertFails(grpc.StatusCode.RESOURCE_EXHAUSTED, self.members[0].Set, huge)

    def test_compressed_requests_are_refused_by_name(self):
        details = self.assertFails(
            grpc.StatusCode.UNIMPLEMENTED,
            self.members[0].Set,
            pb.SetRequest(key="gzip", value=b"v" * 1000),
            compression=grpc.Compression.Gzip,
        )
        self.assertIn("gzip", details)

    def test_an_unknown_method_is_unimplemented(self):
        call = self.channels[0].unary_unary("/api.KV/Rename", pb.GetRequest.SerializeToString)
        self.assertFails(grpc.StatusCode.UNIMPLEMENTED, call, pb.GetRequest(key="k"))

    def test_bytes_that_are_no_message_are_refused(self):
        call = self.channels[0].unary_unary("/api.KV/Get")
        details = self.assertFails(grpc.StatusCode.INVALID_ARGUMENT, call, b"\x0a\xff\xff\xff\xff")
        self.assertTrue(details)


class Health(Conformance):
    def test_every_service_of_a_ready_member_serves(self):
        for channel in self.channels:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", "liveness", "readiness", "startup"):
                request = health_pb2.HealthCheckRequest(service=service)
                answer = stub.Check(request, timeout=TIMEOUT_S)
                self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, service)

    def test_an_unknown_service_is_not_found(self):
        stub = health_pb2_grpc.HealthStub(self.channels[0])
        request = health_pb2.HealthCheckRequest(service="nobody")
        self.assertFails(grpc.StatusCode.NOT_FOUND, stub.Check, request)

    def test_a_watch_begins_with_the_present_state(self):
        stub = health_pb2_grpc.HealthStub(self.channels[0])
        for service, status in (("", "SERVING"), ("nobody", "SERVICE_UNKNOWN")):
            request = health_pb2.HealthCheckRequest(service=service)
            watch = stub.Watch(request, timeout=TIMEOUT_S)
            name = health_pb2.HealthCheckResponse.ServingStatus.Name(next(watch).status)
            self.assertEqual(name, status)
            watch.cancel()


class Reflection(Conformance):
    def test_a_client_with_no_proto_finds_the_service(self):
        database = ProtoReflectionDescriptorDatabase(self.channels[0])
        self.assertIn("api.KV", database.get_services())
        service = DescriptorPool(database).FindServiceByName("api.KV")
        names = [method.name for method in service.methods]
        self.assertEqual(names, ["Get", "Set", "Delete", "List", "GetServers"])

    def test_the_contract_keeps_its_numbers(self):
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channels[0]))
        for name, contract in pb.DESCRIPTOR.message_types_by_name.items():
            served = pool.FindMessageTypeByName(f"api.{name}")
            for field in contract.fields:
                same = served.fields_by_number[field.number]
                self.assertEqual((same.name, same.type), (field.name, field.type), name)

    def test_both_versions_of_the_protocol_answer(self):
        for version in ("v1", "v1alpha"):
            call = self.channels[0].stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="api.Nothing"),
            ]
            services, missing = call(iter(requests), timeout=TIMEOUT_S)
            names = [service.name for service in services.list_services_response.service]
            self.assertIn("api.KV", names, version)
            self.assertEqual(missing.error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])


class Ghz(unittest.TestCase):
    """ghz knows no leader: what it sends must be served by whichever member it reaches."""

    def setUp(self):
        self.ghz = os.environ["GHZ"]
        if not os.access(self.ghz, os.X_OK):
            print("\nSKIPPED: ghz could not be installed, see above")
            self.skipTest("ghz could not be installed")

    def load(self, address, *options):
        command = [self.ghz, "--insecure", "--format", "json", *options, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["statusCodeDistribution"], {"OK": report["count"]}, report)
        return report["count"]

    def test_ghz_writes_to_every_member_by_the_proto_file(self):
        data = '{"key":"ghz-{{.RequestNumber}}","value":"d29ybGQ="}'
        proto = ("--proto", str(HERE / "contract.proto"), "--call", "api.KV.Set", "-d", data)
        for address in cluster.addresses:
            self.assertEqual(self.load(address, *proto, "-n", "500", "-c", "20"), 500)

    def test_ghz_works_by_reflection_alone(self):
        calls = [
            ("api.KV.Set", '{"key":"ghz","value":"d29ybGQ="}'),
            ("api.KV.Get", '{"key":"ghz"}'),
            ("api.KV.GetServers", "{}"),
            ("api.KV.Delete", '{"key":"ghz"}'),
        ]
        for address in cluster.addresses[::2]:
            for call, data in calls:
                self.load(address, "--call", call, "-d", data, "-n", "200", "-c", "20")

    def test_ghz_streams_lists(self):
        proto = ("--proto", str(HERE / "contract.proto"), "--call", "api.KV.List", "-d", "{}")
        self.load(cluster.addresses[1], *proto, "-n", "20", "-c", "2")
