//! TLS handshakes, by how they ended.

use super::counter::Counter;

/// How a TLS handshake ended, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Handshake {
    /// With a new session.
    Full,
    /// With an earlier session taken up again.
    Resumed,
    /// The sides have no version of TLS, or no cipher suite, in common.
    NoCommonVersion,
    /// This side doesn't accept the other's certificate, or got none.
    BadCertificate,
    /// The other side said that it doesn't accept this side's certificate, or wants one.
    Refused,
    /// Not within its time.
    TimedOut,
    /// What came was no TLS.
    NotTls,
    /// The other side left.
    Gone,
    /// Anything else.
    Other,
}

impl Handshake {
    /// Every end, in the order of its number.
    pub const ALL: [Handshake; 9] = [
        Handshake::Full,
        Handshake::Resumed,
        Handshake::NoCommonVersion,
        Handshake::BadCertificate,
        Handshake::Refused,
        Handshake::TimedOut,
        Handshake::NotTls,
        Handshake::Gone,
        Handshake::Other,
    ];

    /// The value of the metrics' `result` label.
    pub fn label(self) -> &'static str {
        match self {
            Handshake::Full => "ok",
            Handshake::Resumed => "resumed",
            Handshake::NoCommonVersion => "no_common_version",
            Handshake::BadCertificate => "bad_certificate",
            Handshake::Refused => "refused",
            Handshake::TimedOut => "timed_out",
            Handshake::NotTls => "not_tls",
            Handshake::Gone => "gone",
            Handshake::Other => "other",
        }
    }
}

/// One counter each.
#[derive(Debug, Default)]
pub(super) struct Handshakes([Counter; Handshake::ALL.len()]);

impl Handshakes {
    pub(super) fn add(&self, result: Handshake) {
        self.0[result as usize].add(1);
    }

    pub(super) fn get(&self, result: Handshake) -> u64 {
        self.0[result as usize].get()
    }
}
