//! Connections and framing, what SRP itself demands, and what all checks together have seen.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::{Item, Severity};
use crate::conformance::ask::{Ask, QUESTION, chat, streamed};
use crate::conformance::events::Events;
use crate::conformance::probe::{Finding, Probe, demand, expect_status, fail, skip};

/// How long a connection is left alone.
const IDLE: Duration = Duration::from_secs(3);

/// How a slow client's body comes.
const SLOW_PIECES: usize = 6;
const SLOW_PAUSE: Duration = Duration::from_millis(500);

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "transport.keep-alive",
        title: "A connection serves several calls, streams among them",
        requirement: "RFC 9112 section 9.3; SRP section 5: a call on a connection that died costs a repeat",
        severity: Severity::Should,
        check: keep_alive,
    },
    Item {
        id: "transport.idle",
        title: "A connection that was idle for 3 s still serves",
        requirement: "SRP section 5: a call on a connection that died costs a repeat",
        severity: Severity::Should,
        check: idle,
    },
    Item {
        id: "transport.slow-body",
        title: "A body that takes 3 s to come is waited for",
        requirement: "RFC 9110 section 15.5.9; large bodies over slow lines",
        severity: Severity::Must,
        check: slow_body,
    },
    Item {
        id: "transport.tls",
        title: "Off loopback it is reached over TLS",
        requirement: "SRP section 3: a border that anybody can listen in on is none",
        severity: Severity::Should,
        check: tls,
    },
    Item {
        id: "srp.residency-field",
        title: "`X-Sovereign-Residency` is accepted and changes nothing",
        requirement: "SRP section 3: every call bears it",
        severity: Severity::Must,
        check: residency,
    },
    Item {
        id: "srp.request-id",
        title: "`x-request-id` of a call is accepted and changes nothing",
        requirement: "SRP section 9",
        severity: Severity::Must,
        check: request_id,
    },
];

/// To be asked last.
pub(super) const SUMMARIES: &[Item] = &[
    Item {
        id: "transport.afterwards",
        title: "After all of this it still serves",
        requirement: "SRP section 4: where all else has failed, the backstop is what is left",
        severity: Severity::Must,
        check: afterwards,
    },
    Item {
        id: "errors.retry-after",
        title: "Every 429 and 503 says when to come again",
        requirement: "SRP section 6: 429 gates the provider until `retry-after`",
        severity: Severity::Should,
        check: retry_after,
    },
    Item {
        id: "transport.framing",
        title: "Every answer was framed as RFC 9112 demands",
        requirement: "RFC 9112 sections 6 and 7; what the proxy's own parser refuses is a failure",
        severity: Severity::Must,
        check: framing,
    },
    Item {
        id: "srp.no-redirect",
        title: "No call was redirected",
        requirement: "SRP section 3: a redirect could lead across the border, and is never followed",
        severity: Severity::Must,
        check: redirects,
    },
    Item {
        id: "transport.request-id",
        title: "Every answer bears an `x-request-id`",
        requirement: "OpenAI API, debugging requests: by it provider and operator talk about a call",
        severity: Severity::Should,
        check: answers_named,
    },
];

fn keep_alive(probe: &Probe<'_>) -> Finding {
    let mut line = probe.open()?;
    let whole = Ask::chat(&chat(probe.plan, QUESTION, 8));
    let stream = Ask::chat(&streamed(probe.plan, QUESTION, 8));
    for (number, ask) in [&whole, &stream, &whole].into_iter().enumerate() {
        let answer = probe.ask_on(&mut line, ask)?;
        expect_status(&answer, 200)?;
        if number < 2 && !answer.head.persistent {
            return fail(format!(
                "the connection is closed behind call {}",
                number + 1
            ));
        }
        if answer.head.media_type() == "text/event-stream" {
            demand(
                Events::read(&answer).is_done(),
                "the stream doesn't end with `[DONE]`",
            )?;
        }
    }
    Ok("whole, streamed, whole: three calls on one connection".to_owned())
}

