//! Request smuggling and response splitting, as a corpus: whatever a client sends is refused, or
//! reaches a provider as exactly one message that can be read in one way only; whatever a
//! provider sends reaches the client that asked, or nobody.

mod crowd;
mod requests;
mod responses;
mod strangers;
mod vectors;

use crate::support::{Ask, Request};

/// A call that says whose it is, so that each answer can be told from every other.
fn call_of(user: &str) -> Ask {
    Ask::post("/v1/chat/completions", body_of(user))
}

fn body_of(user: &str) -> String {
    format!(r#"{{"model":"smart","user":"{user}"}}"#)
}

/// Whose call it is, wherever that stands in its body.
fn user_of(request: &Request) -> String {
    let text = String::from_utf8_lossy(&request.body);
    let user = text.split_once(r#""user":""#).map(|(_, rest)| rest);
    let user = user.and_then(|rest| rest.split('"').next());
    user.unwrap_or("nobody").to_owned()
}
