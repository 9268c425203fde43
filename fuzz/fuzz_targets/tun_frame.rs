//! What a TUN device hands over, a virtio header and a packet: cut, joined and cut again it gives
//! the same packets, each with the checksums that it needs.

#![no_main]

use cut::{Cut, finish_checksum};
use engine::{checksum, cut, inner, join, virtio};
use join::{Joinable, Joiner, MAX_PIECES};
use libfuzzer_sys::fuzz_target;
use virtio::VirtioHeader;

// As they find each other in their own crate.
#[path = "../../crates/wg-tunnel/src"]
mod engine {
    #[allow(dead_code, reason = "not all of it is called here")]
    pub(crate) mod checksum;
    pub(crate) mod cut;
    pub(crate) mod inner;
    pub(crate) mod join;
    pub(crate) mod virtio;
}

fuzz_target!(|frame: &[u8]| {
    let Some((header, packet)) = frame.split_first_chunk() else { return };
    let Some(pieces) = cut(&VirtioHeader::read(header), packet) else { return };
    for piece in &pieces {
        let _ = inner::destination(piece);
        if let Some((_, length)) = inner::source_and_length(piece) {
            assert!(length <= piece.len());
        }
    }
    for joinable in [Joinable { tcp: true, udp: true }, Joinable { tcp: true, udp: false }] {
        let mut again = joined_and_cut(&pieces, joinable);
        let mut pieces = pieces.clone();
        // Of different flows, one may overtake another.
        again.sort();
        pieces.sort();
        assert_eq!(again, pieces);
    }
});

/// The packets that a frame stands for; `None` when it is malformed.
fn cut(header: &VirtioHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    if header.segments.is_none() {
        let mut packet = packet.to_vec();
        return finish_checksum(header, &mut packet).ok().map(|()| vec![packet]);
    }
    let cut = Cut::new(header, packet).ok()?;
    // More of them take longer and show nothing new.
    if cut.count() > MAX_PIECES + 1 {
        return None;
    }
    let pieces = (0..cut.count()).map(|index| {
        let mut piece = vec![0; cut.len(index)];
        cut.write(index, &mut piece);
        piece
    });
    Some(pieces.collect())
}

fn joined_and_cut(packets: &[Vec<u8>], joinable: Joinable) -> Vec<Vec<u8>> {
    let mut memory = Vec::new();
    let mut joiner = Joiner::default();
    let mut places = Vec::new();
    for packet in packets {
        memory.extend([0; VirtioHeader::LEN]);
        places.push(memory.len());
        memory.extend(packet);
    }
    for (start, packet) in places.into_iter().zip(packets) {
        joiner.add(&memory, start, packet.len(), joinable);
    }
    let mut again = Vec::new();
    joiner.write(&mut memory, true, |parts, segments| {
        let frame: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let (header, packet) = frame.split_first_chunk().expect("a virtio header");
        let header = VirtioHeader::read(header);
        assert_eq!(header.segments, segments);
        again.extend(cut(&header, packet).expect("what we joined can be cut"));
    });
    again
}
