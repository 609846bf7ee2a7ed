//! One packet in a buffer that has room in front of it.

/// Where a packet lies inside its buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the packet's first byte from the start of the buffer.
    pub start: usize,
    /// Length of the packet.
    pub len: usize,
}

/// A packet, with the free bytes before it ("headroom") into which outer headers are written, so that the payload is
/// never copied.
///
/// Invariant: `span` lies inside `buffer`.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    span: Span,
}

impl<'a> Frame<'a> {
    /// A view of the packet at `span` of `buffer`, or `None` where the span does not lie inside the buffer.
    #[inline]
    pub fn new(buffer: &'a mut [u8], span: Span) -> Option<Self> {
        let end = span.start.checked_add(span.len)?;
        (end <= buffer.len()).then_some(Self { buffer, span })
    }

    /// The packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.span.start..self.span.start + self.span.len]
    }

    /// The packet, for as long as its buffer is lent.
    #[inline]
    pub fn into_bytes(self) -> &'a [u8] {
        &self.buffer[self.span.start..self.span.start + self.span.len]
    }

    /// The packet, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.span.start..self.span.start + self.span.len]
    }

    /// Where the packet now lies in its buffer.
    #[inline]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Replaces the packet's first `strip` bytes by `header`. Answers whether the headroom allowed it; where it did
    /// not, nothing has changed.
    #[must_use]
    pub fn replace_front(&mut self, strip: usize, header: &[u8]) -> bool {
        let Some(start) = (self.span.start + strip.min(self.span.len)).checked_sub(header.len()) else {
            return false;
        };
        let end = self.span.start + self.span.len;
        if start + header.len() > end {
            return false;
        }
        self.buffer[start..start + header.len()].copy_from_slice(header);
        self.span = Span { start, len: end - start };
        true
    }

    /// Makes the packet its own part of `len` bytes behind the first `strip`, as far as it has them.
    #[inline]
    pub fn narrow(&mut self, strip: usize, len: usize) {
        let strip = strip.min(self.span.len);
        self.span = Span { start: self.span.start + strip, len: len.min(self.span.len - strip) };
    }

    /// Makes the packet its own part of `len` bytes behind the first `strip`, with what `write` writes in front of it: to the
    /// end of `N` bytes, of which it answers how many it has filled. It sees the part, too. Answers whether the packet has
    /// such a part, and the buffer so many bytes before it; else nothing has changed.
    #[inline(always)]
    #[must_use]
    pub fn put_in_front<const N: usize>(
        &mut self,
        (strip, len): (usize, usize),
        write: impl FnOnce(&mut [u8; N], &[u8]) -> usize,
    ) -> bool {
        if strip + len > self.span.len {
            return false;
        }
        let start = self.span.start + strip;
        let parts = self.buffer.get_mut(..start + len).and_then(|buffer| buffer.split_at_mut_checked(start));
        let Some((Some(before), part)) = parts.map(|(before, part)| (before.last_chunk_mut(), &*part)) else {
            return false;
        };
        let filled = write(before, part).min(N);
        self.span = Span { start: start - filled, len: len + filled };
        true
    }

    /// Cuts the packet to `len` bytes; a shorter one stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.span.len = self.span.len.min(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_front_without_moving_the_payload() {
        let mut buffer = *b"........ABpayload";
        let mut frame = Frame::new(&mut buffer, Span { start: 8, len: 9 }).expect("inside");
        assert!(frame.replace_front(2, b"outer"));
        assert_eq!(frame.bytes(), b"outerpayload");
        assert_eq!(frame.span(), Span { start: 5, len: 12 });
        frame.truncate(6);
        assert_eq!(frame.bytes(), b"outerp");
    }

    #[test]
    fn headers_can_be_written_in_place() {
        let mut buffer = *b"........ABpayload";
        let mut frame = Frame::new(&mut buffer, Span { start: 8, len: 9 }).expect("inside");
        let outer = |before: &mut [u8; 5], part: &[u8]| {
            assert_eq!((&*before, part), (b"...AB", &b"payloa"[..]));
            *before = *b"outer";
            3
        };
        assert!(frame.put_in_front((2, 6), outer));
        assert_eq!((frame.bytes(), frame.span()), (&b"terpayloa"[..], Span { start: 7, len: 9 }));
        let never = |_: &mut [u8; 8], _: &[u8]| unreachable!("there is no room, or no such part");
        assert!(!frame.put_in_front((0, 9), never) && !frame.put_in_front((1, 9), never));
        assert_eq!(frame.span(), Span { start: 7, len: 9 });
        frame.narrow(3, 100);
        assert_eq!(frame.bytes(), b"payloa");
        frame.narrow(7, 1);
        assert_eq!(frame.bytes(), b"");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut buffer = *b"..AB";
        assert!(Frame::new(&mut buffer, Span { start: 2, len: 3 }).is_none());
        assert!(Frame::new(&mut buffer, Span { start: usize::MAX, len: 2 }).is_none());
        let mut frame = Frame::new(&mut buffer, Span { start: 2, len: 2 }).expect("inside");
        assert!(!frame.replace_front(0, b"abc"));
        assert_eq!(frame.bytes(), b"AB");
    }
}
