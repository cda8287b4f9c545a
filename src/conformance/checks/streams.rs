//! Streams: their framing, their events, their end.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Item, Severity};
use crate::conformance::ask::{Ask, LONG, chat, streamed};
use crate::conformance::events::Events;
use crate::conformance::line::{Answer, Body};
use crate::conformance::probe::{Finding, Not, Probe, demand, expect_status, fail, skip};
use crate::conformance::shape;

/// Tokens of a stream that is looked at.
const TOKENS: usize = 24;

/// A stream that came within that is too short to tell whether it was held back.
const TELLING: Duration = Duration::from_millis(40);

/// Events that came within that came at once.
const AT_ONCE: Duration = Duration::from_millis(2);

/// … and so did those that came in as few pieces as that, which is how a network cuts what was sent
/// at once.
const PIECES: usize = 2;

/// How long the slow reader doesn't read.
const READER_PAUSE: Duration = Duration::from_secs(2);

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "stream.framing",
        title: "A stream is an event stream of JSON, whole to its last line",
        requirement: "SRP section 9: events are relayed as they come; WHATWG HTML section 9.2",
        severity: Severity::Must,
        check: framing,
    },
    Item {
        id: "stream.done",
        title: "A stream ends with `[DONE]`, once and last",
        requirement: "SRP section 6: a stream is a success only at its clean end",
        severity: Severity::Must,
        check: done,
    },
    Item {
        id: "stream.chunks",
        title: "Each event is a chat completion chunk, and the last says why it ended",
        requirement: "OpenAI API, chat completion chunk object",
        severity: Severity::Must,
        check: chunks,
    },
    Item {
        id: "stream.first-event",
        title: "The first event is there before the answer is finished",
        requirement: "SRP section 9: never batched, never held for a timer",
        severity: Severity::Must,
        check: first_event,
    },
    Item {
        id: "stream.include-usage",
        title: "With `include_usage` the last event before `[DONE]` has the usage and no choice",
        requirement: "SRP section 9: token counts come from the provider's `usage`; OpenAI API, `stream_options`",
        severity: Severity::Must,
        check: include_usage,
    },
    Item {
        id: "stream.usage-unasked",
        title: "Without `include_usage` every event has a choice",
        requirement: "OpenAI API, `stream_options`",
        severity: Severity::Should,
        check: usage_unasked,
    },
    Item {
        id: "stream.refusal",
        title: "A stream that can't begin is an HTTP error, and not a 200 with an error event",
        requirement: "SRP section 5: a 200 whose first event is an error counts as the provider's failure",
        severity: Severity::Must,
        check: refusal,
    },
    Item {
        id: "stream.slow-reader",
        title: "A reader that pauses for 2 s gets the rest",
        requirement: "SRP section 9: the next read waits for the client",
        severity: Severity::Must,
        check: slow_reader,
    },
    Item {
        id: "stream.completions",
        title: "A streamed completion, if offered, has its usage and ends as a chat does",
        requirement: "OpenAI API, create completion: `stream`",
        severity: Severity::Must,
        check: completions,
    },
];

fn ask(probe: &Probe<'_>) -> Result<(Answer, Events), Not> {
    probe.stream(&Ask::chat(&streamed(probe.plan, LONG, TOKENS)))
}

fn framing(probe: &Probe<'_>) -> Finding {
    let (answer, events) = ask(probe)?;
    let kind = answer.head.media_type();
    demand(
        kind.eq_ignore_ascii_case("text/event-stream"),
        format!("expected content-type text/event-stream, found {kind:?}"),
    )?;
    if let Some(fault) = events.faults.first() {
        return fail(format!("the event stream is malformed: {fault}"));
    }
    demand(
        !events.events.is_empty(),
        "the stream has no event".to_owned(),
    )?;
    events.chunks()?;
    Ok(format!(
        "{} events, {} comments",
        events.events.len(),
        events.comments
    ))
}

fn done(probe: &Probe<'_>) -> Finding {
    let (_, events) = ask(probe)?;
    demand(
        events.is_done(),
        "`[DONE]` is not the last event, or is there more than once",
    )?;
    Ok("`[DONE]`, then the body's end".to_owned())
}

fn chunks(probe: &Probe<'_>) -> Finding {
    let (_, events) = ask(probe)?;
    let chunks = events.chunks()?;
    let mut reasons = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        let at = |not| match not {
            Not::Passed(why) => Not::Passed(format!("event {}: {why}", index + 1)),
            other => other,
        };
        demand(
            chunk["id"] == chunks[0]["id"],
            format!("event {} has another `id` than the first", index + 1),
        )?;
        if shape::is_usage_only(chunk) {
            continue;
        }
        let choice = shape::chunk(chunk).map_err(at)?;
        reasons += usize::from(choice["finish_reason"].is_string());
    }
    demand(
        chunks.iter().any(shape::says_something),
        "no event says anything",
    )?;
    demand(
        reasons == 1,
        format!("expected one `finish_reason` in the stream, found {reasons}"),
    )?;
    let role = &chunks[0]["choices"][0]["delta"]["role"];
    demand(
        role == "assistant",
        format!("expected the role \"assistant\" in the first event, found {role}"),
    )?;
    Ok(format!("{} chunks of one id", chunks.len()))
}

