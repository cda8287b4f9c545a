//! What can be wrong with a head, and the status that answers it.

/// What can be wrong with the head of a request or a response alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It does not end within `HeadLimits::bytes`.
    #[error("the head is longer than this server accepts")]
    TooLong,
    /// It has more fields than `HeadLimits::fields`.
    #[error("the head has more fields than this server accepts")]
    TooManyFields,
    /// A line does not end in CR LF (RFC 9112 section 2.2 lets a recipient take a bare LF; two
    /// recipients that differ in it see two messages).
    #[error("a line of the head does not end in CR LF")]
    LineEnd,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    /// A name that is not a token followed at once by a colon (RFC 9112 section 5.1); a folded
    /// line (section 5.2) looks the same.
    #[error("a field's name is not a token followed by a colon")]
    FieldName,
    /// A control byte in a value (RFC 9110 section 5.5).
    #[error("a field's value has a control byte")]
    FieldValue,
    /// `Connection` is not a list of tokens (RFC 9110 section 7.6.1).
    #[error("Connection is not a list of tokens")]
    Connection,
    /// `Connection` lists more than [`CONNECTION_OPTIONS_MAX`](super::fields::CONNECTION_OPTIONS_MAX).
    #[error("Connection lists more options than this server accepts")]
    TooManyOptions,
    /// Two ends for one message: RFC 9112 section 6.3 calls it an error that may be repaired; the
    /// repair is what request smuggling lives on.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// More than one `Content-Length`, equal or not.
    #[error("more than one Content-Length")]
    RepeatedLength,
    /// Not digits only, or not a number of 64 bits.
    #[error("Content-Length is not a decimal number of bytes")]
    Length,
    /// Anything but one `chunked`.
    #[error("Transfer-Encoding is not exactly \"chunked\"")]
    Encoding,
    /// RFC 9112 section 6.1: faulty framing.
    #[error("Transfer-Encoding in a message of HTTP/1.0")]
    EncodingOnHttp10,
}

impl BadHead {
    /// 431 for what is over a bound, otherwise 400.
    pub fn status(self) -> u16 {
        match self {
            BadHead::TooLong | BadHead::TooManyFields | BadHead::TooManyOptions => 431,
            _ => 400,
        }
    }
}

impl From<httparse::Error> for BadHead {
    /// For what `httparse` says about fields and versions; what it says about a start line
    /// depends on the message, and is mapped there.
    fn from(error: httparse::Error) -> BadHead {
        match error {
            httparse::Error::TooManyHeaders => BadHead::TooManyFields,
            httparse::Error::NewLine => BadHead::LineEnd,
            httparse::Error::Version => BadHead::Version,
            httparse::Error::HeaderName => BadHead::FieldName,
            httparse::Error::HeaderValue | httparse::Error::Status | httparse::Error::Token => {
                BadHead::FieldValue
            }
        }
    }
}
