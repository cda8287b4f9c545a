//! Texts on their way into an entry.

/// UTF-8 as bytes. What is a `str` already isn't looked at again, and a reader needs it to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'t>(&'t [u8]);

impl<'t> Text<'t> {
    /// Bytes that should be UTF-8, and mostly are ASCII; nothing if they are neither.
    #[inline]
    pub fn of(bytes: &'t [u8]) -> Text<'t> {
        match bytes.is_ascii() || str::from_utf8(bytes).is_ok() {
            true => Text(bytes),
            false => Text(b""),
        }
    }

    /// As many of its bytes as there is room for, in whole characters.
    #[inline]
    pub(super) fn cut(self, bytes_max: usize) -> &'t [u8] {
        match self.0.len() <= bytes_max {
            true => self.0,
            false => self.cut_short(bytes_max),
        }
    }

    #[cold]
    fn cut_short(self, bytes_max: usize) -> &'t [u8] {
        let text = str::from_utf8(self.0).unwrap_or_default();
        &self.0[..text.floor_char_boundary(bytes_max)]
    }
}

/// A text of at most `N` bytes (`N` ≤ 255) that is kept until its entry is written.
#[derive(Clone, Copy)]
pub struct Kept<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Kept<N> {
    /// As much of a text as there is room for, in whole characters.
    #[inline]
    pub fn new(text: &str) -> Kept<N> {
        let kept = Text::from(text).cut(N);
        let mut bytes = [0; N];
        bytes[..kept.len()].copy_from_slice(kept);
        Kept {
            bytes,
            length: kept.len() as u8,
        }
    }

    /// The text.
    #[inline]
    pub fn text(&self) -> Text<'_> {
        Text(&self.bytes[..usize::from(self.length)])
    }
}

impl<'t> From<&'t str> for Text<'t> {
    #[inline]
    fn from(text: &'t str) -> Text<'t> {
        Text(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_characters_are_kept_and_what_is_no_text_is_none() {
        let long = "é".repeat(100);
        for (text, kept) in [
            ("", ""),
            ("vendor", "vendor"),
            ("münchen", "münch"),
            (&long, "ééé"),
        ] {
            assert_eq!(Kept::<6>::new(text).text(), Text::from(kept));
            assert_eq!(Text::from(text).cut(6), kept.as_bytes());
            assert_eq!(Text::of(text.as_bytes()), Text::from(text));
        }
        assert_eq!(Text::of(b"m\xfcnchen"), Text::from(""));
    }
}
