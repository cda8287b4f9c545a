//! Token counts: what is billed.

use super::{Item, Severity};
use crate::conformance::ask::{Ask, LONG, QUESTION, chat, streamed};
use crate::conformance::probe::{Finding, Not, Probe, demand, expect_status, fail};
use crate::conformance::shape::{self, Usage};

/// Tokens of the answers that are counted.
const TOKENS: usize = 16;

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "usage.whole",
        title: "A whole answer has its token counts, and they add up",
        requirement: "SRP section 9: token counts come from the provider's `usage`, and are never estimated",
        severity: Severity::Must,
        check: whole,
    },
    Item {
        id: "usage.streamed",
        title: "The same question costs the same, whole and streamed",
        requirement: "SRP section 9: one call is one unit, whatever its form",
        severity: Severity::Must,
        check: same_streamed,
    },
    Item {
        id: "usage.prompt",
        title: "A longer prompt has more tokens, and hardly more than its bytes",
        requirement: "SRP section 9: what is billed is plausible",
        severity: Severity::Must,
        check: prompt,
    },
    Item {
        id: "usage.events",
        title: "A stream doesn't have fewer tokens than events that say something",
        requirement: "SRP section 9: what is billed is plausible",
        severity: Severity::Should,
        check: events,
    },
];

fn asked(probe: &Probe<'_>, question: &str) -> Result<Usage, Not> {
    let answer = probe.ask(&Ask::chat(&chat(probe.plan, question, TOKENS)))?;
    expect_status(&answer, 200)?;
    shape::usage(&shape::json(&answer)?)
}

fn streamed_usage(probe: &Probe<'_>) -> Result<(Usage, usize), Not> {
    let ask = Ask::chat(&streamed(probe.plan, LONG, TOKENS));
    let (_, events) = probe.stream(&ask)?;
    let chunks = events.chunks()?;
    let saying = chunks.iter().filter(|chunk| shape::says_something(chunk));
    let count = saying.count();
    match chunks.iter().rfind(|chunk| chunk["usage"].is_object()) {
        Some(last) => Ok((shape::usage(last)?, count)),
        None => fail("no event of the stream has `usage`"),
    }
}

fn whole(probe: &Probe<'_>) -> Finding {
    let usage = asked(probe, QUESTION)?;
    demand(usage.prompt > 0, "a prompt of no tokens")?;
    demand(usage.completion > 0, "an answer of no tokens")?;
    Ok(format!("{} + {} tokens", usage.prompt, usage.completion))
}

fn same_streamed(probe: &Probe<'_>) -> Finding {
    let whole = asked(probe, LONG)?;
    let (streamed, _) = streamed_usage(probe)?;
    demand(
        whole.prompt == streamed.prompt,
        format!(
            "the prompt has {} tokens whole, {} streamed",
            whole.prompt, streamed.prompt
        ),
    )?;
    // At temperature 0 and cut by max_tokens, even an answer that differs is as long.
    demand(
        whole.completion.abs_diff(streamed.completion) <= 2,
        format!(
            "the answer has {} tokens whole, {} streamed",
            whole.completion, streamed.completion
        ),
    )?;
    Ok(format!(
        "{} + {} tokens whole, {} + {} streamed",
        whole.prompt, whole.completion, streamed.prompt, streamed.completion
    ))
}

fn prompt(probe: &Probe<'_>) -> Finding {
    const WORDS: usize = 40;
    let long = format!("{QUESTION}{}", " Please be brief.".repeat(WORDS / 2));
    let short = asked(probe, QUESTION)?.prompt;
    let longer = asked(probe, &long)?.prompt;
    let added = (long.len() - QUESTION.len()) as u64;
    demand(
        longer > short + WORDS as u64 / 2,
        format!("{short} tokens, and {longer} with {added} more bytes"),
    )?;
    demand(
        longer - short <= added,
        format!("{added} more bytes are {} more tokens", longer - short),
    )?;
    Ok(format!("{short} tokens, {longer} with {added} more bytes"))
}

fn events(probe: &Probe<'_>) -> Finding {
    let (usage, saying) = streamed_usage(probe)?;
    let seen = format!(
        "{saying} events that say something, {} tokens",
        usage.completion
    );
    demand(saying as u64 <= usage.completion + 1, seen.clone())?;
    Ok(seen)
}
