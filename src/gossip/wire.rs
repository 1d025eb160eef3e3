//! The bytes of a message, the same for datagrams and streams.
//!
//! ```text
//!  0         4    5    6           14          22
//!  +---------+----+----+-----------+-----------+-----------------+-------+-------------------+
//!  | crc32   | v1 |kind| sender    | cluster   | fields of kind  | count | claim ... x count |
//!  +---------+----+----+-----------+-----------+-----------------+-------+-------------------+
//!     u32      u8   u8    u64         u64                           u16
//!
//!  kind  1 Ping      seq u32, target u64                5 Gossip              -
//!        2 PingReq   seq u32, target u64, address       6 push-pull request   -
//!        3 Ack       seq u32                            7 push-pull reply     -
//!        4 Nack      seq u32
//!
//!  claim    | id u64 | incarnation u64 | state u8 | ... | cluster u64 | address | name | peer | rpc |
//!                        0 Alive: nothing ------------^                         each u8 length, UTF-8
//!                        1 Suspect: count u8, accuser u64 x count
//!                        2 Dead, 3 Left: forget_in_ms u32
//!  address  | 4 | 4 bytes | port u16 |   or   | 6 | 16 bytes | port u16 |
//! ```
//!
//! Integers are little-endian; a cluster of 0 is none; `crc32` covers everything after itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

use crate::types::{ClusterId, NodeId};

use super::member::{Claim, Metadata, Verdict};
use super::message::{Body, Half, Packet, PacketError, PushPull, Sender};
use super::suspicion::MAX_ACCUSERS;
use super::table::MAX_MEMBERS;

/// The longest name or address of a member, in bytes.
pub(super) const MAX_LABEL_BYTES: usize = u8::MAX as usize;

const HEADER_BYTES: usize = 22;
const COUNT_BYTES: usize = 2;
const ADDR_BYTES: usize = 1 + 16 + 2;
const BODY_BYTES: usize = 4 + 8 + ADDR_BYTES;
const CLAIM_BYTES: usize =
    8 + 8 + (1 + 1 + 8 * MAX_ACCUSERS) + 8 + ADDR_BYTES + 3 * (1 + MAX_LABEL_BYTES);

/// Room for the largest probe message with the largest claim: with less, some claim might never fit.
pub(super) const MIN_PACKET_BYTES: usize = HEADER_BYTES + BODY_BYTES + COUNT_BYTES + CLAIM_BYTES;

/// The largest datagram that is sent or accepted: the most that UDP over IPv4 carries.
pub(super) const MAX_PACKET_BYTES: usize = 65_507;

/// The largest push-pull request or reply, in bytes. Refuse to read a longer one from a stream.
pub const MAX_PUSH_PULL_BYTES: usize = HEADER_BYTES + COUNT_BYTES + MAX_MEMBERS * CLAIM_BYTES;

const VERSION: u8 = 1;

const PING: u8 = 1;
const PING_REQ: u8 = 2;
const ACK: u8 = 3;
const NACK: u8 = 4;
const GOSSIP: u8 = 5;
const PUSH_PULL_REQUEST: u8 = 6;
const PUSH_PULL_REPLY: u8 = 7;

const ALIVE: u8 = 0;
const SUSPECT: u8 = 1;
const DEAD: u8 = 2;
const LEFT: u8 = 3;

/// A message being written, claim by claim, within a budget.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: BytesMut,
    count_at: usize,
    count: u16,
    limit_bytes: usize,
}

impl Writer {
    /// A datagram of at most `limit_bytes`.
    pub(super) fn packet(sender: Sender, body: Body, limit_bytes: usize) -> Writer {
        let kind = match body {
            Body::Ping { .. } => PING,
            Body::PingReq { .. } => PING_REQ,
            Body::Ack { .. } => ACK,
            Body::Nack { .. } => NACK,
            Body::Gossip => GOSSIP,
        };
        let mut bytes = header(sender, kind, limit_bytes);
        match body {
            Body::Ping { seq, target } => {
                bytes.put_u32_le(seq);
                bytes.put_u64_le(target.0);
            }
            Body::PingReq { seq, target, addr } => {
                bytes.put_u32_le(seq);
                bytes.put_u64_le(target.0);
                put_addr(&mut bytes, addr);
            }
            Body::Ack { seq } | Body::Nack { seq } => bytes.put_u32_le(seq),
            Body::Gossip => {}
        }
        Writer::claims(bytes, limit_bytes)
    }

