use proptest::prelude::*;

use super::*;
use crate::cut::Cut;

/// A packet field by field, written byte by byte: the naive model.
#[derive(Debug, Clone)]
struct Fields {
    flow: u8,
    is_ipv4: bool,
    is_tcp: bool,
    class: u8,
    id: u16,
    fragment: u16,
    hops: u8,
    /// Words of IP options (IPv4), or of an extension header (IPv6), of no meaning.
    extension: usize,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    urgent: u16,
    /// Words of TCP options.
    options: Vec<u32>,
    payload: Vec<u8>,
    /// Added to the transport checksum.
    corruption: u16,
    /// UDP without a checksum.
    no_checksum: bool,
}

impl Fields {
    fn new(flow: u8, is_ipv4: bool, is_tcp: bool) -> Self {
        Self {
            flow,
            is_ipv4,
            is_tcp,
            class: 0,
            id: 0xfffe,
            fragment: 0x4000,
            hops: 64,
            extension: 0,
            sequence: u32::MAX - 1000,
            acknowledgement: 7,
            flags: ACK,
            window: 500,
            urgent: 0,
            options: vec![0x0101_080a, 1, 2],
            payload: Vec::new(),
            corruption: 0,
            no_checksum: false,
        }
    }

    /// The last byte of the destination, another one for each flow.
    fn host(&self) -> u8 {
        self.flow + if self.is_tcp { 100 } else { 0 }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(1000u16.to_be_bytes());
        bytes.extend((2000 + u16::from(self.flow)).to_be_bytes());
        if self.is_tcp {
            bytes.extend(self.sequence.to_be_bytes());
            bytes.extend(self.acknowledgement.to_be_bytes());
            bytes.push((5 + self.options.len() as u8) << 4);
            bytes.push(self.flags);
            bytes.extend(self.window.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(self.urgent.to_be_bytes());
            self.options.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
        } else {
            bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(&self.payload);
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        let protocol = if self.is_tcp { 6 } else { 17 };
        let mut transport = self.transport();
        let mut ip = Vec::new();
        let addresses: Vec<u8> = if self.is_ipv4 {
            vec![10, 0, 0, 1, 10, 0, 1, self.host()]
        } else {
            (0..32).map(|i| if i == 31 { self.host() } else { i }).collect()
        };
        let mut pseudo = addresses.clone();
        pseudo.extend((transport.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, protocol]);
        pseudo.extend(&transport);
        let mut checksum = naive_checksum(&pseudo);
        if !self.is_tcp && checksum == 0 {
            checksum = 0xffff;
        }
        checksum = checksum.wrapping_add(self.corruption);
        if self.no_checksum && !self.is_tcp {
            checksum = 0;
        }
        let at = if self.is_tcp { 16 } else { 6 };
        transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        if self.is_ipv4 {
            let length = 20 + 4 * self.extension + transport.len();
            ip.extend([0x45 + self.extension as u8, self.class]);
            ip.extend((length as u16).to_be_bytes());
            ip.extend(self.id.to_be_bytes());
            ip.extend(self.fragment.to_be_bytes());
            ip.extend([self.hops, protocol, 0, 0]);
            ip.extend(addresses);
            ip.resize(20 + 4 * self.extension, 1);
            let checksum = naive_checksum(&ip).to_be_bytes();
            ip[10..12].copy_from_slice(&checksum);
        } else {
            let length = 8 * self.extension + transport.len();
            ip.extend([0x60 | self.class >> 4, self.class << 4, 0, 9]);
            ip.extend((length as u16).to_be_bytes());
            ip.push(if self.extension > 0 { 60 } else { protocol });
            ip.push(self.hops);
            ip.extend(addresses);
            for i in (0..self.extension).rev() {
                ip.extend([if i > 0 { 60 } else { protocol }, 0, 1, 4, 0, 0, 0, 0]);
            }
        }
        ip.extend(transport);
        ip
    }
}

fn naive_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const ALL: Joinable = Joinable { tcp: true, udp: true };

/// Passes packets through a joiner; returns what would be written to TUN.
fn join(packets: &[Vec<u8>], joinable: Joinable) -> Vec<(VirtioHeader, Vec<u8>)> {
    let mut memory = Vec::new();
    let mut places = Vec::new();
    for packet in packets {
        // Where a transport header was, and behind the packet its padding.
        memory.extend([0xaa; 16]);
        places.push((memory.len(), packet.len()));
        memory.extend(packet);
        memory.extend([0xbb; 5]);
    }
    let mut joiner = Joiner::default();
    for (start, length) in places {
        joiner.add(&memory, start, length, joinable);
    }
    let mut written = Vec::new();
    joiner.write(&mut memory, true, |parts, segments| {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let (header, packet) = bytes.split_first_chunk().unwrap();
        let header = VirtioHeader::read(header);
        assert_eq!(header.segments, segments);
        written.push((header, packet.to_vec()));
    });
    written
}

/// What the kernel would make of what was written.
fn cut(written: &[(VirtioHeader, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (header, packet) in written {
        if header.segments.is_none() {
            packets.push(packet.clone());
            continue;
        }
        let cut = Cut::new(header, packet).unwrap();
        for index in 0..cut.count() {
            let mut piece = vec![0xcc; cut.len(index)];
            cut.write(index, &mut piece);
            packets.push(piece);
        }
    }
    packets
}

/// A stream as a host would send it: pieces of `size` bytes, the last one shorter.
fn stream(first: &Fields, size: usize, count: usize, last: usize) -> Vec<Fields> {
    let mut all = Vec::new();
    for i in 0..count {
        let mut next = first.clone();
        let length = if i + 1 == count { last } else { size };
        next.id = first.id.wrapping_add(i as u16);
        next.sequence = first.sequence.wrapping_add((i * size) as u32);
        next.payload = (0..length).map(|at| (at * 7 + i) as u8).collect();
        all.push(next);
    }
    all
}

fn bytes(fields: &[Fields]) -> Vec<Vec<u8>> {
    fields.iter().map(Fields::bytes).collect()
}

const SHAPES: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn a_stream_becomes_one_packet_and_comes_back_bit_for_bit() {
    for (is_ipv4, is_tcp) in SHAPES {
        for (size, count, last) in [(1368, 40, 1368), (1368, 40, 1), (1, 64, 1), (2, 3, 1)] {
            let mut fields = stream(&Fields::new(1, is_ipv4, is_tcp), size, count, last);
            if is_tcp {
                fields.last_mut().unwrap().flags |= PSH;
            }
            let packets = bytes(&fields);
            let written = join(&packets, ALL);
            assert_eq!(written.len(), 1, "{is_ipv4} {is_tcp} {size} {count} {last}");
            assert!(written[0].0.needs_checksum);
            assert_eq!(cut(&written), packets);
        }
    }
}

#[test]
fn the_longest_packet_is_not_passed() {
    for (is_ipv4, is_tcp) in SHAPES {
        let packets = bytes(&stream(&Fields::new(1, is_ipv4, is_tcp), 8900, 20, 8900));
        let written = join(&packets, ALL);
        assert_eq!(written.len(), 3);
        assert!(written.iter().all(|(_, packet)| packet.len() <= 65535 + 40));
        assert_eq!(cut(&written), packets);
    }
}

#[test]
fn only_what_is_wanted_is_joined() {
    for (is_ipv4, is_tcp) in SHAPES {
        let packets = bytes(&stream(&Fields::new(1, is_ipv4, is_tcp), 100, 3, 100));
        for (joinable, joined) in [
            (Joinable { tcp: true, udp: false }, is_tcp),
            (Joinable { tcp: false, udp: true }, !is_tcp),
        ] {
            let written = join(&packets, joinable);
            assert_eq!(written.len(), if joined { 1 } else { 3 });
            assert_eq!(cut(&written), packets);
        }
    }
}

/// One change to the second of three packets keeps it apart from the first.
#[test]
fn packets_that_differ_in_more_than_their_payload_stay_apart() {
    type Change = fn(&mut Fields);
    let for_all: [(&str, Change); 5] = [
        ("class, ECN", |f| f.class = 3),
        ("hops", |f| f.hops = 63),
        ("checksum", |f| f.corruption = 1),
        ("options or extension headers", |f| f.extension = 1),
        ("longer than the first", |f| f.payload.push(1)),
    ];
    let for_tcp: [(&str, Change); 12] = [
        ("a gap", |f| f.sequence = f.sequence.wrapping_add(1)),
        ("acknowledgement", |f| f.acknowledgement += 1),
        ("window", |f| f.window += 1),
        ("option value", |f| f.options[2] += 1),
        ("option count", |f| f.options.push(0x0101_0101)),
        ("no options", |f| f.options.clear()),
        ("FIN", |f| f.flags |= 1),
        ("SYN", |f| f.flags |= 2),
        ("RST", |f| f.flags |= 4),
        ("URG", |f| (f.flags, f.urgent) = (f.flags | 0x20, 1)),
        ("CWR", |f| f.flags |= 0x80),
        ("ECE", |f| f.flags |= 0x40),
    ];
    let for_ipv4: [(&str, Change); 4] = [
        ("ID", |f| f.id = f.id.wrapping_add(1)),
        ("may be fragmented", |f| f.fragment = 0),
        ("first fragment", |f| f.fragment = 0x2000),
        ("last fragment", |f| f.fragment = 100),
    ];
    for (is_ipv4, is_tcp) in SHAPES {
        let mut changes = for_all.to_vec();
        changes.extend(if is_tcp { &for_tcp[..] } else { &[] });
        changes.extend(if is_ipv4 { &for_ipv4[..] } else { &[] });
        if !is_tcp {
            changes.push(("no checksum", |f| f.no_checksum = true));
        }
        for (name, change) in changes {
            let mut fields = stream(&Fields::new(1, is_ipv4, is_tcp), 100, 3, 100);
            change(&mut fields[1]);
            let packets = bytes(&fields);
            let written = join(&packets, ALL);
            assert_eq!(written[0].1, packets[0], "{name}");
            assert_eq!(cut(&written), packets, "{name}");
        }
    }
}

#[test]
fn a_push_or_a_short_packet_ends_a_long_one() {
    let mut fields = stream(&Fields::new(1, true, true), 100, 6, 100);
    fields[1].flags |= PSH;
    fields[3].payload.truncate(50);
    for (i, field) in fields.iter_mut().enumerate() {
        field.sequence = field.sequence.wrapping_sub(if i > 3 { 50 } else { 0 });
    }
    let packets = bytes(&fields);
    let written = join(&packets, ALL);
    assert_eq!(written.len(), 3);
    assert_eq!(cut(&written), packets);
}

#[test]
fn packets_without_payload_keep_their_place() {
    let mut fields = stream(&Fields::new(1, true, true), 100, 3, 100);
    fields[1].payload.clear();
    fields[2].sequence = fields[1].sequence;
    fields[2].id = fields[1].id;
    let packets = bytes(&fields);
    assert_eq!(cut(&join(&packets, ALL)), packets);
}

#[test]
fn flows_that_alternate_are_joined_each_for_itself() {
    let mut packets = Vec::new();
    let streams: Vec<_> =
        (0..8).map(|flow| bytes(&stream(&Fields::new(flow, true, true), 500, 10, 500))).collect();
    for i in 0..10 {
        packets.extend(streams.iter().map(|stream| stream[i].clone()));
    }
    let written = join(&packets, ALL);
    assert_eq!(written.len(), 8);
    assert_eq!(cut(&written), streams.concat());
}

/// What the kernel hands over, and what it would have cut it into.
#[test]
fn a_long_packet_is_cut_as_by_the_naive_model() {
    for (is_ipv4, is_tcp) in SHAPES {
        for (extension, size, length) in [(0, 1368, 65000), (2, 500, 1501), (1, 1, 3), (0, 9, 9)] {
            let mut whole = Fields::new(1, is_ipv4, is_tcp);
            (whole.extension, whole.class) = (extension, 0xab);
            // FIN, PSH, ACK, ECE, CWR.
            whole.flags = 0xd9;
            whole.payload = (0..length).map(|at| (at % 251) as u8).collect();
            let chunks: Vec<_> = whole.payload.chunks(size).collect();
            let mut expected = Vec::new();
            for (i, chunk) in chunks.iter().enumerate() {
                let mut piece = whole.clone();
                piece.payload = chunk.to_vec();
                piece.id = whole.id.wrapping_add(i as u16);
                piece.sequence = whole.sequence.wrapping_add((i * size) as u32);
                let mut flags = whole.flags;
                if i > 0 {
                    flags &= !0x80;
                }
                if i + 1 < chunks.len() {
                    flags &= !0x09;
                }
                piece.flags = flags;
                expected.push(piece.bytes());
            }
            let ip = if is_ipv4 { 20 + 4 * extension } else { 40 + 8 * extension };
            let kind = match (is_tcp, is_ipv4) {
                (true, true) => SegmentKind::Tcp4,
                (true, false) => SegmentKind::Tcp6,
                (false, _) => SegmentKind::Udp,
            };
            let header = VirtioHeader {
                needs_checksum: true,
                // The length of the headers is a hint, and not always right.
                segments: Some(Segments { kind, header_len: 0, size: size as u16 }),
                checksum_start: ip as u16,
                checksum_offset: if is_tcp { 16 } else { 6 },
            };
            assert!(cut(&[(header, whole.bytes())]) == expected, "{is_ipv4} {is_tcp} {extension}");
        }
    }
}

/// A packet whose transport checksum is left to us.
#[test]
fn an_unfinished_checksum_is_finished() {
    for (is_ipv4, is_tcp) in SHAPES {
        let mut fields = Fields::new(1, is_ipv4, is_tcp);
        fields.payload = vec![5; 101];
        let expected = fields.bytes();
        let (ip, protocol) = (if is_ipv4 { 20 } else { 40 }, if is_tcp { 6 } else { 17 });
        let at = ip + if is_tcp { 16 } else { 6 };
        let addresses = if is_ipv4 { &expected[12..20] } else { &expected[8..40] };
        let mut unfinished = expected.clone();
        let pseudo = Sum::of_pseudo_header(addresses, protocol, expected.len() - ip).folded();
        unfinished[at..at + 2].copy_from_slice(&pseudo);
        let header = VirtioHeader {
            needs_checksum: true,
            segments: None,
            checksum_start: ip as u16,
            checksum_offset: (at - ip) as u16,
        };
        crate::cut::finish_checksum(&header, &mut unfinished).unwrap();
        assert_eq!(unfinished, expected);
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    (0..3u8, any::<bool>(), any::<bool>())
        .prop_map(|(flow, is_ipv4, is_tcp)| Fields::new(flow, is_ipv4, is_tcp))
}

/// Packets of some flows in turn, with changes here and there.
fn traffic() -> impl Strategy<Value = Vec<Fields>> {
    let changes = (0..40u8, any::<u8>());
    let part = (fields(), 1..300usize, 1..8usize, 1..300usize, changes);
    proptest::collection::vec(part, 1..12).prop_map(|parts| {
        let mut all: Vec<Fields> = Vec::new();
        for (mut first, size, count, last, (change, value)) in parts {
            // Goes on where the flow's last packet ended.
            let before = all.iter().rev().find(|f| {
                (f.flow, f.is_ipv4, f.is_tcp) == (first.flow, first.is_ipv4, first.is_tcp)
            });
            if let Some(before) = before {
                first = before.clone();
                first.id = first.id.wrapping_add(1);
                first.sequence = first.sequence.wrapping_add(first.payload.len() as u32);
            }
            let mut fields = stream(&first, size, count, last.min(size));
            let at = usize::from(value) % fields.len();
            let changed = &mut fields[at];
            match change {
                0 => changed.class = value,
                1 => changed.hops = value,
                2 => changed.fragment = u16::from(value) << 8,
                3 => changed.extension = usize::from(value % 3),
                4 => changed.flags = value,
                5 => changed.window = value.into(),
                6 => changed.corruption = value.into(),
                7 => changed.no_checksum = true,
                8 => changed.options.truncate(usize::from(value % 3)),
                9 => changed.payload.clear(),
                10 => changed.id = value.into(),
                11 => changed.acknowledgement = value.into(),
                12 => changed.urgent = value.into(),
                _ => {}
            }
            all.extend(fields);
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Cutting what was joined gives back the packets, bit for bit, in their order within a flow.
    #[test]
    fn whatever_comes_is_what_went(traffic in traffic()) {
        let packets = bytes(&traffic);
        let back = cut(&join(&packets, ALL));
        let mut all = (packets.clone(), back.clone());
        all.0.sort();
        all.1.sort();
        prop_assert_eq!(all.0, all.1);
        for (version, last) in [(4, 19), (6, 39)] {
            for host in (0..3).chain(100..103) {
                let of_flow = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                    let is_flow = |p: &&Vec<u8>| p[0] >> 4 == version && p[last] == host;
                    packets.iter().filter(is_flow).cloned().collect()
                };
                prop_assert_eq!(of_flow(&packets), of_flow(&back));
            }
        }
    }

    #[test]
    fn any_bytes_pass(packets in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 1..100), 1..20,
    )) {
        prop_assert_eq!(cut(&join(&packets, ALL)), packets);
    }

    #[test]
    fn any_virtio_header_is_read_without_a_panic(
        header: [u8; 10], packet in fields(), length in 0..200usize,
    ) {
        let mut packet = packet.bytes();
        packet.resize(length, 1);
        let header = VirtioHeader::read(&header);
        if let Ok(cut) = Cut::new(&header, &packet) {
            for index in 0..cut.count() {
                cut.write(index, &mut vec![0; cut.len(index)]);
            }
        }
        let _ = crate::cut::finish_checksum(&header, &mut packet);
    }
}