fn idle(probe: &Probe<'_>) -> Finding {
    let mut line = probe.open()?;
    let ask = Ask::chat(&chat(probe.plan, QUESTION, 8));
    let answer = probe.ask_on(&mut line, &ask)?;
    expect_status(&answer, 200)?;
    if !answer.head.persistent {
        return fail("the connection is closed behind its first call");
    }
    thread::sleep(IDLE);
    expect_status(&probe.ask_on(&mut line, &ask)?, 200)?;
    Ok(format!("served after {} s of silence", IDLE.as_secs()))
}

fn slow_body(probe: &Probe<'_>) -> Finding {
    let ask = Ask::chat(&chat(probe.plan, QUESTION, 8));
    let (head, body) = ask.encode(probe.plan);
    let mut line = probe.open()?;
    let answer = probe.listen(&mut line, &ask, |line| {
        line.send_slowly(&head, &body, SLOW_PIECES, SLOW_PAUSE)
    })?;
    expect_status(&answer, 200)?;
    let took = SLOW_PAUSE * SLOW_PIECES as u32;
    Ok(format!(
        "{} bytes in {SLOW_PIECES} pieces over {} s",
        body.len(),
        took.as_secs()
    ))
}

fn tls(probe: &Probe<'_>) -> Finding {
    let secured = probe.seen().secured.clone();
    secrecy(&probe.plan.endpoint.host, secured)
}

fn secrecy(host: &str, secured: Option<String>) -> Finding {
    if let Some(secured) = secured {
        return Ok(format!(
            "{secured}; the certificate is {host}'s, and trusted"
        ));
    }
    let loopback = host
        .parse::<IpAddr>()
        .map_or(host == "localhost", |address| address.is_loopback());
    match loopback {
        true => skip("plaintext, on loopback"),
        false => fail(format!("{host} is reached in plaintext")),
    }
}

fn residency(probe: &Probe<'_>) -> Finding {
    for value in ["au", "any"] {
        let ask = Ask::chat(&chat(probe.plan, QUESTION, 8)).with("X-Sovereign-Residency", value);
        expect_status(&probe.ask(&ask)?, 200)?;
    }
    Ok("`au` and `any` were answered 200".to_owned())
}

fn request_id(probe: &Probe<'_>) -> Finding {
    let ask = Ask::chat(&chat(probe.plan, QUESTION, 8)).with("x-request-id", "srp-conformance-1");
    expect_status(&probe.ask(&ask)?, 200)?;
    Ok("answered 200".to_owned())
}

fn afterwards(probe: &Probe<'_>) -> Finding {
    let answer = probe.ask(&Ask::chat(&chat(probe.plan, QUESTION, 8)))?;
    expect_status(&answer, 200)?;
    let answers = probe.seen().answers;
    Ok(format!("served after {answers} answers"))
}

fn retry_after(probe: &Probe<'_>) -> Finding {
    let (with, without) = probe.seen().overloads;
    if with + without == 0 {
        return skip("no call was answered 429 or 503");
    }
    demand(
        without == 0,
        format!("{without} of {} without `retry-after`", with + without),
    )?;
    Ok(format!("{with} of {with}"))
}

fn framing(probe: &Probe<'_>) -> Finding {
    let seen = probe.seen();
    match seen.malformed.first() {
        Some(first) => fail(format!("{} malformed: {first}", seen.malformed.len())),
        None => Ok(format!("{} answers were well-formed", seen.answers)),
    }
}

fn redirects(probe: &Probe<'_>) -> Finding {
    let seen = probe.seen();
    match seen.redirects.first() {
        Some(first) => fail(format!("{} redirects: {first}", seen.redirects.len())),
        None => Ok(format!("{} answers, no redirect", seen.answers)),
    }
}

fn answers_named(probe: &Probe<'_>) -> Finding {
    let seen = probe.seen();
    let without = seen.answers - seen.with_request_id;
    demand(
        without == 0,
        format!("{without} of {} answers without", seen.answers),
    )?;
    Ok(format!("{} answers", seen.answers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::probe::Not;

    #[test]
    fn plaintext_is_for_loopback_only() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost"] {
            assert!(matches!(secrecy(host, None), Err(Not::Applicable(_))));
        }
        for host in ["10.0.0.1", "silicon.example", "2001:db8::1"] {
            assert!(matches!(secrecy(host, None), Err(Not::Passed(_))));
            assert!(secrecy(host, Some("TLSv1.3".into())).is_ok());
        }
    }
}
