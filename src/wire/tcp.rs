//! TCP (RFC 9293): what a segment does to its connection.

const FLAGS_AT: usize = 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a segment does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens it: SYN without ACK.
    Opens,
    /// Ends it, one way at least: FIN or RST.
    Ends,
    /// Neither.
    Other,
}

/// What the segment that begins here does; [`Kind::Other`] where its flags are missing.
pub fn kind(segment: &[u8]) -> Kind {
    match segment.get(FLAGS_AT) {
        Some(flags) if flags & (FIN | RST) != 0 => Kind::Ends,
        Some(flags) if flags & (SYN | ACK) == SYN => Kind::Opens,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_first_and_the_last_segment() {
        let with = |flags: u8| {
            let mut segment = [0; 20];
            segment[FLAGS_AT] = flags;
            kind(&segment)
        };
        assert_eq!((with(SYN), with(SYN | ACK), with(ACK)), (Kind::Opens, Kind::Other, Kind::Other));
        assert_eq!((with(FIN | ACK), with(RST), with(SYN | FIN)), (Kind::Ends, Kind::Ends, Kind::Ends));
        assert_eq!(kind(&[0; 13]), Kind::Other);
    }
}
