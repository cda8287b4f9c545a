//! Credentials: bytes that no log line, metric or error can show.

use zeroize::{ZeroizeOnDrop, Zeroizing};

/// A secret. It has neither `Debug` nor `Display`, and is wiped when dropped.
///
/// ```compile_fail,E0277
/// println!("{:?}", srpd::base::Secret::new(b"sk-1".to_vec()));
/// ```
///
/// ```compile_fail,E0277
/// println!("{}", srpd::base::Secret::new(b"sk-1".to_vec()));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that sends them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl ZeroizeOnDrop for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_secret_holds_is_wiped_when_it_is_dropped() {
        fn is_wiped<T: ZeroizeOnDrop>(_: &T) {}
        let secret = Secret::new(b"sk-1".to_vec());
        is_wiped(&secret.0);
        assert_eq!(secret.clone().expose(), b"sk-1");
    }
}
