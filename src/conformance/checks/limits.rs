//! Limits: what a request may be, and what is said when it is more.

use super::{Item, Severity};
use crate::conformance::ask::{Ask, QUESTION, chat};
use crate::conformance::probe::{Finding, Probe, demand, expect_status, fail, skip};
use crate::conformance::shape;

/// Bytes that clients' own fields may have, of which an instance passes on what it is sent.
const HEAD_BYTES: usize = 8 * 1024;

/// Bytes of one field's value.
const FIELD_BYTES: usize = 512;

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "limits.body",
        title: "A body of the size that is claimed is taken",
        requirement: "SRP section 5: 413 goes to the client; pictures in base64 are that large",
        severity: Severity::Must,
        check: body,
    },
    Item {
        id: "limits.head",
        title: "A head with 8 KiB of clients' own fields is taken",
        requirement: "SRP section 9: what an instance doesn't know is passed on",
        severity: Severity::Must,
        check: head,
    },
    Item {
        id: "limits.context",
        title: "A prompt beyond the model's context is 400",
        requirement: "SRP section 5: another status would count as the provider's failure; nor is a prompt to be cut unseen",
        severity: Severity::Must,
        check: context,
    },
];

fn body(probe: &Probe<'_>) -> Finding {
    let size = probe.plan.body_bytes;
    let mut text = chat(probe.plan, QUESTION, 8).to_string();
    // White space between members is no token to any model (RFC 8259 section 2).
    let padding = size.saturating_sub(text.len());
    text.insert_str(1, &" ".repeat(padding));
    let answer = probe.ask(&Ask::raw("/chat/completions", text.into_bytes()))?;
    expect_status(&answer, 200)?;
    Ok(format!("{size} bytes were taken"))
}

fn head(probe: &Probe<'_>) -> Finding {
    let mut ask = Ask::chat(&chat(probe.plan, QUESTION, 8))
        .with("OpenAI-Beta", "assistants=v2")
        .with(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    for number in 0..HEAD_BYTES / FIELD_BYTES {
        let name = format!("X-Srp-Conformance-{number}");
        ask = ask.with(&name, &"x".repeat(FIELD_BYTES - name.len()));
    }
    let answer = probe.ask(&ask)?;
    expect_status(&answer, 200)?;
    Ok(format!("{HEAD_BYTES} bytes of fields were passed over"))
}

fn context(probe: &Probe<'_>) -> Finding {
    let Some(context) = probe.plan.context else {
        return skip("the context's size is not given (--context)");
    };
    // A word is a token at least.
    let words = context + context / 4 + 16;
    let answer = probe.ask(&Ask::chat(&chat(probe.plan, &"one ".repeat(words), 8)))?;
    if answer.head.status == 200 {
        let usage = shape::usage(&shape::json(&answer)?)?;
        demand(
            usage.prompt as usize > context,
            format!(
                "a prompt of {words} words was cut to {} tokens, and nobody was told",
                usage.prompt
            ),
        )?;
        return fail(format!(
            "a prompt of {} tokens was answered: the context is larger than {context}",
            usage.prompt
        ));
    }
    shape::error(&answer, &[400])
}
