//! What a check asks with: it keeps what was sent and received as evidence, and what all checks
//! together have seen.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::ask::Ask;
use super::events::Events;
use super::line::{Answer, Line};
use super::plan::Plan;
use super::trouble::Trouble;

/// Exchanges of one check that are kept.
const KEPT: usize = 6;

/// Characters that are kept of a request and of an answer's body.
const TEXT_MAX: usize = 600;

/// Fields of an answer that are kept: those that a check may be about.
const TOLD: [&str; 8] = [
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "retry-after",
    "x-request-id",
    "location",
    "allow",
];

/// Why a check didn't pass.
#[derive(Debug)]
pub enum Not {
    /// It failed.
    Passed(String),
    /// It doesn't apply.
    Applicable(String),
}

/// What a check finds: what it saw, or why it didn't pass.
pub type Finding = Result<String, Not>;

/// It fails.
pub fn fail<T>(why: impl Into<String>) -> Result<T, Not> {
    Err(Not::Passed(why.into()))
}

/// It doesn't apply.
pub fn skip<T>(why: impl Into<String>) -> Result<T, Not> {
    Err(Not::Applicable(why.into()))
}

/// It fails, unless this holds.
pub fn demand(holds: bool, why: impl Into<String>) -> Result<(), Not> {
    if holds { Ok(()) } else { fail(why) }
}

impl From<Trouble> for Not {
    fn from(trouble: Trouble) -> Not {
        Not::Passed(trouble.to_string())
    }
}

impl From<String> for Not {
    fn from(why: String) -> Not {
        Not::Passed(why)
    }
}

/// One exchange, shortened, without secrets.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// The request: its line, the fields that aren't on every request, its body.
    pub sent: String,
    /// The answer, or why there was none.
    pub received: String,
}

/// What all checks together have seen.
#[derive(Default)]
pub struct Seen {
    /// Answers that were read to their end.
    pub answers: usize,
    /// Of these, how many bore an `x-request-id`.
    pub with_request_id: usize,
    /// What was malformed, in the order in which it was met.
    pub malformed: Vec<String>,
    /// Redirects: what was asked, and the status.
    pub redirects: Vec<String>,
    /// Answers of 429 and 503 with a `retry-after` in seconds or as a date, and without.
    pub overloads: (usize, usize),
    /// How the connections were secured.
    pub secured: Option<String>,
}

/// Where the backstop is, and what has been seen of it.
pub struct Bench<'p> {
    /// What is tested.
    pub plan: &'p Plan,
    /// Where it is.
    pub address: SocketAddr,
    seen: Mutex<Seen>,
}

impl<'p> Bench<'p> {
    /// Nothing seen yet.
    pub fn new(plan: &'p Plan, address: SocketAddr) -> Bench<'p> {
        Bench {
            plan,
            address,
            seen: Mutex::default(),
        }
    }

    /// What has been seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one check asks with.
pub struct Probe<'b> {
    /// What is tested.
    pub plan: &'b Plan,
    bench: &'b Bench<'b>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl<'b> Probe<'b> {
    /// Nothing asked yet.
    pub fn new(bench: &'b Bench<'b>) -> Probe<'b> {
        Probe {
            plan: bench.plan,
            bench,
            exchanges: Mutex::default(),
        }
    }

    /// What all checks have seen.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.bench.seen()
    }

