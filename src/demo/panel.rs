//! The panel that breaks and mends the embedded upstreams: `POST /demo/NAME/MODE`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

/// How an upstream behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It answers.
    Up,
    /// It answers twenty times slower.
    Slow,
    /// It answers 429, and asks for a pause.
    RateLimited,
    /// It closes every connection, those in use too.
    Down,
}

impl Mode {
    fn parse(word: &str) -> Option<Mode> {
        match word {
            "up" => Some(Mode::Up),
            "slow" => Some(Mode::Slow),
            "429" => Some(Mode::RateLimited),
            "down" => Some(Mode::Down),
            _ => None,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Mode::Up => "up",
            Mode::Slow => "slow",
            Mode::RateLimited => "rate limited",
            Mode::Down => "down",
        }
    }
}

/// A switch for each endpoint, by provider.
#[derive(Default)]
pub struct Panel(BTreeMap<&'static str, Vec<watch::Sender<Mode>>>);

impl Panel {
    /// Adds a provider's next endpoint.
    pub fn add(&mut self, provider: &'static str, switch: watch::Sender<Mode>) {
        self.0.entry(provider).or_default().push(switch);
    }

    /// Switches a provider, or with `NAME-2` its second endpoint only; false if there is none.
    fn switch(&self, name: &str, mode: Mode) -> bool {
        let one = || {
            let (provider, number) = name.rsplit_once('-')?;
            let number = number.parse::<usize>().ok()?.checked_sub(1)?;
            self.0.get(provider)?.get(number..=number)
        };
        let Some(switches) = self.0.get(name).map(Vec::as_slice).or_else(one) else {
            return false;
        };
        for switch in switches {
            switch.send_replace(mode);
        }
        true
    }

    /// A line for each endpoint.
    fn list(&self) -> String {
        let mut text = String::new();
        for (provider, switches) in &self.0 {
            for (at, switch) in switches.iter().enumerate() {
                let number = match switches.len() {
                    1 => String::new(),
                    _ => format!("-{}", at + 1),
                };
                let mode = switch.borrow().label();
                // Writing to a string can't fail.
                let _ = writeln!(text, "{provider}{number}: {mode}");
            }
        }
        text
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, String) {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let done = match (method, words.as_slice()) {
            (&Method::GET, ["demo"]) => true,
            (&Method::POST, ["demo", name, mode]) => {
                Mode::parse(mode).is_some_and(|mode| self.switch(name, mode))
            }
            _ => false,
        };
        if done {
            return (StatusCode::OK, self.list());
        }
        let help = "POST /demo/NAME/down, /slow, /429 or /up, where NAME is one of:\n";
        (StatusCode::NOT_FOUND, format!("{help}{}", self.list()))
    }
}

/// Serves the panel until its runtime ends.
pub async fn serve(listener: TcpListener, panel: Arc<Panel>) {
    let listener = match listen(listener) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("the panel can't listen: {error}");
            return;
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let panel = panel.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (status, text) = panel.answer(request.method(), request.uri().path());
            let mut response = Response::new(Full::<Bytes>::from(text));
            *response.status_mut() = status;
            async move { Ok::<_, Infallible>(response) }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // Its errors are the peer's doing.
        tokio::spawn(async move { drop(serving.await) });
    }
}

/// Gives a bound listener to the runtime.
pub fn listen(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