    /// Half of an exchange of tables.
    pub(super) fn push_pull(sender: Sender, half: Half) -> Writer {
        let kind = match half {
            Half::Request => PUSH_PULL_REQUEST,
            Half::Reply => PUSH_PULL_REPLY,
        };
        Writer::claims(header(sender, kind, 1024), MAX_PUSH_PULL_BYTES)
    }

    /// Adds a claim if there is room; says whether there was.
    pub(super) fn push(&mut self, claim: &Claim) -> bool {
        let before = self.bytes.len();
        put_claim(&mut self.bytes, claim);
        let fits = self.bytes.len() <= self.limit_bytes && usize::from(self.count) < MAX_MEMBERS;
        if fits {
            self.count += 1;
        } else {
            self.bytes.truncate(before);
        }
        fits
    }

    /// The finished message.
    pub(super) fn finish(mut self) -> Bytes {
        let count = self.count.to_le_bytes();
        self.bytes[self.count_at..self.count_at + COUNT_BYTES].copy_from_slice(&count);
        let crc = crc32fast::hash(&self.bytes[4..]);
        self.bytes[..4].copy_from_slice(&crc.to_le_bytes());
        self.bytes.freeze()
    }

    fn claims(mut bytes: BytesMut, limit_bytes: usize) -> Writer {
        let count_at = bytes.len();
        bytes.put_u16_le(0);
        Writer { bytes, count_at, count: 0, limit_bytes }
    }
}

/// Reads a datagram.
///
/// # Errors
/// When the bytes are not one whole, undamaged message of a datagram's kind.
pub(super) fn decode_packet(bytes: &[u8]) -> Result<Packet, PacketError> {
    let (kind, sender, mut rest) = open(bytes, MAX_PACKET_BYTES)?;
    let body = match kind {
        PING => Body::Ping { seq: u32_of(&mut rest)?, target: node_id_of(&mut rest)? },
        PING_REQ => Body::PingReq {
            seq: u32_of(&mut rest)?,
            target: node_id_of(&mut rest)?,
            addr: addr_of(&mut rest)?,
        },
        ACK => Body::Ack { seq: u32_of(&mut rest)? },
        NACK => Body::Nack { seq: u32_of(&mut rest)? },
        GOSSIP => Body::Gossip,
        other => return Err(PacketError::Kind(other)),
    };
    Ok(Packet { sender, body, claims: claims_of(rest)? })
}

/// Reads a stream message.
///
/// # Errors
/// When the bytes are not one whole, undamaged message of a stream's kind.
pub(super) fn decode_push_pull(bytes: &[u8]) -> Result<PushPull, PacketError> {
    let (kind, sender, rest) = open(bytes, MAX_PUSH_PULL_BYTES)?;
    let half = match kind {
        PUSH_PULL_REQUEST => Half::Request,
        PUSH_PULL_REPLY => Half::Reply,
        other => return Err(PacketError::Kind(other)),
    };
    Ok(PushPull { half, sender, claims: claims_of(rest)? })
}

fn header(sender: Sender, kind: u8, capacity_bytes: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(capacity_bytes);
    bytes.put_u32_le(0);
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes.put_u64_le(sender.id.0);
    bytes.put_u64_le(sender.cluster.map_or(0, |cluster| cluster.0));
    bytes
}

fn put_claim(bytes: &mut BytesMut, claim: &Claim) {
    bytes.put_u64_le(claim.id.0);
    bytes.put_u64_le(claim.incarnation);
    match &claim.verdict {
        Verdict::Alive => bytes.put_u8(ALIVE),
        Verdict::Suspect { accusers } => {
            bytes.put_u8(SUSPECT);
            bytes.put_u8(accusers.len() as u8);
            for accuser in accusers {
                bytes.put_u64_le(accuser.0);
            }
        }
        Verdict::Dead { forget_in_ms } => {
            bytes.put_u8(DEAD);
            bytes.put_u32_le(*forget_in_ms);
        }
        Verdict::Left { forget_in_ms } => {
            bytes.put_u8(LEFT);
            bytes.put_u32_le(*forget_in_ms);
        }
    }
    let Metadata { name, cluster, addr, peer_addr, rpc_addr } = &claim.metadata;
    bytes.put_u64_le(cluster.map_or(0, |cluster| cluster.0));
    put_addr(bytes, *addr);
    for label in [name, peer_addr, rpc_addr] {
        bytes.put_u8(label.len() as u8);
        bytes.put_slice(label.as_bytes());
    }
}

