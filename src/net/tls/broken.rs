//! Why a TLS connection ended, or never began.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// What is wrong with a TLS connection. The message tells no secret.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The first bytes are not a TLS record.
    #[error("the other side does not speak TLS")]
    NotTls,
    /// The first byte is a capital letter, as of a request of HTTP in plaintext.
    #[error("the other side speaks in plaintext")]
    Plaintext,
    /// rustls found the fault, or was told of it in an alert.
    #[error("{0}")]
    Protocol(#[from] Error),
    /// More records than [`FRUITLESS_RECORDS_MAX`](super::session::FRUITLESS_RECORDS_MAX), or
    /// more bytes than its companion, without any data.
    #[error("too many records without data")]
    Fruitless,
    /// A handshake message in more bytes of records than a session holds.
    #[error("a handshake message is too long")]
    Oversized,
    /// The connection ended without a close_notify (RFC 8446 section 6.1): what was received may
    /// not be all that was sent.
    #[error("the connection ended without notice")]
    Truncated,
    /// The session has ended, by an error or by this side's close_notify.
    #[error("the TLS session has ended")]
    Ended,
    /// rustls is in a state that this code knows nothing of.
    #[error("unexpected state of the TLS session")]
    Unexpected,
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        let kind = match broken {
            Broken::Truncated => io::ErrorKind::UnexpectedEof,
            Broken::Ended => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, broken)
    }
}

/// Kinds of failure, few enough for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not in time.
    Timeout,
    /// The other side left, or the network did.
    Gone,
    /// The other side doesn't speak TLS.
    NotTls,
    /// It speaks in plaintext, such as HTTP's.
    Plaintext,
    /// No protocol version, cipher suite, group or application protocol in common.
    NothingInCommon,
    /// This side doesn't accept the other's certificate, or got none.
    Certificate,
    /// The other side said in an alert that it doesn't accept this side's certificate.
    Refused,
    /// Anything else that TLS doesn't allow, or that the other side said in an alert.
    Protocol,
}

impl Cause {
    /// How metrics and logs call it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Timeout => "timeout",
            Cause::Gone => "gone",
            Cause::NotTls => "not_tls",
            Cause::Plaintext => "plaintext",
            Cause::NothingInCommon => "nothing_in_common",
            Cause::Certificate => "certificate",
            Cause::Refused => "refused",
            Cause::Protocol => "protocol",
        }
    }
}

/// What kind of failure an error of a TLS connection is.
pub fn cause(error: &io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Broken::NotTls) => Cause::NotTls,
        Some(Broken::Plaintext) => Cause::Plaintext,
        Some(Broken::Protocol(error)) => protocol(error),
        Some(Broken::Truncated | Broken::Ended) => Cause::Gone,
        Some(Broken::Fruitless | Broken::Oversized | Broken::Unexpected) => Cause::Protocol,
        None if error.kind() == io::ErrorKind::TimedOut => Cause::Timeout,
        None => Cause::Gone,
    }
}

/// What an operator should know of a failed handshake with a server, in a few words of ours: what
/// the other side sent is in none of them.
pub fn flaw(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(Broken::Protocol(Error::InvalidCertificate(wrong))) = inner {
        return certificate_flaw(wrong);
    }
    match cause(error) {
        Cause::Timeout => "not in time",
        Cause::Gone => "it ended the connection",
        Cause::NotTls | Cause::Plaintext => "it does not speak TLS",
        Cause::NothingInCommon => "no version, cipher suite or protocol in common",
        Cause::Certificate => "its certificate is not accepted",
        Cause::Refused => "it asks for a certificate of ours",
        Cause::Protocol => "it does not keep to the protocol",
    }
}

fn certificate_flaw(wrong: &CertificateError) -> &'static str {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "its certificate has expired",
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "its certificate is not valid yet",
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            "its certificate bears another name"
        }
        Wrong::UnknownIssuer => "its certificate is of an unknown issuer",
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            "its certificate is not for servers"
        }
        _ => "its certificate is not accepted",
    }
}

fn protocol(error: &Error) -> Cause {
    use AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(_)
        | Error::InvalidCertRevocationList(_)
        | Error::NoCertificatesPresented
        | Error::UnsupportedNameType => Cause::Certificate,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Cause::NothingInCommon,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Cause::NotTls,
        Error::AlertReceived(alert) => match alert {
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired => Cause::Refused,
            Alert::ProtocolVersion
            | Alert::HandshakeFailure
            | Alert::InsufficientSecurity
            | Alert::NoApplicationProtocol => Cause::NothingInCommon,
            _ => Cause::Protocol,
        },
        _ => Cause::Protocol,
    }
}
