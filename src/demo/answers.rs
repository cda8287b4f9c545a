//! Plausible answers in OpenAI's shapes: chat, completions, embeddings, responses, whole and
//! streamed. Pure: the same question and seed give the same answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::question::Question;
use crate::base::Prng;

const OPENINGS: [&str; 6] = [
    "Good question.",
    "Certainly.",
    "Happy to help.",
    "Let's take it step by step.",
    "In short: it depends, but mostly yes.",
    "Here is how I would put it.",
];

const MIDDLES: [&str; 8] = [
    "The usual approach is to start from what must not fail and to work outwards from there.",
    "Most of the cost lies in waiting, so the first thing to look at is where time goes.",
    "Two things matter here: where the data may go, and who answers when the first choice can't.",
    "A small experiment will tell you more than a long discussion.",
    "What looks like one problem is really three, and the second is the easiest to solve.",
    "If you keep the parts apart, each of them stays simple enough to be checked by hand.",
    "It helps to write down the figures first; intuition is a poor guide to orders of magnitude.",
    "The exceptions are few, and each of them has a name.",
];

const CLOSINGS: [&str; 5] = [
    "Shall I go into detail?",
    "That covers the main points.",
    "Ask me again tomorrow, and I might put it differently.",
    "The rest follows from there.",
    "I hope that is of use.",
];

/// One server-sent event, and whether it brings a token (and so takes time to make).
#[derive(Debug)]
pub struct Event {
    /// The event's bytes, blank line included.
    pub bytes: Bytes,
    /// Whether a model would have had to think for it.
    pub token: bool,
}

/// An answer to one question.
pub struct Answer {
    id: u64,
    /// Seconds since 1970.
    created: u64,
    model: String,
    /// Each with the white space in front of it.
    tokens: Vec<String>,
    prompt_tokens: usize,
    finish: &'static str,
    include_usage: bool,
}

