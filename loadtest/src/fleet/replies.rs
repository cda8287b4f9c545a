//! What the simulator says: whole answers and the parts of streams, in OpenAI's shapes. Pure.

use serde_json::{Value, json};

use super::metrics::MODEL;
use super::question::Question;
use crate::scenario::Endpoint;
use crate::stamp;

/// Numbers of an embedding.
const DIMENSIONS: usize = 64;
/// A token of an answer.
const TOKEN: &str = " sea";

/// A whole response.
pub fn whole(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown");
    let mut out = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// A response of JSON.
pub fn json(status: u16, body: &Value) -> Vec<u8> {
    whole(status, "application/json", body.to_string().as_bytes())
}

/// A failure in OpenAI's shape.
pub fn error(status: u16, code: &str, message: &str) -> Vec<u8> {
    let kind = if status < 500 {
        "invalid_request_error"
    } else {
        "server_error"
    };
    json(
        status,
        &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
    )
}

/// The tokens of question and answer.
fn usage(question: &Question, tokens: u32) -> Value {
    let prompt = question.prompt_tokens();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens as usize,
    })
}

/// The answer to a question that didn't ask for a stream.
pub fn answer(endpoint: Endpoint, question: &Question, tokens: u32) -> Vec<u8> {
    let text = TOKEN.repeat(tokens as usize);
    let usage = usage(question, tokens);
    json(
        200,
        &match endpoint {
            Endpoint::Chat => json!({
                "id": "chatcmpl-simulated", "object": "chat.completion", "created": 0, "model": MODEL,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                             "finish_reason": "length"}],
                "usage": usage,
            }),
            Endpoint::Completions => json!({
                "id": "cmpl-simulated", "object": "text_completion", "created": 0, "model": MODEL,
                "choices": [{"index": 0, "text": text, "finish_reason": "length"}],
                "usage": usage,
            }),
            Endpoint::Embeddings => {
                let vector: Vec<f64> = (0..DIMENSIONS).map(|at| (at as f64).sin()).collect();
                let prompt = question.prompt_tokens();
                json!({
                    "object": "list", "model": MODEL,
                    "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                    "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
                })
            }
        },
    )
}

/// The head of a stream.
pub const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

/// A token's event, as a chunk of its own, and where the time is to be written into it.
pub fn token(endpoint: Endpoint, question: &Question, system: u32) -> (Vec<u8>, usize) {
    let (object, piece) = match endpoint {
        Endpoint::Completions => ("text_completion", format!(r#""text":"{TOKEN}""#)),
        _ => (
            "chat.completion.chunk",
            format!(r#""delta":{{"content":"{TOKEN}"}}"#),
        ),
    };
    let usage = if question.usage {
        r#","usage":null"#
    } else {
        ""
    };
    let event = chunk(&format!(
        "data: {{\"id\":\"simulated\",\"object\":\"{object}\",\"created\":0,\"model\":\"{MODEL}\",\
         \"choices\":[{{\"index\":0,{piece},\"finish_reason\":null}}]{usage},{}}}\n\n",
        stamp::member(system)
    ));
    let at = stamp::position(&event).unwrap_or_default();
    (event, at)
}

/// The first event of a chat: the role.
pub fn role() -> Vec<u8> {
    chunk(&format!(
        "data: {{\"id\":\"simulated\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"{MODEL}\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"finish_reason\":null}}]}}\n\n"
    ))
}

/// The end of a stream: why it ended, its usage if that was asked for, and `[DONE]`.
pub fn end(endpoint: Endpoint, question: &Question, tokens: u32) -> Vec<u8> {
    let (object, piece) = match endpoint {
        Endpoint::Completions => (
            "text_completion",
            json!({"index": 0, "text": "", "finish_reason": "length"}),
        ),
        _ => (
            "chat.completion.chunk",
            json!({"index": 0, "delta": {}, "finish_reason": "length"}),
        ),
    };
    let event = |choices: Value, usage: Value| {
        let event = json!({
            "id": "simulated", "object": object, "created": 0, "model": MODEL,
            "choices": choices, "usage": usage,
        });
        format!("data: {event}\n\n")
    };
    let mut text = event(json!([piece]), Value::Null);
    if question.usage {
        text += &event(json!([]), usage(question, tokens));
    }
    let mut out = chunk(&(text + "data: [DONE]\n\n"));
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Answer, Pace, Sink};

    #[derive(Default)]
    struct Added(Vec<u64>);

    impl Sink for Added {
        fn gap(&mut self, _nanos: u64) {}
        fn added(&mut self, nanos: u64) {
            self.0.push(nanos);
        }
    }

    fn question(stream: bool) -> Question {
        let body = json!({"model": "m", "prompt": "abcdefgh", "stream": stream,
                          "stream_options": {"include_usage": true}});
        Question::of(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_generator_reads_what_the_simulator_says() {
        for endpoint in [Endpoint::Chat, Endpoint::Completions] {
            let question = question(true);
            let (mut event, at) = token(endpoint, &question, 3);
            stamp::write(&mut event, at, 40);
            let wire = [
                STREAM_HEAD,
                &role(),
                &event,
                &event,
                &end(endpoint, &question, 2),
            ]
            .concat();
            let mut answer = Answer::new(3, Pace { stated: None });
            answer.begin(true);
            let mut added = Added::default();
            let (used, over) = answer.feed(&wire, 50, &mut added).unwrap();
            assert_eq!((used, over, answer.fault()), (wire.len(), true, None));
            assert_eq!((answer.seen.tokens, answer.seen.usage), (2, Some(2)));
            assert_eq!(added.0, [10, 10]);
        }
        for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings] {
            let mut reader = Answer::new(3, Pace { stated: None });
            reader.begin(false);
            let wire = answer(endpoint, &question(false), 5);
            assert_eq!(
                reader.feed(&wire, 1, &mut Added::default()),
                Ok((wire.len(), true))
            );
            let tokens = (endpoint != Endpoint::Embeddings).then_some(5);
            assert_eq!((reader.fault(), reader.seen.usage), (None, tokens));
        }
    }

    #[test]
    fn a_failure_has_its_code() {
        let mut reader = Answer::new(3, Pace { stated: None });
        reader.begin(true);
        reader
            .feed(&error(503, "simulated", "no"), 1, &mut Added::default())
            .unwrap();
        assert_eq!(reader.fault(), Some("simulated"));
    }
}
