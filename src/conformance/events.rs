//! An event stream as a strict client reads it (the SSE of the WHATWG HTML standard, section 9.2),
//! with the time at which each event was there whole.

use std::time::Duration;

use serde_json::Value;

use super::line::Answer;

/// The fields that events have; all else a client passes over.
const FIELDS: [&str; 4] = ["data", "event", "id", "retry"];

/// One event with data.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its data lines, joined.
    pub data: String,
    /// Since the request was sent.
    pub at: Duration,
}

/// What a stream said.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Its events, `[DONE]` included.
    pub events: Vec<Event>,
    /// How many comments it had.
    pub comments: usize,
    /// What is wrong with its framing.
    pub faults: Vec<String>,
}

impl Events {
    /// Reads a stream's body.
    pub fn read(answer: &Answer) -> Events {
        let mut events = Events::default();
        let body = match std::str::from_utf8(&answer.body) {
            Ok(body) => body,
            Err(error) => {
                let at = error.valid_up_to();
                events.faults.push(format!("no UTF-8 at byte {at}"));
                return events;
            }
        };
        let (mut data, mut at): (Option<String>, usize) = (None, 0);
        for line in body.split_inclusive('\n') {
            at += line.len();
            let ended = line.ends_with('\n');
            let line = line.trim_end_matches(['\n', '\r']);
            if !ended {
                events.faults.push("it ends within a line".to_owned());
            }
            if line.is_empty() {
                if let Some(data) = data.take() {
                    let at = arrival(answer, at);
                    events.events.push(Event { data, at });
                }
            } else {
                events.line(line, &mut data);
            }
        }
        if data.is_some() {
            let fault = "its last event isn't ended by an empty line";
            events.faults.push(fault.to_owned());
        }
        events
    }

    fn line(&mut self, line: &str, data: &mut Option<String>) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => self.comments += 1,
            "data" => match data {
                Some(before) => *before = format!("{before}\n{value}"),
                None => *data = Some(value.to_owned()),
            },
            name if FIELDS.contains(&name) => {}
            _ => self
                .faults
                .push("a line that is neither a field of events nor a comment".to_owned()),
        }
    }

    /// The events in JSON, which all but `[DONE]` must be.
    ///
    /// # Errors
    /// The first that isn't.
    pub fn chunks(&self) -> Result<Vec<Value>, String> {
        let chunks = self.events.iter().filter(|event| event.data != "[DONE]");
        chunks
            .enumerate()
            .map(|(index, event)| {
                serde_json::from_str(&event.data)
                    .map_err(|error| format!("event {} is no JSON: {error}", index + 1))
            })
            .collect()
    }

    /// When the first event was there.
    pub fn first(&self) -> Option<Duration> {
        self.events.first().map(|event| event.at)
    }

    /// When the last event was there.
    pub fn last(&self) -> Option<Duration> {
        self.events.last().map(|event| event.at)
    }

    /// The longest silence between two events.
    pub fn gap(&self) -> Duration {
        let pairs = self.events.windows(2);
        let gaps = pairs.map(|pair| pair[1].at.saturating_sub(pair[0].at));
        gaps.max().unwrap_or_default()
    }

    /// Whether it ended with `[DONE]`, once and last.
    pub fn is_done(&self) -> bool {
        let done = |event: &Event| event.data == "[DONE]";
        let count = self.events.iter().filter(|event| done(event)).count();
        count == 1 && self.events.last().is_some_and(done)
    }
}

/// When the body had come as far as `offset`.
fn arrival(answer: &Answer, offset: usize) -> Duration {
    let arrived = answer.arrivals.iter().find(|(end, _)| *end >= offset);
    arrived.map_or(answer.took, |(_, at)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::line::Head;
    use crate::http::ResponseFraming;

    fn read(pieces: &[&str]) -> Events {
        let mut body = Vec::new();
        let mut arrivals = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            body.extend_from_slice(piece.as_bytes());
            arrivals.push((body.len(), Duration::from_millis(index as u64 * 10)));
        }
        Events::read(&Answer {
            head: Head {
                status: 200,
                fields: Vec::new(),
                framing: ResponseFraming::Chunked,
                persistent: true,
            },
            body,
            arrivals,
            took: Duration::from_secs(1),
        })
    }

    #[test]
    fn an_event_is_there_when_its_empty_line_is() {
        let events = read(&[": hi\n\ndata: {\"a\":", "1}\n", "\ndata: [DONE]\n\n"]);
        assert_eq!((events.comments, events.events.len()), (1, 2));
        assert_eq!(events.first(), Some(Duration::from_millis(20)));
        assert!(events.faults.is_empty() && events.is_done());
        assert_eq!(events.chunks().unwrap()[0]["a"], 1);
    }

    #[test]
    fn several_data_lines_are_one_event_and_line_ends_may_have_carriage_returns() {
        let events = read(&["event: x\r\ndata: {\r\ndata:}\r\n\r\n"]);
        assert_eq!(events.events[0].data, "{\n}");
        assert!(events.faults.is_empty() && !events.is_done());
    }

    #[test]
    fn what_a_strict_client_minds_is_a_fault() {
        for (pieces, says) in [
            ("data: {}\n", "isn't ended by an empty line"),
            ("data: {}\n\ndata: [DO", "within a line"),
            ("{\"error\":1}\n\n", "neither a field"),
        ] {
            let faults = read(&[pieces]).faults.join(", ");
            assert!(faults.contains(says), "{pieces:?}: {faults}");
        }
        assert!(read(&["data: x\n\n"]).chunks().is_err());
        assert!(!read(&["data: [DONE]\n\ndata: [DONE]\n\n"]).is_done());
        assert!(!read(&["data: [DONE]\n\ndata: {}\n\n"]).is_done());
    }

    #[test]
    fn the_longest_silence_is_found() {
        let events = read(&["data: 1\n\n", "data: ", "2\n\n", "data: 3\n\n"]);
        assert_eq!(events.gap(), Duration::from_millis(20));
        assert_eq!(events.last(), Some(Duration::from_millis(30)));
    }
}
