//! `srpd drain` and `srpd endpoints`: what asks a running instance's admin plane; and how.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::Failure;

/// How long the admin plane has for each step.
const WITHIN: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What `srpd endpoints --help` shows at its end.
pub(super) const ENDPOINTS: &str = "\
Examples:
  srpd endpoints
  srpd endpoints --admin 127.0.0.1:9091 | grep -v ' up$'

Exit status:
  0   the instance has answered
  1   it hasn't
  64  arguments that make no sense (EX_USAGE)";

/// What `srpd drain --help` shows at its end.
pub(super) const DRAIN: &str = "\
Examples:
  srpd drain fleet-per http://10.0.0.1:8000
  srpd drain fleet-per http://10.0.0.1:8000 --undo

Exit status:
  0   the endpoint gets no new calls, or gets them again
  1   there is no such endpoint, or the instance hasn't answered
  64  arguments that make no sense (EX_USAGE)";

/// Where the instance is.
#[derive(Clone, clap::Args)]
pub(super) struct Instance {
    /// The instance's admin plane, `instance.admin` of its configuration
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

/// Give an endpoint no new calls; those that it has go on
///
/// What is under way is finished, idle connections are closed. It holds across reloads, until
/// `--undo` or a restart.
#[derive(clap::Args)]
pub(super) struct Drain {
    /// The provider's name
    provider: String,
    /// The endpoint, as `srpd endpoints` lists it
    endpoint: String,
    /// Give it new calls again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    instance: Instance,
}

/// List the endpoints that a running instance has, and how they are
#[derive(clap::Args)]
pub(super) struct Endpoints {
    #[command(flatten)]
    instance: Instance,
}

pub(super) fn drain(arguments: &Drain, out: &mut dyn Write) -> Result<(), Failure> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("provider", &arguments.provider)
        .append_pair("endpoint", &arguments.endpoint)
        .finish();
    let action = if arguments.undo { "undrain" } else { "drain" };
    let answer = ask(
        &arguments.instance,
        "POST",
        &format!("/srp/v1/{action}?{query}"),
        None,
    )?;
    let state = match (arguments.undo, answer["changed"] == true) {
        (false, true) => "draining: its calls go on, it gets no new ones",
        (false, false) => "was draining already",
        (true, true) => "gets calls again",
        (true, false) => "was not draining",
    };
    writeln!(
        out,
        "{} {}: {state}",
        arguments.provider, arguments.endpoint
    )?;
    Ok(())
}

pub(super) fn endpoints(arguments: &Endpoints, out: &mut dyn Write) -> Result<(), Failure> {
    let page = ask(&arguments.instance, "GET", "/srp/v1/providers", None)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for provider in list(&page["providers"]) {
        let name = provider["name"].as_str().unwrap_or_default();
        for endpoint in list(&provider["endpoints"]) {
            let url = endpoint["url"].as_str().unwrap_or_default();
            writeln!(out, "{name} {url} {}", state(&endpoint))?;
        }
        for refused in list(&provider["refused"]) {
            let url = refused["endpoint"].as_str().unwrap_or_default();
            let why = refused["why"].as_str().unwrap_or_default();
            writeln!(out, "{name} {url} refused: {why}")?;
        }
    }
    Ok(())
}

/// How an endpoint is, in a word.
fn state(endpoint: &Value) -> String {
    let breaker = endpoint["breaker"].as_str();
    let health = &endpoint["health"];
    if endpoint["draining"] == true {
        return "draining".to_owned();
    }
    if endpoint["addresses"].as_array().is_none_or(Vec::is_empty) {
        return "without an address".to_owned();
    }
    if health["ready"] == false {
        let trouble = health["trouble"].as_str().unwrap_or("not checked yet");
        return format!("not ready: {trouble}");
    }
    match breaker {
        Some("closed") if endpoint["gated_ms"].is_u64() => "paused".to_owned(),
        Some("closed") => "up".to_owned(),
        Some(breaker) => format!("breaker {breaker}"),
        None => "without an id".to_owned(),
    }
}

/// Asks the admin plane, with a body in JSON if there is one; its answer, if that is a success.
pub(super) fn ask(
    instance: &Instance,
    method: &str,
    target: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Instance(format!("the admin plane at {}: {error}", instance.admin))
    };
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&instance.admin, WITHIN)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        let host = instance.admin;
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        match body.map(Value::to_string) {
            Some(body) => request.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )),
            None => request.push_str("\r\n"),
        }
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| failed(&error))?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(&answer) {
        Ok(httparse::Status::Complete(length)) => length,
        _ => return Err(failed(&"no answer of HTTP/1.1")),
    };
    let body: Value =
        serde_json::from_slice(&answer[length..]).map_err(|_| failed(&"no answer in JSON"))?;
    match head.code {
        Some(200 | 201) => Ok(body),
        code => {
            let message = body["error"]["message"]
                .as_str()
                .unwrap_or("no reason given");
            Err(failed(&format!("{}: {message}", code.unwrap_or_default())))
        }
    }
}
