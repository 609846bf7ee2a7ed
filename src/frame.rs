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

    /// The last `N` bytes before the packet, and the packet; none where there are fewer.
    #[inline]
    pub fn split_before<const N: usize>(&mut self) -> Option<(&mut [u8; N], &[u8])> {
        let end = self.span.start + self.span.len;
        let (before, packet) = self.buffer.get_mut(..end)?.split_at_mut_checked(self.span.start)?;
        Some((before.last_chunk_mut()?, packet))
    }

    /// Makes the packet begin so many bytes earlier. Answers whether the buffer has them; else nothing has changed.
    #[inline]
    #[must_use]
    pub fn widen(&mut self, len: usize) -> bool {
        let Some(start) = self.span.start.checked_sub(len) else { return false };
        self.span = Span { start, len: self.span.len + len };
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
        frame.narrow(2, 6);
        let (before, packet) = frame.split_before::<5>().expect("room");
        assert_eq!((&*before, packet), (b"...AB", &b"payloa"[..]));
        before.copy_from_slice(b"outer");
        assert!(frame.widen(3));
        assert_eq!((frame.bytes(), frame.span()), (&b"terpayloa"[..], Span { start: 7, len: 9 }));
        assert!(frame.split_before::<8>().is_none() && !frame.widen(8));
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