    /// What this check has seen.
    pub fn into_evidence(self) -> Vec<Exchange> {
        self.exchanges
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection.
    pub fn open(&self) -> Result<Line, Trouble> {
        let line = Line::open(self.plan, self.bench.address)?;
        if line.secured.is_some() {
            self.seen().secured.clone_from(&line.secured);
        }
        Ok(line)
    }

    /// Asks on a connection of its own.
    pub fn ask(&self, ask: &Ask) -> Result<Answer, Trouble> {
        self.ask_on(&mut self.open()?, ask)
    }

    /// Asks on this connection.
    pub fn ask_on(&self, line: &mut Line, ask: &Ask) -> Result<Answer, Trouble> {
        let (mut request, body) = ask.encode(self.plan);
        request.extend_from_slice(&body);
        self.listen(line, ask, |line| line.send(&request))
    }

    /// Sends in a way of its own, and reads the answer.
    pub fn listen(
        &self,
        line: &mut Line,
        ask: &Ask,
        send: impl FnOnce(&mut Line) -> Result<(), Trouble>,
    ) -> Result<Answer, Trouble> {
        // A server may answer, and close, before it has read all: its answer counts.
        let sent = send(line);
        let answer = line.answer(Instant::now());
        let answer = match (sent, answer) {
            (Err(unsent), Err(_)) => Err(unsent),
            (_, answer) => answer,
        };
        self.note(ask, &answer);
        answer
    }

    /// A stream, which must be answered 200.
    pub fn stream(&self, ask: &Ask) -> Result<(Answer, Events), Not> {
        let answer = self.ask(ask)?;
        expect_status(&answer, 200)?;
        let events = Events::read(&answer);
        Ok((answer, events))
    }

    /// Keeps an exchange that was made by hand.
    pub fn tell(&self, ask: &Ask, received: impl Into<String>) {
        let sent = self.shorten(&ask.describe(self.plan));
        let received = self.shorten(&received.into());
        let mut exchanges = self
            .exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if exchanges.len() < KEPT {
            exchanges.push(Exchange { sent, received });
        }
    }

    fn note(&self, ask: &Ask, answer: &Result<Answer, Trouble>) {
        let text = match answer {
            Err(trouble) => format!("({trouble})"),
            Ok(answer) => describe(answer),
        };
        self.tell(ask, text);
        let what = ask.describe(self.plan);
        let what = what.lines().next().unwrap_or_default();
        let mut seen = self.seen();
        match answer {
            Err(trouble) if trouble.is_malformed() => {
                seen.malformed.push(format!("{what}: {trouble}"));
            }
            Err(_) => {}
            Ok(answer) => {
                let head = &answer.head;
                seen.answers += 1;
                seen.with_request_id += usize::from(head.field("x-request-id").is_some());
                if (300..400).contains(&head.status) {
                    seen.redirects.push(format!("{what}: {}", head.status));
                }
                if matches!(head.status, 429 | 503) {
                    match head.field("retry-after").is_some_and(is_pause) {
                        true => seen.overloads.0 += 1,
                        false => seen.overloads.1 += 1,
                    }
                }
            }
        }
    }

    /// Without the key, if somebody has echoed it, and not too long.
    fn shorten(&self, text: &str) -> String {
        let key = self.plan.key.as_ref();
        let key = key.and_then(|key| std::str::from_utf8(key.expose()).ok());
        let text = match key.filter(|key| !key.is_empty()) {
            Some(key) => text.replace(key, "[key]"),
            None => text.to_owned(),
        };
        let count = text.chars().count();
        if count <= TEXT_MAX {
            return text;
        }
        // An end says as much as a beginning: streams end with their usage.
        let head: String = text.chars().take(TEXT_MAX * 2 / 3).collect();
        let tail: String = text.chars().skip(count - TEXT_MAX / 3).collect();
        format!("{head} […] {tail}")
    }
}

/// The status, some fields, the body.
fn describe(answer: &Answer) -> String {
    let mut text = answer.head.status.to_string();
    for name in TOLD {
        if let Some(value) = answer.head.field(name) {
            text.push_str(&format!("\n{name}: {value}"));
        }
    }
    text.push_str("\n\n");
    text.push_str(&String::from_utf8_lossy(&answer.body));
    text
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn is_pause(value: &str) -> bool {
    value.parse::<u64>().is_ok() || httpdate::parse_http_date(value).is_ok()
}

/// The answer must have this status.
pub fn expect_status(answer: &Answer, status: u16) -> Result<(), Not> {
    let found = answer.head.status;
    demand(
        found == status,
        format!("expected status {status}, found {found}"),
    )
}
