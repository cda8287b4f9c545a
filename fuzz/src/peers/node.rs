//! nodejs/http-parser, by way of http-muncher. Fed byte by byte, so that what its callbacks can
//! ask it is up to date.

use http_muncher::{Parser, ParserHandler};

use super::{After, Message, Reading, Side};

struct Notes {
    target: Vec<u8>,
    body: Vec<u8>,
    is_request: bool,
    messages: Vec<Message>,
}

impl ParserHandler for Notes {
    fn on_message_begin(&mut self, _: &mut Parser) -> bool {
        self.target.clear();
        self.body.clear();
        true
    }

    fn on_url(&mut self, _: &mut Parser, part: &[u8]) -> bool {
        self.target.extend_from_slice(part);
        true
    }

    fn on_body(&mut self, _: &mut Parser, part: &[u8]) -> bool {
        self.body.extend_from_slice(part);
        true
    }

    fn on_message_complete(&mut self, parser: &mut Parser) -> bool {
        let kind = match self.is_request {
            true => parser.http_method().to_owned(),
            false => parser.status_code().to_string(),
        };
        self.messages.push(Message {
            kind,
            target: String::from_utf8_lossy(&self.target).into_owned(),
            body: self.body.clone(),
        });
        true
    }
}

/// Whether a `Transfer-Encoding` line ends in white space: then this parser doesn't know the coding.
pub fn misses_coding(bytes: &[u8]) -> bool {
    bytes.split(|&byte| byte == b'\r').any(|line| {
        let line = line.trim_ascii_start().to_ascii_lowercase();
        line.starts_with(b"transfer-encoding:") && matches!(line.last(), Some(b' ' | b'\t'))
    })
}

/// Reads one side of a connection, which ends where the bytes do.
pub fn read(side: Side, bytes: &[u8]) -> Reading {
    let mut notes = Notes {
        target: Vec::new(),
        body: Vec::new(),
        is_request: side == Side::Requests,
        messages: Vec::new(),
    };
    let mut parser = match side {
        Side::Requests => Parser::request(),
        Side::Responses => Parser::response(),
    };
    for byte in bytes.chunks(1) {
        let taken = parser.parse(&mut notes, byte);
        if taken < 1 || parser.has_error() || parser.is_upgrade() {
            return Reading {
                messages: notes.messages,
                after: After::Over,
            };
        }
    }
    // A body without a length is whole once nothing more comes.
    parser.parse(&mut notes, &[]);
    Reading {
        messages: notes.messages,
        after: After::Waiting,
    }
}
