//! Requests of the suite.

use serde_json::{Value, json};

use super::plan::Plan;
use crate::config::endpoint::authority;

/// What every model has an answer to.
pub const QUESTION: &str = "What is the capital of France? Answer in one word.";

/// What every model has a long answer to.
pub const LONG: &str = "Write the numbers from one to one hundred in words, one per line.";

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Ask {
    method: &'static str,
    /// Behind the endpoint's prefix.
    path: &'static str,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    /// In place of the plan's key.
    key: Option<&'static str>,
}

impl Ask {
    /// Without a body.
    pub fn get(path: &'static str) -> Ask {
        Ask {
            method: "GET",
            path,
            fields: Vec::new(),
            body: None,
            key: None,
        }
    }

    /// With a body of JSON.
    pub fn post(path: &'static str, body: &Value) -> Ask {
        Ask::raw(path, body.to_string().into_bytes())
    }

    /// With a body that is said to be JSON.
    pub fn raw(path: &'static str, body: Vec<u8>) -> Ask {
        Ask {
            method: "POST",
            body: Some(body),
            ..Ask::get(path)
        }
    }

    /// A chat with this body.
    pub fn chat(body: &Value) -> Ask {
        Ask::post("/chat/completions", body)
    }

    /// With one more field.
    pub fn with(mut self, name: &str, value: &str) -> Ask {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another key than the plan's.
    pub fn keyed(mut self, key: &'static str) -> Ask {
        self.key = Some(key);
        self
    }

    /// Head and body, as they are sent.
    pub fn encode(&self, plan: &Plan) -> (Vec<u8>, Vec<u8>) {
        let endpoint = &plan.endpoint;
        let host = authority(endpoint.https, &endpoint.host, endpoint.port);
        let mut head = format!(
            "{} {}{} HTTP/1.1\r\nhost: {host}\r\nuser-agent: srpd-accredit/{}\r\naccept: */*\r\n",
            self.method,
            endpoint.prefix,
            self.path,
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            let length = body.len();
            head.push_str("content-type: application/json\r\n");
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        let mut head = head.into_bytes();
        let key = self.key.map(str::as_bytes);
        if let Some(key) = key.or(plan.key.as_ref().map(|key| key.expose())) {
            head.extend_from_slice(b"authorization: Bearer ");
            head.extend_from_slice(key);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        (head, self.body.clone().unwrap_or_default())
    }

    /// For people: without the key, and without what every request has.
    pub fn describe(&self, plan: &Plan) -> String {
        let mut text = format!("{} {}{}", self.method, plan.endpoint.prefix, self.path);
        for (name, value) in &self.fields {
            text.push_str(&format!("\n{name}: {value}"));
        }
        if let Some(body) = &self.body {
            text.push_str("\n\n");
            text.push_str(&String::from_utf8_lossy(body));
        }
        text
    }
}

/// The members of a chat whose answer has so many tokens at most.
pub fn chat(plan: &Plan, question: &str, max_tokens: usize) -> Value {
    json!({
        "model": plan.model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
    })
}

/// The same, streamed, with its usage.
pub fn streamed(plan: &Plan, question: &str, max_tokens: usize) -> Value {
    let mut body = chat(plan, question, max_tokens);
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    body
}
