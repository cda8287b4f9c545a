//! Event streams as the WHATWG HTML standard has a browser read them (section 9.2.6).

/// What a page's script gets, or would if there were any data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    /// How many `data` lines there were.
    pub data_lines: usize,
}

/// A block of lines, with the blank one behind it.
#[derive(Clone, Debug)]
pub struct Block<'s> {
    pub event: Event,
    pub bytes: &'s [u8],
}

/// The complete blocks of a stream, and what is left behind the last.
pub fn blocks(stream: &[u8]) -> (Vec<Block<'_>>, &[u8]) {
    let mut blocks = Vec::new();
    let mut rest = stream;
    let mut at = match stream.starts_with(b"\xef\xbb\xbf") {
        true => 3,
        false => 0,
    };
    let mut event = Event::default();
    while let Some((line, next)) = line(rest, at) {
        if line.is_empty() {
            let (bytes, behind) = rest.split_at(next);
            let event = std::mem::take(&mut event);
            blocks.push(Block { event, bytes });
            (rest, at) = (behind, 0);
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => event.name = value.to_vec(),
            b"data" => {
                if event.data_lines > 0 {
                    event.data.push(b'\n');
                }
                event.data_lines += 1;
                event.data.extend_from_slice(value);
            }
            _ => {}
        }
        at = next;
    }
    (blocks, rest)
}

/// The line at `at`, and where the next begins; `None` if its end is not all there: what follows
/// a carriage return decides whether it is one.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let end = at
        + bytes[at..]
            .iter()
            .position(|b| matches!(b, b'\r' | b'\n'))?;
    let next = match &bytes[end..] {
        [b'\r', b'\n', ..] => end + 2,
        [b'\r'] => return None,
        _ => end + 1,
    };
    Some((&bytes[at..end], next))
}

/// What a client gets of a stream that it reads to its end, where the last carriage return is one.
/// Blank lines that end nothing are nothing: one may join the end of another line.
pub fn all(stream: &[u8]) -> Vec<Event> {
    let ended = match stream {
        [.., b'\r'] => [stream, b"\n"].concat(),
        _ => stream.to_vec(),
    };
    let (blocks, _) = blocks(&ended);
    let events = blocks.into_iter().map(|block| block.event);
    events
        .filter(|event| event.data_lines > 0 || !event.name.is_empty())
        .collect()
}
