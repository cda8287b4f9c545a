//! milo (<https://github.com/ShogunPanda/milo>), by its callbacks.

use std::ffi::c_void;

use milo_parser::{
    CALLBACK_ACTIVE_ALL, Parser, STATE_BODY_WITH_NO_LENGTH, STATE_ERROR, STATE_FINISH, STATE_TUNNEL,
};

use super::{After, Message, Reading, Side};

/// What the callbacks write down.
struct Notes<'b> {
    bytes: &'b [u8],
    message: Message,
    reading: Vec<Message>,
}

/// Reads one side of a connection, which ends where the bytes do.
pub fn read(side: Side, bytes: &[u8]) -> Reading {
    let mut notes = Notes {
        bytes,
        message: empty(),
        reading: Vec::new(),
    };
    let mut parser = Parser::new();
    parser.autodetect = false;
    parser.is_request = side == Side::Requests;
    parser.context = (&raw mut notes).cast();
    parser.callbacks.on_message_start = |parser, _, _| notes_of(parser).message = empty();
    parser.callbacks.on_method = |parser, from, size| {
        let notes = notes_of(parser);
        notes.message.kind = notes.text(from, size);
    };
    parser.callbacks.on_status = parser.callbacks.on_method;
    parser.callbacks.on_url = |parser, from, size| {
        let notes = notes_of(parser);
        notes.message.target = notes.text(from, size);
    };
    parser.callbacks.on_data = |parser, from, size| {
        let notes = notes_of(parser);
        notes
            .message
            .body
            .extend_from_slice(&notes.bytes[from..from + size]);
    };
    parser.callbacks.on_message_complete = |parser, _, _| {
        let notes = notes_of(parser);
        notes.reading.push(notes.message.clone());
    };
    parser.active_callbacks = CALLBACK_ACTIVE_ALL;
    parser.parse(bytes.as_ptr(), bytes.len());
    if parser.state == STATE_BODY_WITH_NO_LENGTH {
        parser.finish();
    }
    let after = match parser.state {
        STATE_ERROR | STATE_FINISH | STATE_TUNNEL => After::Over,
        _ => After::Waiting,
    };
    forget_description(&mut parser);
    Reading {
        messages: notes.reading,
        after,
    }
}

/// Whether a chunk extension may end in white space, behind which milo 0.7.0 looks for a value
/// that would lie beyond the line, and panics.
pub fn stumbles_over(bytes: &[u8]) -> bool {
    bytes
        .split(|&byte| byte == b'\r')
        .any(|line| line.contains(&b';') && matches!(line.last(), Some(b' ' | b'\t')))
}

impl Notes<'_> {
    fn text(&self, from: usize, size: usize) -> String {
        String::from_utf8_lossy(&self.bytes[from..from + size]).into_owned()
    }
}

fn empty() -> Message {
    Message {
        kind: String::new(),
        target: String::new(),
        body: Vec::new(),
    }
}

fn notes_of<'n>(parser: &mut Parser) -> &'n mut Notes<'n> {
    let notes: *mut c_void = parser.context;
    // SAFETY: `read` set the context to its own notes, which outlive the parser, and touches them
    // only before and after the parser runs; each callback drops the reference that it gets.
    unsafe { &mut *notes.cast::<Notes<'n>>() }
}

/// milo never frees the text of an error: a fuzzer that makes millions would run out of memory.
fn forget_description(parser: &mut Parser) {
    let length = usize::from(parser.error_description_len);
    if length > 0 {
        let text = parser.error_description.cast_mut();
        // SAFETY: the text was a `String` made by `to_string`, whose capacity is its length, and
        // the parser is not used again.
        drop(unsafe { String::from_raw_parts(text, length, length) });
    }
}