fn put_addr(bytes: &mut BytesMut, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            bytes.put_u8(4);
            bytes.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.put_u8(6);
            bytes.put_slice(&ip.octets());
        }
    }
    bytes.put_u16_le(addr.port());
}

/// Checks what all messages have in common; returns the kind, the sender, and what follows.
fn open(bytes: &[u8], limit: usize) -> Result<(u8, Sender, &[u8]), PacketError> {
    if bytes.len() > limit {
        return Err(PacketError::TooLong { bytes: bytes.len(), limit });
    }
    let mut rest = bytes;
    let found = u32_of(&mut rest)?;
    let computed = crc32fast::hash(rest);
    if found != computed && !planted!(PacketChecksumUnchecked) {
        return Err(PacketError::Checksum { found, computed });
    }
    let version = u8_of(&mut rest)?;
    if version != VERSION {
        return Err(PacketError::Version(version));
    }
    let kind = u8_of(&mut rest)?;
    let sender = Sender { id: node_id_of(&mut rest)?, cluster: cluster_of(&mut rest)? };
    Ok((kind, sender, rest))
}

fn claims_of(mut rest: &[u8]) -> Result<Vec<Claim>, PacketError> {
    let count = usize::from(u16::from_le_bytes(array_of(&mut rest)?));
    if count > MAX_MEMBERS {
        return Err(PacketError::Field("number of claims"));
    }
    let mut claims = Vec::with_capacity(count);
    for _ in 0..count {
        claims.push(claim_of(&mut rest)?);
    }
    if rest.is_empty() { Ok(claims) } else { Err(PacketError::Field("length")) }
}

fn claim_of(rest: &mut &[u8]) -> Result<Claim, PacketError> {
    let id = node_id_of(rest)?;
    let incarnation = u64_of(rest)?;
    let verdict = match u8_of(rest)? {
        ALIVE => Verdict::Alive,
        SUSPECT => Verdict::Suspect { accusers: accusers_of(rest)? },
        DEAD => Verdict::Dead { forget_in_ms: u32_of(rest)? },
        LEFT => Verdict::Left { forget_in_ms: u32_of(rest)? },
        _ => return Err(PacketError::Field("state of a member")),
    };
    let metadata = Metadata {
        cluster: cluster_of(rest)?,
        addr: addr_of(rest)?,
        name: label_of(rest)?,
        peer_addr: label_of(rest)?,
        rpc_addr: label_of(rest)?,
    };
    Ok(Claim { id, incarnation, verdict, metadata })
}

fn accusers_of(rest: &mut &[u8]) -> Result<BTreeSet<NodeId>, PacketError> {
    let count = usize::from(u8_of(rest)?);
    if !(1..=MAX_ACCUSERS).contains(&count) {
        return Err(PacketError::Field("number of accusers"));
    }
    (0..count).map(|_| node_id_of(rest)).collect()
}

fn addr_of(rest: &mut &[u8]) -> Result<SocketAddr, PacketError> {
    let ip = match u8_of(rest)? {
        4 => IpAddr::from(array_of::<4>(rest)?),
        6 => IpAddr::from(array_of::<16>(rest)?),
        _ => return Err(PacketError::Field("address family")),
    };
    Ok(SocketAddr::new(ip, u16::from_le_bytes(array_of::<2>(rest)?)))
}

fn label_of(rest: &mut &[u8]) -> Result<String, PacketError> {
    let len = usize::from(u8_of(rest)?);
    let (label, after) = rest.split_at_checked(len).ok_or(PacketError::Short)?;
    *rest = after;
    let text = str::from_utf8(label).map_err(|_| PacketError::Field("name or address"))?;
    Ok(text.to_owned())
}

fn node_id_of(rest: &mut &[u8]) -> Result<NodeId, PacketError> {
    match u64_of(rest)? {
        0 => Err(PacketError::Field("node id")),
        id => Ok(NodeId(id)),
    }
}

fn cluster_of(rest: &mut &[u8]) -> Result<Option<ClusterId>, PacketError> {
    Ok(match u64_of(rest)? {
        0 => None,
        id => Some(ClusterId(id)),
    })
}

fn u8_of(rest: &mut &[u8]) -> Result<u8, PacketError> {
    Ok(array_of::<1>(rest)?[0])
}

fn u32_of(rest: &mut &[u8]) -> Result<u32, PacketError> {
    Ok(u32::from_le_bytes(array_of(rest)?))
}

