//! Tracked flows as bytes, for another process on the same machine: only the entries that are in use, each with its place.

use super::{Entry, Tracked, WAYS};
use crate::flow::FlowHash;
use crate::snapshot::Cell;

/// An entry: its bucket (4 bytes), its hash (8), when it was seen (4), cell and stage (4); all little-endian.
const RECORD: usize = 20;
/// Bytes of the pieces in which entries are written, about 64 KiB: all of them at once would be new memory, of which every
/// page costs time.
pub const PIECE: usize = RECORD * 3_276;

impl Tracked {
    /// How many bytes [`store`](Self::store) writes.
    pub fn stored_len(&self) -> usize {
        self.len * RECORD
    }

    /// Writes every entry in use, in pieces of [`PIECE`] bytes at most; ends with the first error.
    pub fn store<E>(&self, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.is_empty() {
            return Ok(());
        }
        let mut piece = Vec::with_capacity(PIECE);
        for (bucket, entries) in self.buckets.iter().enumerate() {
            for Entry { hash, seen, packed } in entries.0.into_iter().filter(|entry| entry.seen != 0) {
                piece.extend((bucket as u32).to_le_bytes());
                piece.extend(hash.to_le_bytes());
                piece.extend(seen.to_le_bytes());
                piece.extend(packed.to_le_bytes());
                if piece.len() == PIECE {
                    write(&piece)?;
                    piece.clear();
                }
            }
        }
        if piece.is_empty() { Ok(()) } else { write(&piece) }
    }

    /// Takes in what [`store`](Self::store) has written, and says of each entry whose it is. What cannot be an entry here is
    /// left out.
    pub fn restore(&mut self, bytes: &[u8], mut begun: impl FnMut(Cell)) {
        let (records, _) = bytes.as_chunks::<RECORD>();
        for record in records {
            let [b0, b1, b2, b3, h0, h1, h2, h3, h4, h5, h6, h7, s0, s1, s2, s3, p0, p1, p2, p3] = *record;
            let bucket = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
            let hash = u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]);
            let entry = Entry {
                hash,
                seen: u32::from_le_bytes([s0, s1, s2, s3]),
                packed: u32::from_le_bytes([p0, p1, p2, p3]),
            };
            if let Some((bucket, way)) = self.place_for(bucket, hash).filter(|_| entry.seen != 0) {
                self.buckets[bucket].0[way] = entry;
                self.len += 1;
                begun(entry.cell());
            }
        }
    }

    /// A free place for an entry that was in this bucket: there, where the tables are of one size.
    fn place_for(&self, bucket: usize, hash: u64) -> Option<(usize, usize)> {
        let mut places = self.places(FlowHash(hash));
        if places[1] == bucket {
            places.reverse();
        }
        let mut free = places.into_iter().flat_map(|bucket| (0..WAYS).map(move |way| (bucket, way)));
        free.find(|(bucket, way)| self.buckets[*bucket].0[*way].seen == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::track::Sign;
    use crate::moment::{Moment, SECOND};

    fn hash(n: u64) -> FlowHash {
        FlowHash((n ^ n >> 7).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// Three quarters full, so that some entries are where only moves have brought them.
    fn tracked() -> Tracked {
        let mut tracked = Tracked::new(8_192, 600);
        for n in 0..6_144 {
            tracked.insert(hash(n), n as Cell % 7, Sign::Opens, Moment(n * SECOND / 100));
            tracked.find(hash(n), Sign::Connection, Moment(n * SECOND / 100));
        }
        tracked
    }

    fn stored(tracked: &Tracked) -> Vec<u8> {
        let mut bytes = Vec::new();
        let write = |piece: &[u8]| {
            assert!(piece.len() <= PIECE);
            bytes.extend(piece);
            Ok::<(), ()>(())
        };
        tracked.store(write).expect("there is room");
        bytes
    }

    #[test]
    fn every_flow_comes_back_as_it_was() {
        let tracked = tracked();
        let bytes = stored(&tracked);
        assert_eq!(bytes.len(), tracked.stored_len());
        let (mut again, mut cells) = (Tracked::new(8_192, 600), 0);
        again.restore(&bytes, |_| cells += 1);
        assert_eq!((again.len, cells), (tracked.len, tracked.len));
        let now = Moment(70 * SECOND);
        assert!((0..6_144).all(|n| again.peek(hash(n), now) == tracked.peek(hash(n), now)));
        assert_eq!(stored(&again).len(), bytes.len());
    }

    #[test]
    fn nothing_is_written_where_nothing_is_tracked() {
        assert!(stored(&Tracked::new(4_096, 600)).is_empty());
    }

    #[test]
    fn what_is_no_entry_is_left_out() {
        let bytes = stored(&tracked());
        let mut small = Tracked::new(64, 600);
        small.restore(&bytes[..bytes.len() - 3], |_| ());
        assert!(small.len <= 64 && small.len > 0);
        let mut none = Tracked::new(64, 600);
        none.restore(&[0; 7 * RECORD], |_| panic!("there is none"));
        none.restore(&[0xff; 19], |_| panic!("there is none"));
        assert!(none.is_empty());
    }
}
