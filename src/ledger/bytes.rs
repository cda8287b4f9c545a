//! Numbers and texts, in and out of bytes, little-endian. Writing and reading stop at the end of
//! what there is, and say so.

/// Writes into a part of a segment.
pub struct Pen<'b> {
    page: &'b mut [u8],
    at: usize,
}

impl<'b> Pen<'b> {
    /// At the beginning of `page`.
    pub fn new(page: &'b mut [u8]) -> Pen<'b> {
        Pen { page, at: 0 }
    }

    /// Bytes written.
    pub fn written(&self) -> usize {
        self.at
    }

    /// Writes a byte over one that was written.
    #[inline]
    pub fn amend(&mut self, at: usize, byte: u8) {
        if at < self.at {
            self.page[at] = byte;
        }
    }

    /// Writes bytes; None, and nothing, if there is no room for them.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        self.page.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }
}

/// Reads what a [`Pen`] wrote.
#[derive(Clone, Copy, Debug)]
pub struct Eye<'b>(pub &'b [u8]);

impl<'b> Eye<'b> {
    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<&'b [u8; N]> {
        let (taken, left) = self.0.split_first_chunk::<N>()?;
        self.0 = left;
        Some(taken)
    }

    /// The next so many bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    /// The next so many bytes as text.
    #[inline]
    pub fn text(&mut self, count: usize) -> Option<&'b str> {
        str::from_utf8(self.bytes(count)?).ok()
    }
}
