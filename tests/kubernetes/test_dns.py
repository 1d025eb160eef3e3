"""What the DNS server reads and writes."""

import struct
import unittest

import dns

QUERY = (
    struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    + b"\x06Mokv-0\x02kv\x00"
    + struct.pack("!HH", dns.TYPE_A, 1)
)


class Dns(unittest.TestCase):
    def test_a_question_has_a_name_in_lower_case_and_a_type(self):
        self.assertEqual(dns.question(QUERY), ("mokv-0.kv", dns.TYPE_A))

    def test_an_answer_lists_every_address(self):
        packet = dns.answer(QUERY, dns.TYPE_A, ["10.0.0.1", "10.0.0.2"])
        number, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", packet)
        self.assertEqual((number, flags & 0xF, count), (7, 0, 2))
        self.assertTrue(packet.endswith(b"\x00\x04\x0a\x00\x00\x02"))

    def test_a_name_that_does_not_exist_differs_from_one_without_such_addresses(self):
        unknown, empty = dns.answer(QUERY, dns.TYPE_A, None), dns.answer(QUERY, 28, ["10.0.0.1"])
        self.assertEqual((unknown[3] & 0xF, empty[3] & 0xF), (dns.NO_SUCH_NAME, 0))
        self.assertEqual((unknown[7], empty[7]), (0, 0))

    def test_an_answer_is_kept_for_a_while(self):
        answers = iter([["10.0.0.1"], ["10.0.0.2"]])
        server = dns.Server(lambda name: next(answers))
        self.assertEqual(server._addresses("a"), server._addresses("a"))
