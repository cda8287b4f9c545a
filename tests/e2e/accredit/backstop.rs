//! A scripted backstop that does everything right but for one vice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Reply, Request, ms};

/// The model that it has.
pub const MODEL: &str = "aloomu-70b";

/// The tokens that its model can hold.
pub const CONTEXT: usize = 1000;

/// Calls that it serves at a time.
pub const CAPACITY: usize = 2;

/// The key that opens it, where it wants one.
pub const KEY: &str = "sk-backstop-planted";

/// Between two tokens.
const PACE: Duration = ms(4);

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vice {
    None,
    ChatWithoutAChoice,
    NoSystemMessage,
    NoParts,
    UnknownMembersRefused,
    MaxTokensIgnored,
    LengthNotSaid,
    CompletionWithoutText,
    EmbeddingsOutOfOrder,
    NoModels,
    StreamAsJson,
    StreamWithStrayLine,
    StreamCutInAnEvent,
    StreamWithoutDone,
    DoneTwice,
    ChunksOfTwoIds,
    NoFinishReason,
    StreamHeldBack,
    NoStreamedUsage,
    UsageUnasked,
    ErrorEventIn200,
    SlowReaderCutOff,
    CompletionStreamWithoutDone,
    NoUsage,
    UsageDoesNotAddUp,
    StreamsCostMore,
    PromptsAllCostTheSame,
    StreamsCostNothing,
    MalformedIs500,
    MissingIs500,
    ErrorsInHtml,
    AnyModel,
    UnknownPathInText,
    WrongMethodServed,
    AnyKey,
    ClosesBehindErrors,
    SmallBodiesOnly,
    SmallHeadsOnly,
    ContextIs500,
    PromptsCut,
    ClosesUnannounced,
    ClosesIdle,
    ResidencyRefused,
    RequestIdRefused,
    OneAtATime,
    Stalls,
    DropsWhatIsTooMuch,
    NoRetryAfter,
    KeepsSlotsOfStreams,
    KeepsSlotsOfWholes,
    TwoLengths,
    Redirects,
    NoRequestId,
    DiesOfIt,
}

/// A backstop with its state.
pub struct Backstop {
    vice: Vice,
    /// When the calls that it has taken on will be done.
    busy: Mutex<Vec<Instant>>,
    kept: AtomicBool,
}

impl Backstop {
    /// With this vice.
    pub fn new(vice: Vice) -> Backstop {
        Backstop {
            vice,
            busy: Mutex::default(),
            kept: AtomicBool::new(false),
        }
    }

    fn has(&self, vice: Vice) -> bool {
        self.vice == vice
    }

    /// Its answer.
    pub fn answer(&self, request: &Request) -> Reply {
        let wrong = |code: u16, message: &str| self.refuse(code, message);
        let length: usize = request.fields().iter().map(|(_, v)| v.len()).sum();
        if self.has(Vice::SmallHeadsOnly) && length > 4096 {
            return wrong(431, "too long");
        }
        let has = |name: &str| request.field(name).is_some();
        if self.has(Vice::ResidencyRefused) && has("x-sovereign-residency")
            || self.has(Vice::RequestIdRefused) && has("x-request-id")
        {
            return wrong(400, "an unknown field");
        }
        let key = format!("Bearer {KEY}");
        let field = request.field("authorization");
        if !self.has(Vice::AnyKey) && field.is_some_and(|field| field != key) {
            return wrong(401, "no such key");
        }
        match request.line() {
            "GET /v1/models" => self.models(),
            "GET /v1/chat/completions" if self.has(Vice::WrongMethodServed) => {
                self.json(200, &json!({}))
            }
            line if line.starts_with("GET ") => wrong(405, "POST only"),
            "POST /v1/chat/completions" => self.chat(request),
            "POST /v1/completions" => self.completion(request),
            "POST /v1/embeddings" => self.embeddings(),
            _ if self.has(Vice::UnknownPathInText) => {
                Reply::with(404, &[("content-type", "text/plain")], "not found")
            }
            _ => wrong(404, "no such path"),
        }
    }

    fn head(&self, more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let mut fields = more.to_vec();
        if !self.has(Vice::NoRequestId) {
            fields.push(("x-request-id", "req-1"));
        }
        fields
    }

    fn json(&self, status: u16, body: &Value) -> Reply {
        let fields = self.head(&[("content-type", "application/json")]);
        Reply::with(status, &fields, body.to_string())
    }

    fn refuse(&self, status: u16, message: &str) -> Reply {
        if self.has(Vice::ErrorsInHtml) {
            return Reply::with(status, &[("content-type", "text/html")], "<p>wrong</p>");
        }
        let kind = "invalid_request_error";
        let error = json!({"message": message, "type": kind, "param": null, "code": null});
        let reply = self.json(status, &json!({"error": error}));
        match self.has(Vice::ClosesBehindErrors) {
            true => reply.close(),
            false => reply,
        }
    }

    fn models(&self) -> Reply {
        let data = match self.has(Vice::NoModels) {
            true => json!([]),
            false => json!([{"id": MODEL, "object": "model", "created": 0, "owned_by": "x"}]),
        };
        self.json(200, &json!({"object": "list", "data": data}))
    }

