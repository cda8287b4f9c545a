//! What a scripted upstream does with one request, as a list of steps.

use std::time::Duration;

/// One step of a reply.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes bytes.
    Send(Vec<u8>),
    /// Waits, watching for the peer's close.
    Pause(Duration),
    /// Does nothing more until the peer closes.
    Stall,
    /// Ends the connection with a RST.
    Reset,
    /// Ends the connection in an orderly way: a FIN, over TLS a close_notify before it.
    Close,
    /// Ends the connection with a FIN alone, whatever TLS asks for.
    Truncate,
}

/// A reply; a connection that no step ended is kept alive.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Reply {
    /// No step: to be added to.
    pub fn new() -> Reply {
        Reply::default()
    }

    /// A whole response with a declared length.
    pub fn with(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let length = body.len().to_string();
        let mut all = fields.to_vec();
        all.push(("content-length", &length));
        Reply::head(status, &all).send(body)
    }

    /// A whole JSON response with a declared length.
    pub fn json(status: u16, body: &str) -> Reply {
        Reply::with(status, &[("content-type", "application/json")], body)
    }

    /// A failure as a vendor would word it, on a connection that ends with it.
    pub fn failure(status: u16) -> Reply {
        Reply::with(
            status,
            &[
                ("content-type", "application/json"),
                ("connection", "close"),
                ("x-vendor-secret", "leak"),
            ],
            format!(r#"{{"error":{{"message":"vendor secret {status}","type":"vendor_error","param":null,"code":"vendor_code"}}}}"#),
        )
        .close()
    }

    /// A chat completion that says `text`, kept alive.
    pub fn chat(text: &str) -> Reply {
        Reply::json(200, &chat_body(text))
    }

    /// The head of a response, with the fields that it is given and no other.
    pub fn head(status: u16, fields: &[(&str, &str)]) -> Reply {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Reply::new().send(head)
    }

    /// The head of a chunked event stream.
    pub fn events() -> Reply {
        Reply::head(
            200,
            &[
                ("content-type", "text/event-stream"),
                ("transfer-encoding", "chunked"),
            ],
        )
    }

    /// A chat stream that says the words one event each, then `[DONE]`, all in chunked coding.
    pub fn chat_stream(words: &[&str]) -> Reply {
        words
            .iter()
            .fold(Reply::events(), |reply, word| reply.event(&delta(word)))
            .done()
    }

    /// Adds bytes.
    pub fn send(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        // One write with what stands before it, so that head and body leave together.
        match self.steps.last_mut() {
            Some(Step::Send(before)) => before.extend_from_slice(bytes.as_ref()),
            _ => self.steps.push(Step::Send(bytes.as_ref().to_vec())),
        }
        self
    }

    /// Adds another reply's steps.
    pub fn then(mut self, more: Reply) -> Reply {
        self.steps.extend(more.steps);
        self
    }

    /// Adds one chunk.
    pub fn chunk(self, bytes: impl AsRef<[u8]>) -> Reply {
        let bytes = bytes.as_ref();
        self.send(format!("{:x}\r\n", bytes.len()))
            .send(bytes)
            .send("\r\n")
    }

    /// Adds the terminating chunk.
    pub fn last_chunk(self) -> Reply {
        self.send("0\r\n\r\n")
    }

    /// Adds one event with `data`, as one chunk.
    pub fn event(self, data: &str) -> Reply {
        self.chunk(format!("data: {data}\n\n"))
    }

    /// Adds `[DONE]` and the terminating chunk.
    pub fn done(self) -> Reply {
        self.event("[DONE]").last_chunk()
    }

    /// Adds a wait.
    pub fn pause(mut self, time: Duration) -> Reply {
        self.steps.push(Step::Pause(time));
        self
    }

    /// Then nothing until the peer closes.
    pub fn stall(mut self) -> Reply {
        self.steps.push(Step::Stall);
        self
    }

    /// Then a RST.
    pub fn reset(mut self) -> Reply {
        self.steps.push(Step::Reset);
        self
    }

    /// Then a FIN without a close_notify.
    pub fn truncate(mut self) -> Reply {
        self.steps.push(Step::Truncate);
        self
    }

    /// Then a FIN.
    pub fn close(mut self) -> Reply {
        self.steps.push(Step::Close);
        self
    }
}

/// A whole chat completion that says `text`.
pub fn chat_body(text: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"vendor-model","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
    )
}

/// The data of a chat stream's event that says `text`.
pub fn delta(text: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"vendor-model","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
    )
}

/// The data of the usage-only event that ends a chat stream that was asked for usage.
pub fn usage_only() -> &'static str {
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"vendor-model","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#
}