fn first_event(probe: &Probe<'_>) -> Finding {
    let (_, events) = ask(probe)?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return fail("the stream has no event");
    };
    let seen = format!(
        "first event after {:.0} ms, last after {:.0} ms",
        first.as_secs_f64() * 1e3,
        last.as_secs_f64() * 1e3
    );
    if last < TELLING {
        return skip(format!("too quick to tell: {seen}"));
    }
    let mut pieces: Vec<Duration> = events.events.iter().map(|event| event.at).collect();
    pieces.dedup();
    demand(
        last.saturating_sub(first) > AT_ONCE && pieces.len() > PIECES,
        format!(
            "{} events came in {} pieces: {seen}",
            events.events.len(),
            pieces.len()
        ),
    )?;
    Ok(seen)
}

fn include_usage(probe: &Probe<'_>) -> Finding {
    let (_, events) = ask(probe)?;
    let chunks = events.chunks()?;
    let Some((last, before)) = chunks.split_last() else {
        return fail("the stream has no event");
    };
    demand(
        shape::is_usage_only(last),
        "the last event before `[DONE]` has no usage, or has a choice",
    )?;
    demand(
        !before.iter().any(shape::is_usage_only),
        "there is more than one event of usage",
    )?;
    let usage = shape::usage(last)?;
    Ok(format!("{} + {} tokens", usage.prompt, usage.completion))
}

fn usage_unasked(probe: &Probe<'_>) -> Finding {
    let mut body = chat(probe.plan, LONG, TOKENS);
    body["stream"] = true.into();
    let (_, events) = probe.stream(&Ask::chat(&body))?;
    demand(events.is_done(), "the stream doesn't end with `[DONE]`")?;
    let chunks = events.chunks()?;
    let without = chunks
        .iter()
        .filter(|chunk| chunk["choices"].as_array().is_none_or(Vec::is_empty));
    let count = without.count();
    demand(
        count == 0,
        format!("{count} events have no choice, which older clients stumble over"),
    )?;
    Ok(format!("{} chunks, each with a choice", chunks.len()))
}

fn refusal(probe: &Probe<'_>) -> Finding {
    let body = json!({"model": probe.plan.model, "stream": true, "messages": "none"});
    let answer = probe.ask(&Ask::chat(&body))?;
    shape::error(&answer, &[400, 422]).map(|said| format!("refused with {said}"))
}

fn slow_reader(probe: &Probe<'_>) -> Finding {
    let ask = Ask::chat(&streamed(probe.plan, LONG, TOKENS * 2));
    let (mut request, body) = ask.encode(probe.plan);
    request.extend_from_slice(&body);
    let mut line = probe.open()?;
    line.send(&request)?;
    let sent = Instant::now();
    let head = line.head()?;
    let mut body = Body::of(&head);
    let mut answer = Answer {
        head,
        body: Vec::new(),
        arrivals: Vec::new(),
        took: Duration::ZERO,
    };
    while let Some(piece) = line.piece(&mut body)? {
        answer.body.extend_from_slice(&piece);
        if answer.arrivals.is_empty() {
            thread::sleep(READER_PAUSE);
        }
        answer.arrivals.push((answer.body.len(), sent.elapsed()));
    }
    probe.tell(&ask, String::from_utf8_lossy(&answer.body));
    expect_status(&answer, 200)?;
    let events = Events::read(&answer);
    demand(
        events.is_done(),
        "the rest of the stream didn't come to its end",
    )?;
    Ok(format!(
        "{} events in spite of a pause of {} s",
        events.events.len(),
        READER_PAUSE.as_secs()
    ))
}

fn completions(probe: &Probe<'_>) -> Finding {
    let body = json!({
        "model": probe.plan.model, "prompt": "The capital of France is", "max_tokens": 8,
        "temperature": 0, "stream": true, "stream_options": {"include_usage": true},
    });
    let answer = probe.ask(&Ask::post("/completions", &body))?;
    if let status @ (404 | 405 | 501) = answer.head.status {
        return skip(format!("not offered: /completions is answered {status}"));
    }
    expect_status(&answer, 200)?;
    let events = Events::read(&answer);
    if let Some(fault) = events.faults.first() {
        return fail(format!("the event stream is malformed: {fault}"));
    }
    demand(events.is_done(), "the stream doesn't end with `[DONE]`")?;
    let chunks = events.chunks()?;
    demand(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "text_completion"),
        "expected `object` \"text_completion\" in each event",
    )?;
    demand(
        chunks.iter().any(|chunk| chunk["usage"].is_object()),
        "no event of the stream has `usage`, which was asked for",
    )?;
    Ok(format!("{} events, usage, `[DONE]`", chunks.len()))
}