    fn embeddings(&self) -> Reply {
        let index = |at: usize| match self.has(Vice::EmbeddingsOutOfOrder) {
            true => 1 - at,
            false => at,
        };
        let one = |at| json!({"object": "embedding", "index": index(at), "embedding": [0.6, 0.8]});
        self.json(200, &json!({"object": "list", "data": [one(0), one(1)]}))
    }

    /// Whatever speaks against a chat, or the chat itself.
    fn chat(&self, request: &Request) -> Reply {
        if self.has(Vice::Redirects) {
            return Reply::with(307, &[("location", "http://127.0.0.1:9/")], "");
        }
        if self.has(Vice::SmallBodiesOnly) && request.body.len() > 65536 {
            return self.refuse(413, "too large");
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            let status = if self.has(Vice::MalformedIs500) {
                500
            } else {
                400
            };
            return self.refuse(status, "no JSON");
        };
        let known = [
            "model",
            "messages",
            "max_tokens",
            "temperature",
            "stream",
            "stream_options",
        ];
        let members = body.as_object().expect("an object");
        if self.has(Vice::UnknownMembersRefused)
            && members.keys().any(|name| !known.contains(&name.as_str()))
        {
            return self.refuse(400, "an unknown member");
        }
        let streams = body["stream"] == true;
        let Some(messages) = body["messages"].as_array() else {
            if self.has(Vice::ErrorEventIn200) && streams {
                let error = json!({"error": {"message": "wrong", "type": "x"}});
                return Reply::events().event(&error.to_string()).last_chunk();
            }
            let status = if self.has(Vice::MissingIs500) {
                500
            } else {
                400
            };
            return self.refuse(status, "no messages");
        };
        if body["model"] != MODEL && !self.has(Vice::AnyModel) {
            return self.refuse(404, "no such model");
        }
        let is_system = |message: &Value| message["role"] == "system";
        if self.has(Vice::NoSystemMessage) && messages.iter().any(is_system)
            || self.has(Vice::NoParts) && messages.iter().any(|one| one["content"].is_array())
        {
            return self.refuse(400, "not that");
        }
        let prompt = self.prompt_tokens(&body["messages"]);
        if prompt > CONTEXT && !self.has(Vice::PromptsCut) {
            let status = if self.has(Vice::ContextIs500) {
                500
            } else {
                400
            };
            return self.refuse(status, "too many tokens");
        }
        self.take_on(Chat::of(self, &body, prompt.min(CONTEXT)))
    }

    fn prompt_tokens(&self, messages: &Value) -> usize {
        match self.has(Vice::PromptsAllCostTheSame) {
            true => 7,
            false => messages.to_string().split_whitespace().count(),
        }
    }

    /// The answer, when its turn has come.
    fn take_on(&self, chat: Chat) -> Reply {
        let now = Instant::now();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|end| *end > now);
        let long = chat.tokens > 500;
        if long && self.has(Vice::DiesOfIt) {
            self.kept.store(true, Ordering::Relaxed);
        } else if self.has(Vice::DiesOfIt) && self.kept.load(Ordering::Relaxed) {
            return Reply::new().reset();
        }
        let keeps = match self.vice {
            Vice::KeepsSlotsOfStreams => chat.streams,
            Vice::KeepsSlotsOfWholes => !chat.streams,
            _ => false,
        };
        if long && keeps {
            self.kept.store(true, Ordering::Relaxed);
        } else if self.kept.load(Ordering::Relaxed) {
            return Reply::new().pause(ms(5000)).then(chat.reply());
        }
        if busy.len() >= CAPACITY {
            match self.vice {
                Vice::DropsWhatIsTooMuch => return Reply::new().reset(),
                Vice::NoRetryAfter => return self.refuse(429, "too many"),
                _ => {}
            }
        }
        let begin = match self.vice {
            Vice::OneAtATime => busy.iter().max().copied().unwrap_or(now),
            _ => now,
        };
        if !long {
            // On a busy machine it takes longer than its pauses.
            busy.push(begin + PACE * 20 * chat.tokens as u32);
        }
        Reply::new()
            .pause(begin.saturating_duration_since(now))
            .then(chat.reply())
    }

    fn completion(&self, request: &Request) -> Reply {
        let body = request.json();
        let chunk = |text: &str, finish: Value| {
            json!({
                "id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL,
                "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}],
            })
        };
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7});
        if body["stream"] == true {
            let mut last = chunk("", "length".into());
            last["choices"] = json!([]);
            last["usage"] = usage;
            let framing = ("transfer-encoding", "chunked");
            let fields = self.head(&[("content-type", "text/event-stream"), framing]);
            let stream = Reply::head(200, &fields)
                .event(&chunk(" Paris", "length".into()).to_string())
                .event(&last.to_string());
            return match self.has(Vice::CompletionStreamWithoutDone) {
                true => stream.last_chunk(),
                false => stream.done(),
            };
        }
        let mut whole = chunk(" Paris", "length".into());
        whole["usage"] = usage;
        if self.has(Vice::CompletionWithoutText) {
            whole["choices"][0]["text"] = Value::Null;
        }
        self.json(200, &whole)
    }
}