impl Answer {
    /// An answer signed by `who` serves it, so that a reader sees where a call went.
    pub fn new(question: &Question, who: &str, created: u64, prng: &mut Prng) -> Answer {
        let mut pick = |from: &[&'static str]| from[prng.next_u64() as usize % from.len()];
        let quoted = if question.text.is_empty() {
            String::new()
        } else {
            format!(" You asked: “{}”", question.text)
        };
        let text = format!(
            "{}{quoted} {} {} {} — {}, served by {who}",
            pick(&OPENINGS),
            pick(&MIDDLES),
            pick(&MIDDLES),
            pick(&CLOSINGS),
            question.model,
        );
        let mut tokens: Vec<String> = text.split(' ').map(|word| format!(" {word}")).collect();
        tokens[0].remove(0);
        let finish = if tokens.len() > question.tokens_max {
            "length"
        } else {
            "stop"
        };
        tokens.truncate(question.tokens_max);
        Answer {
            id: prng.next_u64(),
            created,
            model: question.model.clone(),
            tokens,
            prompt_tokens: question.prompt_tokens,
            finish,
            include_usage: question.include_usage,
        }
    }

    /// How many tokens it has.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    fn text(&self) -> String {
        self.tokens.concat()
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens.len(),
            "total_tokens": self.prompt_tokens + self.tokens.len(),
        })
    }

    /// `chat.completion`
    pub fn chat(&self) -> Value {
        json!({
            "id": format!("chatcmpl-{:016x}", self.id),
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.text(), "refusal": null},
                "logprobs": null,
                "finish_reason": self.finish,
            }],
            "usage": self.usage(),
        })
    }

    /// `chat.completion.chunk` events.
    pub fn chat_events(&self) -> Vec<Event> {
        let choice = |delta: Value, finish: Option<&str>| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        let first = choice(json!({"role": "assistant", "content": ""}), None);
        let tokens = self.tokens.iter();
        let tokens = tokens.map(|token| choice(json!({"content": token}), None));
        let last = choice(json!({}), Some(self.finish));
        let id = format!("chatcmpl-{:016x}", self.id);
        self.choice_events(&id, "chat.completion.chunk", Some(first), tokens, last)
    }

    /// `text_completion`
    pub fn completion(&self) -> Value {
        json!({
            "id": format!("cmpl-{:016x}", self.id),
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [self.text_choice(&self.text(), Some(self.finish))],
            "usage": self.usage(),
        })
    }

    /// `text_completion` events.
    pub fn completion_events(&self) -> Vec<Event> {
        let tokens = self.tokens.iter();
        let tokens = tokens.map(|token| json!([self.text_choice(token, None)]));
        let last = json!([self.text_choice("", Some(self.finish))]);
        let id = format!("cmpl-{:016x}", self.id);
        self.choice_events(&id, "text_completion", None, tokens, last)
    }

    fn text_choice(&self, text: &str, finish: Option<&str>) -> Value {
        json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
    }

    /// The events of a stream of choices: an opening one, one a token, the end, the usage if it
    /// was asked for, `[DONE]`.
    fn choice_events(
        &self,
        id: &str,
        object: &str,
        first: Option<Value>,
        tokens: impl Iterator<Item = Value>,
        last: Value,
    ) -> Vec<Event> {
        let chunk = |choices: Value, usage: Value, token: bool| {
            let mut chunk = json!({
                "id": id, "object": object, "created": self.created, "model": self.model,
                "choices": choices,
            });
            if self.include_usage {
                chunk["usage"] = usage;
            }
            data_event(&chunk.to_string(), token)
        };
        let mut events: Vec<Event> = first
            .map(|first| chunk(first, Value::Null, false))
            .into_iter()
            .collect();
        events.extend(tokens.map(|choices| chunk(choices, Value::Null, true)));
        events.push(chunk(last, Value::Null, false));
        if self.include_usage {
            events.push(chunk(json!([]), self.usage(), false));
        }
        events.push(data_event("[DONE]", false));
        events
    }

    /// A finished `response`.
    pub fn response(&self) -> Value {
        let status = match self.finish {
            "length" => "incomplete",
            _ => "completed",
        };
        self.response_in(status, json!([self.message("completed")]))
    }

    fn message(&self, status: &str) -> Value {
        json!({
            "type": "message",
            "id": format!("msg_{:016x}", self.id),
            "status": status,
            "role": "assistant",
            "content": if status == "completed" { json!([self.part(&self.text())]) } else { json!([]) },
        })
    }

    fn part(&self, text: &str) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }

    fn response_in(&self, status: &str, output: Value) -> Value {
        let usage = (status != "in_progress").then(|| {
            json!({
                "input_tokens": self.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self.tokens.len(),
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.prompt_tokens + self.tokens.len(),
            })
        });
        let reason = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        json!({
            "id": format!("resp_{:016x}", self.id),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": reason,
            "instructions": null,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage,
        })
    }

    /// The events of a streamed `response`.
    pub fn response_events(&self) -> Vec<Event> {
        let mut stream = ResponseStream::default();
        let started = self.response_in("in_progress", json!([]));
        let item = format!("msg_{:016x}", self.id);
        let at = |mut body: Value| {
            body["item_id"] = item.clone().into();
            body["output_index"] = 0.into();
            body["content_index"] = 0.into();
            body
        };
        stream.push("response.created", json!({"response": started}), false);
        stream.push("response.in_progress", json!({"response": started}), false);
        let added = json!({"output_index": 0, "item": self.message("in_progress")});
        stream.push("response.output_item.added", added, false);
        let part = at(json!({"part": self.part("")}));
        stream.push("response.content_part.added", part, false);
        for token in &self.tokens {
            let delta = at(json!({"delta": token, "logprobs": []}));
            stream.push("response.output_text.delta", delta, true);
        }
        let text = at(json!({"text": self.text(), "logprobs": []}));
        stream.push("response.output_text.done", text, false);
        let part = at(json!({"part": self.part(&self.text())}));
        stream.push("response.content_part.done", part, false);
        let done = json!({"output_index": 0, "item": self.message("completed")});
        stream.push("response.output_item.done", done, false);
        let last = match self.finish {
            "length" => "response.incomplete",
            _ => "response.completed",
        };
        stream.push(last, json!({"response": self.response()}), false);
        stream.0
    }
}

#[derive(Default)]
struct ResponseStream(Vec<Event>);

impl ResponseStream {
    fn push(&mut self, kind: &str, mut body: Value, token: bool) {
        body["type"] = kind.into();
        body["sequence_number"] = self.0.len().into();
        self.0.push(Event {
            bytes: format!("event: {kind}\ndata: {body}\n\n").into(),
            token,
        });
    }
}

fn data_event(data: &str, token: bool) -> Event {
    Event {
        bytes: format!("data: {data}\n\n").into(),
        token,
    }
}