fn u64_of(rest: &mut &[u8]) -> Result<u64, PacketError> {
    Ok(u64::from_le_bytes(array_of(rest)?))
}

fn array_of<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PacketError> {
    let (array, after) = rest.split_first_chunk::<N>().ok_or(PacketError::Short)?;
    *rest = after;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::super::testing::addr;
    use super::*;

    fn arb_node() -> impl Strategy<Value = NodeId> {
        (1..=u64::MAX).prop_map(NodeId)
    }

    fn arb_cluster() -> impl Strategy<Value = Option<ClusterId>> {
        option::of((1..=u64::MAX).prop_map(ClusterId))
    }

    fn arb_addr() -> impl Strategy<Value = SocketAddr> {
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ];
        (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    fn arb_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Alive),
            btree_set(arb_node(), 1..=MAX_ACCUSERS)
                .prop_map(|accusers| Verdict::Suspect { accusers }),
            any::<u32>().prop_map(|forget_in_ms| Verdict::Dead { forget_in_ms }),
            any::<u32>().prop_map(|forget_in_ms| Verdict::Left { forget_in_ms }),
        ]
    }

    prop_compose! {
        fn arb_claim()(
            id in arb_node(),
            incarnation in any::<u64>(),
            verdict in arb_verdict(),
            cluster in arb_cluster(),
            addr in arb_addr(),
            [name, peer_addr, rpc_addr] in [".{0,60}", "[a-z.:0-9]{0,255}", "[a-z.:0-9]{0,255}"],
        ) -> Claim {
            let metadata = Metadata { name, cluster, addr, peer_addr, rpc_addr };
            Claim { id, incarnation, verdict, metadata }
        }
    }

    prop_compose! {
        fn arb_sender()(id in arb_node(), cluster in arb_cluster()) -> Sender {
            Sender { id, cluster }
        }
    }

    fn arb_body() -> impl Strategy<Value = Body> {
        prop_oneof![
            (any::<u32>(), arb_node()).prop_map(|(seq, target)| Body::Ping { seq, target }),
            (any::<u32>(), arb_node(), arb_addr()).prop_map(|(seq, target, addr)| Body::PingReq {
                seq,
                target,
                addr
            }),
            any::<u32>().prop_map(|seq| Body::Ack { seq }),
            any::<u32>().prop_map(|seq| Body::Nack { seq }),
            Just(Body::Gossip),
        ]
    }

    fn largest_claim() -> Claim {
        let label = "x".repeat(MAX_LABEL_BYTES);
        Claim {
            id: NodeId(1),
            incarnation: 1,
            verdict: Verdict::Suspect { accusers: (1..=MAX_ACCUSERS as u64).map(NodeId).collect() },
            metadata: Metadata {
                name: label.clone(),
                cluster: None,
                addr: "[::1]:1".parse().expect("an address"),
                peer_addr: label.clone(),
                rpc_addr: label,
            },
        }
    }

    #[test]
    fn the_largest_claim_fits_into_the_smallest_packet_and_a_full_table_into_a_stream_message() {
        let sender = Sender { id: NodeId(1), cluster: None };
        let addr = "[::1]:1".parse().expect("an address");
        let body = Body::PingReq { seq: 1, target: NodeId(1), addr };
        let mut packet = Writer::packet(sender, body, MIN_PACKET_BYTES);
        assert!(packet.push(&largest_claim()));
        assert!(!packet.push(&largest_claim()), "there is room for one only");
        assert_eq!(packet.finish().len(), MIN_PACKET_BYTES);

        let mut table = Writer::push_pull(sender, Half::Request);
        for _ in 0..MAX_MEMBERS {
            assert!(table.push(&largest_claim()));
        }
        assert!(!table.push(&largest_claim()), "the table has no more than that");
        let bytes = table.finish();
        assert_eq!(bytes.len(), MAX_PUSH_PULL_BYTES);
        assert_eq!(decode_push_pull(&bytes).map(|message| message.claims.len()), Ok(MAX_MEMBERS));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = Writer::packet(Sender { id: NodeId(1), cluster: None }, Body::Gossip, 1400)
            .finish()
            .to_vec();
        bytes[4] = 2;
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_packet(&bytes), Err(PacketError::Version(2)));
    }

    #[test]
    fn datagrams_and_stream_messages_are_not_taken_for_each_other() {
        let sender = Sender { id: NodeId(1), cluster: None };
        let packet = Writer::packet(sender, Body::Gossip, 1400).finish();
        assert_eq!(decode_push_pull(&packet), Err(PacketError::Kind(GOSSIP)));
        let request = Writer::push_pull(sender, Half::Request).finish();
        assert_eq!(decode_packet(&request), Err(PacketError::Kind(PUSH_PULL_REQUEST)));
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let sender = Sender { id: NodeId(2), cluster: Some(ClusterId(3)) };
        let mut writer = Writer::packet(sender, Body::Ack { seq: 7 }, 1400);
        let metadata = Metadata {
            name: "n".into(),
            cluster: None,
            addr: addr(9),
            peer_addr: "p".into(),
            rpc_addr: String::new(),
        };
        let verdict = Verdict::Dead { forget_in_ms: 5 };
        assert!(writer.push(&Claim { id: NodeId(4), incarnation: 6, verdict, metadata }));
        let expected = [
            &[1, 3][..],                   // version, kind
            &[2, 0, 0, 0, 0, 0, 0, 0],     // sender
            &[3, 0, 0, 0, 0, 0, 0, 0],     // cluster
            &[7, 0, 0, 0],                 // seq
            &[1, 0],                       // count
            &[4, 0, 0, 0, 0, 0, 0, 0],     // id
            &[6, 0, 0, 0, 0, 0, 0, 0],     // incarnation
            &[2, 5, 0, 0, 0],              // dead, forget in 5 ms
            &[0, 0, 0, 0, 0, 0, 0, 0],     // no cluster
            &[4, 10, 0, 0, 9, 0xd1, 0x20], // 10.0.0.9:8401
            &[1, b'n', 1, b'p', 0],        // labels
        ]
        .concat();
        assert_eq!(writer.finish()[4..], expected);
    }

    proptest! {
        #[test]
        fn packets_come_back_as_they_were(
            sender in arb_sender(),
            body in arb_body(),
            claims in vec(arb_claim(), 0..8),
        ) {
            let mut writer = Writer::packet(sender, body, MAX_PACKET_BYTES);
            for claim in &claims {
                prop_assert!(writer.push(claim));
            }
            prop_assert_eq!(decode_packet(&writer.finish()), Ok(Packet { sender, body, claims }));
        }

        #[test]
        fn a_packet_keeps_its_budget_and_loses_only_what_did_not_fit(
            sender in arb_sender(),
            claims in vec(arb_claim(), 0..8),
            limit_bytes in MIN_PACKET_BYTES..2000,
        ) {
            let mut writer = Writer::packet(sender, Body::Gossip, limit_bytes);
            let written: Vec<Claim> =
                claims.into_iter().filter(|claim| writer.push(claim)).collect();
            let bytes = writer.finish();
            prop_assert!(bytes.len() <= limit_bytes);
            prop_assert_eq!(decode_packet(&bytes).map(|packet| packet.claims), Ok(written));
        }

        #[test]
        fn any_flipped_bit_is_noticed(claim in arb_claim(), bit in any::<prop::sample::Index>()) {
            let sender = Sender { id: NodeId(1), cluster: None };
            let mut writer = Writer::push_pull(sender, Half::Reply);
            prop_assert!(writer.push(&claim));
            let mut damaged = writer.finish().to_vec();
            let bit = bit.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_push_pull(&damaged).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in vec(any::<u8>(), 0..256)) {
            prop_assert!(decode_packet(&bytes).is_err());
            prop_assert!(decode_push_pull(&bytes).is_err());
        }

        // A checksum does not make a message well-formed: damage a good one and seal it again.
        #[test]
        fn sealed_garbage_never_panics(
            body in arb_body(),
            claim in arb_claim(),
            at in any::<prop::sample::Index>(),
            junk in vec(any::<u8>(), 1..16),
            cut in any::<prop::sample::Index>(),
        ) {
            let sender = Sender { id: NodeId(1), cluster: None };
            let mut writer = Writer::packet(sender, body, MAX_PACKET_BYTES);
            prop_assert!(writer.push(&claim));
            let mut bytes = writer.finish().to_vec();
            let at = at.index(bytes.len() - 4) + 4;
            for (offset, junk) in junk.iter().enumerate().take(bytes.len() - at) {
                bytes[at + offset] = *junk;
            }
            bytes.truncate(cut.index(bytes.len() - 5) + 6);
            let crc = crc32fast::hash(&bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            let _ = decode_packet(&bytes);
            bytes[5] = PUSH_PULL_REQUEST;
            let crc = crc32fast::hash(&bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            let _ = decode_push_pull(&bytes);
        }
    }
}
