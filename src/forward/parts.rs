//! The frames that a packet is cut into, beyond the first.

/// The most frames that one packet is cut into, the first aside: a packet of 64 KiB over a path of 552 bytes, the narrowest
/// that a router is believed.
pub const MOST_PARTS: usize = 140;
/// Room for them, in bytes: the largest IP packet, and what is put in front of each.
const ROOM: usize = 65_536 + MOST_PARTS * 192;

/// Whole Ethernet frames, in the order in which they leave, behind the first, which stays in its own place.
#[derive(Debug)]
pub struct Parts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(ROOM), ends: Vec::with_capacity(MOST_PARTS) }
    }
}

impl Parts {
    /// Forgets them all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds the frame that consists of these pieces. Answers whether there was room; else nothing has changed.
    #[must_use]
    pub fn push(&mut self, pieces: &[&[u8]]) -> bool {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.ends.len() == MOST_PARTS || self.bytes.len() + len > ROOM {
            return false;
        }
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.ends.push(self.bytes.len());
        true
    }

    /// Whether the packet was not cut.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The frames.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_took_and_never_grows() {
        let mut parts = Parts::default();
        let (bytes, ends) = (parts.bytes.capacity(), parts.ends.capacity());
        assert!(parts.is_empty());
        assert!(parts.push(&[b"head", b"one"]) && parts.push(&[b"two"]));
        assert_eq!(parts.iter().collect::<Vec<_>>(), [&b"headone"[..], b"two"]);
        assert!(!parts.push(&[&[0; ROOM]]));
        while parts.push(&[b"more"]) {}
        assert_eq!(parts.iter().count(), MOST_PARTS);
        assert_eq!((parts.bytes.capacity(), parts.ends.capacity()), (bytes, ends));
        parts.clear();
        assert!(parts.is_empty());
    }
}
