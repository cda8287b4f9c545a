//! Requests as bytes. Pure; what doesn't change from call to call is prepared.

use crate::prompts;
use crate::scenario::{BLOCK_TOKENS, Class, Endpoint, Shape, block_name};

/// A class's requests to one target.
pub struct Template {
    /// The head, up to the body's length.
    head: Vec<u8>,
    /// The body up to its first text.
    front: Vec<u8>,
    /// Between the shared text and the call's own.
    between: &'static [u8],
    /// Behind the texts, up to `max_tokens`.
    back: &'static [u8],
    /// The members that say that a stream is wanted.
    stream: &'static [u8],
}

impl Template {
    /// Of that class, to the server of that name, below that base.
    pub fn new(class: &Class, authority: &str, base: &str) -> Template {
        let mut head = format!(
            "POST {base}{} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: srpd-load\r\n\
             content-type: application/json\r\naccept: {}\r\n",
            class.endpoint.path(),
            if class.stream {
                "text/event-stream"
            } else {
                "application/json"
            },
        );
        if let Some(key) = &class.key {
            head += &format!("authorization: Bearer {key}\r\n");
        }
        for (name, value) in &class.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "content-length: ";
        let model = serde_json::Value::from(class.model.as_str());
        let (texts, between, back): (&str, &[u8], &[u8]) = match class.endpoint {
            Endpoint::Chat => (
                r#""messages":[{"role":"system","content":""#,
                br#""},{"role":"user","content":""#,
                br#""}]"#,
            ),
            Endpoint::Completions => (r#""prompt":""#, b"", br#"""#),
            Endpoint::Embeddings => (r#""input":""#, b"", br#"""#),
        };
        Template {
            head: head.into_bytes(),
            front: format!(r#"{{"model":{model},{texts}"#).into_bytes(),
            between,
            back,
            stream: match class.stream {
                true => br#","stream":true,"stream_options":{"include_usage":true}"#,
                false => b"",
            },
        }
    }

    /// Writes the call's request into `out`, in place of what is there. `body` is room to work in.
    pub fn write(&self, shape: &Shape<'_>, out: &mut Vec<u8>, body: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(&self.front);
        if let Some((name, tokens)) = shape.prefix {
            prompts::append(body, name, tokens);
        }
        body.extend_from_slice(self.between);
        let (name, mut own) = shape.own;
        for id in shape.blocks {
            let tokens = own.min(BLOCK_TOKENS);
            prompts::append(body, block_name(*id), tokens);
            own -= tokens;
        }
        prompts::append(body, name, own);
        body.extend_from_slice(self.back);
        let mut digits = itoa::Buffer::new();
        if let Some(tokens) = shape.output {
            body.extend_from_slice(b",\"max_tokens\":");
            body.extend_from_slice(digits.format(tokens).as_bytes());
        }
        body.extend_from_slice(self.stream);
        body.push(b'}');

        out.clear();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(digits.format(body.len()).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::Lengths;
    use proptest::prelude::*;

    fn class(endpoint: Endpoint, stream: bool) -> Class {
        Class {
            name: "a".to_owned(),
            weight: 1.0,
            endpoint,
            stream,
            model: "say \"hi\"".to_owned(),
            key: Some("sk-1".to_owned()),
            headers: vec![("X-Sovereign-Supply".to_owned(), "firm".to_owned())],
            prompt: Lengths::Fixed(1),
            output: None,
            prefixes: None,
        }
    }

    fn request(class: &Class, shape: &Shape<'_>) -> (String, serde_json::Value) {
        let (mut out, mut body) = (b"left".to_vec(), Vec::new());
        Template::new(class, "h:1", "/v1").write(shape, &mut out, &mut body);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }

    proptest! {
        #[test]
        fn every_request_is_json_of_the_right_length(
            name: u64, own in 1u32..3000, prefix in prop::option::of((any::<u64>(), 1u32..500)),
            blocks in prop::collection::vec(any::<u64>(), 0..4), output in prop::option::of(1u32..100),
            stream: bool,
        ) {
            let shape = Shape { class: 0, own: (name, own), prefix, blocks: &blocks, output };
            let (_, body) = request(&class(Endpoint::Chat, stream), &shape);
            let length = |at: usize| body["messages"][at]["content"].as_str().unwrap().len() as u32;
            prop_assert_eq!(length(0), prefix.map_or(0, |(_, tokens)| tokens) * 4);
            prop_assert_eq!(length(1), own * 4);
            prop_assert_eq!(body["max_tokens"].as_u64(), output.map(u64::from));
            prop_assert_eq!(body["stream"].as_bool(), stream.then_some(true));
        }
    }

    #[test]
    fn the_head_says_what_the_class_says() {
        let shape = Shape {
            class: 0,
            own: (1, 1),
            prefix: None,
            blocks: &[],
            output: None,
        };
        let (head, body) = request(&class(Endpoint::Completions, false), &shape);
        assert!(head.starts_with("POST /v1/completions HTTP/1.1\r\nhost: h:1\r\n"));
        assert!(head.contains("authorization: Bearer sk-1\r\nX-Sovereign-Supply: firm\r\n"));
        assert_eq!(body["model"], "say \"hi\"");
        let (head, body) = request(&class(Endpoint::Embeddings, false), &shape);
        assert!(head.starts_with("POST /v1/embeddings "));
        assert!(body["input"].is_string());
    }

    #[test]
    fn equal_blocks_make_equal_beginnings() {
        let prompt = |blocks: &[u64], name| {
            let shape = Shape {
                class: 0,
                own: (name, 1100),
                prefix: None,
                blocks,
                output: None,
            };
            let (_, body) = request(&class(Endpoint::Chat, false), &shape);
            body["messages"][1]["content"].as_str().unwrap().to_owned()
        };
        let (one, two) = (prompt(&[7, 8], 1), prompt(&[7, 9], 2));
        assert_eq!(one[..2048], two[..2048]);
        assert_ne!(one[2048..4096], two[2048..4096]);
        assert_ne!(one[4096..], two[4096..]);
    }
}
