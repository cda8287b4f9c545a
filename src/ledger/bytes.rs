//! Numbers and texts, in and out of bytes, little-endian. Writing and reading stop at the end of
//! what there is, and say so.

/// Writes into a part of a segment.
pub struct Pen<'b> {
    room: usize,
    rest: &'b mut [u8],
}

impl<'b> Pen<'b> {
    /// At the beginning of `page`.
    pub fn new(page: &'b mut [u8]) -> Pen<'b> {
        Pen {
            room: page.len(),
            rest: page,
        }
    }

    /// Bytes written.
    pub fn written(&self) -> usize {
        self.room - self.rest.len()
    }

    /// The next `N` bytes, to be written there; None if there is no room for them.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<&'b mut [u8; N]> {
        if self.rest.len() < N {
            return None;
        }
        let (place, rest) = std::mem::take(&mut self.rest).split_first_chunk_mut::<N>()?;
        self.rest = rest;
        Some(place)
    }

    /// Writes bytes; None, and nothing, if there is no room for them.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        if self.rest.len() < bytes.len() {
            return None;
        }
        let (place, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        copy(place, bytes);
        self.rest = rest;
        Some(())
    }
}

/// Copies bytes into as many. Names are short: a call of memcpy costs more than moving them does.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    let moved = match from.len() {
        0 => Some(()),
        4..=7 => move_ends::<4>(to, from),
        8..=15 => move_ends::<8>(to, from),
        16..=31 => move_ends::<16>(to, from),
        32..=64 => move_ends::<32>(to, from),
        _ => None,
    };
    if moved.is_none() {
        to.copy_from_slice(from);
    }
}

/// Moves the first `N` bytes and the last, which together are all of them.
#[inline]
fn move_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
    *to.first_chunk_mut::<N>()? = *from.first_chunk()?;
    *to.last_chunk_mut::<N>()? = *from.last_chunk()?;
    Some(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_are_written_and_nothing_beside_them() {
        let from: Vec<u8> = (1..=200).collect();
        for length in 0..=from.len() {
            let mut page = [0; 256];
            let mut pen = Pen::new(&mut page[..length + 3]);
            pen.bytes(b"..").expect("room");
            pen.bytes(&from[..length]).expect("room");
            assert_eq!((pen.bytes(b"--"), pen.written()), (None, length + 2));
            assert_eq!(&page[2..length + 2], &from[..length]);
            assert!(page[length + 2..].iter().all(|byte| *byte == 0), "{length}");
        }
    }
}