/// One chat that is served.
struct Chat {
    vice: Vice,
    prompt: usize,
    tokens: usize,
    streams: bool,
    include_usage: bool,
    fields: Vec<(&'static str, &'static str)>,
}

impl Chat {
    fn of(backstop: &Backstop, body: &Value, prompt: usize) -> Chat {
        let vice = backstop.vice;
        let asked = body["max_tokens"].as_u64().unwrap_or(16) as usize;
        let tokens = match vice {
            Vice::MaxTokensIgnored => asked + 3,
            _ => asked,
        };
        let include = body["stream_options"]["include_usage"] == true;
        Chat {
            vice,
            prompt,
            tokens,
            streams: body["stream"] == true,
            include_usage: include && vice != Vice::NoStreamedUsage || vice == Vice::UsageUnasked,
            fields: backstop.head(&[]),
        }
    }

    fn usage(&self) -> Value {
        let completion = match self.vice {
            Vice::StreamsCostMore if self.streams => self.tokens * 2,
            Vice::StreamsCostNothing if self.streams => 1,
            _ => self.tokens,
        };
        let total = match self.vice {
            Vice::UsageDoesNotAddUp => 1,
            _ => self.prompt + completion,
        };
        json!({"prompt_tokens": self.prompt, "completion_tokens": completion, "total_tokens": total})
    }

    fn finish(&self) -> Value {
        match self.vice {
            Vice::LengthNotSaid => "stop".into(),
            _ => "length".into(),
        }
    }

    fn reply(&self) -> Reply {
        match self.streams {
            true => self.stream(),
            false => self.whole(),
        }
    }

    fn whole(&self) -> Reply {
        let choice = json!({
            "index": 0, "message": {"role": "assistant", "content": "word ".repeat(self.tokens)},
            "finish_reason": self.finish(),
        });
        let mut body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
            "choices": [choice], "usage": self.usage(),
        });
        match self.vice {
            Vice::ChatWithoutAChoice => body["choices"] = json!([]),
            Vice::NoUsage => body["usage"] = Value::Null,
            _ => {}
        }
        let mut fields = vec![("content-type", "application/json")];
        fields.extend(&self.fields);
        if self.vice == Vice::TwoLengths {
            fields.push(("transfer-encoding", "chunked"));
        }
        let reply = Reply::with(200, &fields, body.to_string());
        match self.vice {
            Vice::ClosesUnannounced => reply.close(),
            Vice::ClosesIdle => reply.pause(ms(1000)).close(),
            _ => reply,
        }
    }

    fn chunk(&self, id: &str, delta: Value, finish: Value) -> String {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        json!({
            "id": id, "object": "chat.completion.chunk", "created": 1, "model": MODEL,
            "choices": [choice],
        })
        .to_string()
    }

    fn stream(&self) -> Reply {
        let kind = match self.vice {
            Vice::StreamAsJson => "application/json",
            _ => "text/event-stream",
        };
        let mut fields = vec![("content-type", kind), ("transfer-encoding", "chunked")];
        fields.extend(&self.fields);
        let head = Reply::head(200, &fields);
        let (mut reply, pace) = match self.vice {
            Vice::StreamHeldBack => (head.pause(PACE * self.tokens as u32), Duration::ZERO),
            _ => (head, PACE),
        };
        let role = json!({"role": "assistant", "content": ""});
        reply = reply.event(&self.chunk("chatcmpl-1", role, Value::Null));
        for number in 0..self.tokens {
            let id = match (self.vice, number) {
                (Vice::ChunksOfTwoIds, 3) => "chatcmpl-2",
                _ => "chatcmpl-1",
            };
            let delta = json!({"content": "word "});
            if !pace.is_zero() {
                reply = reply.pause(pace);
            }
            reply = reply.event(&self.chunk(id, delta, Value::Null));
            match (self.vice, number) {
                (Vice::Stalls, 5) => reply = reply.pause(ms(3500)),
                (Vice::SlowReaderCutOff, 5) => return reply.pause(ms(500)).reset(),
                (Vice::StreamCutInAnEvent, 5) => return reply.chunk("data: {").last_chunk(),
                (Vice::StreamWithStrayLine, 5) => reply = reply.chunk("{\"stray\": 1}\n\n"),
                _ => {}
            }
        }
        let finish = match self.vice {
            Vice::NoFinishReason => Value::Null,
            _ => self.finish(),
        };
        reply = reply.event(&self.chunk("chatcmpl-1", json!({}), finish));
        if self.include_usage {
            let usage = json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                "model": MODEL, "choices": [], "usage": self.usage(),
            });
            reply = reply.event(&usage.to_string());
        }
        match self.vice {
            Vice::StreamWithoutDone => reply.last_chunk(),
            Vice::DoneTwice => reply.event("[DONE]").done(),
            _ => reply.done(),
        }
    }
}