/// The list of an upstream's models.
pub fn models(names: &[&str], owner: &str) -> Value {
    let models = names
        .iter()
        .map(|name| json!({"id": name, "object": "model", "created": 0, "owned_by": owner}));
    json!({"object": "list", "data": models.collect::<Vec<Value>>()})
}

/// Embeddings of unit length; like texts have like numbers only if they are equal.
pub fn embeddings(question: &Question) -> Value {
    let data: Vec<Value> = question
        .inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, question.dimensions);
            let embedding = if question.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                STANDARD.encode(bytes).into()
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    json!({
        "object": "list",
        "data": data,
        "model": question.model,
        "usage": {
            "prompt_tokens": question.prompt_tokens,
            "total_tokens": question.prompt_tokens,
        },
    })
}

fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let seed = text
        .bytes()
        .fold(14_695_981_039_346_656_037_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211) // FNV-1a
        });
    let mut prng = Prng::new(seed);
    let raw: Vec<f64> = (0..dimensions).map(|_| prng.unit() - 0.5).collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    raw.iter().map(|x| (x / length) as f32).collect()
}

/// An error body in OpenAI's shape.
pub fn error(message: &str, kind: &str, code: Option<&str>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(tokens_max: usize, seed: u64) -> Answer {
        let body = json!({
            "model": "frontier-1", "max_tokens": tokens_max, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        });
        let question = Question::read("/v1/x", body.to_string().as_bytes()).unwrap();
        Answer::new(&question, "vendor-us (us)", 1, &mut Prng::new(seed))
    }

    fn data(event: &Event) -> Value {
        let text = std::str::from_utf8(&event.bytes).unwrap();
        assert!(text.ends_with("\n\n"));
        let line = text.lines().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(line.unwrap()).unwrap_or_default()
    }

    #[test]
    fn a_stream_says_what_the_whole_answer_says() {
        let answer = answer(400, 1);
        let whole = answer.chat();
        let events = answer.chat_events();
        let streamed: String = events
            .iter()
            .filter_map(|event| {
                let chunk = data(event);
                let delta = chunk["choices"][0]["delta"]["content"].as_str();
                delta.map(str::to_owned)
            })
            .collect();
        assert_eq!(whole["choices"][0]["message"]["content"], streamed);
        assert!(streamed.contains("Why is the sky blue?"));
        assert!(streamed.ends_with("frontier-1, served by vendor-us (us)"));
        let usage = data(&events[events.len() - 2]);
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"], whole["usage"]);
        assert_eq!(events[events.len() - 1].bytes, "data: [DONE]\n\n");
    }

    #[test]
    fn responses_are_numbered_and_end_completed() {
        let events = answer(400, 2).response_events();
        for (at, event) in events.iter().enumerate() {
            assert_eq!(data(event)["sequence_number"], at);
        }
        let last = data(events.last().unwrap());
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last["response"], answer(400, 2).response());
    }

    #[test]
    fn a_bound_cuts_the_answer_and_says_so() {
        let cut = answer(3, 1);
        assert_eq!(cut.token_count(), 3);
        assert_eq!(cut.chat()["choices"][0]["finish_reason"], "length");
        assert_eq!(cut.completion()["usage"]["completion_tokens"], 3);
        let last = cut.response_events().pop().unwrap();
        assert_eq!(data(&last)["type"], "response.incomplete");
    }

    #[test]
    fn answers_vary() {
        let texts: std::collections::HashSet<String> =
            (0..20).map(|seed| answer(400, seed).text()).collect();
        assert!(texts.len() > 10, "{}", texts.len());
    }

    #[test]
    fn embeddings_are_the_same_in_both_encodings() {
        let read = |format: &str| {
            let body = json!({"model": "m", "input": ["x", "y"], "encoding_format": format});
            embeddings(&Question::read("/v1/x", body.to_string().as_bytes()).unwrap())
        };
        let (plain, packed) = (read("float"), read("base64"));
        for index in 0..2 {
            let numbers: Vec<f32> =
                serde_json::from_value(plain["data"][index]["embedding"].clone()).unwrap();
            let length: f32 = numbers.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-3);
            let bytes = packed["data"][index]["embedding"].as_str().unwrap();
            let bytes = STANDARD.decode(bytes).unwrap();
            let unpacked: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
                .collect();
            assert_eq!(unpacked, numbers);
        }
    }
}
