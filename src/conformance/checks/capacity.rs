//! As many calls at a time as it claims, and a few more.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Item, Severity};
use crate::conformance::ask::{Ask, LONG, streamed};
use crate::conformance::events::Events;
use crate::conformance::line::Answer;
use crate::conformance::probe::{Finding, Not, Probe, demand, fail};
use crate::conformance::shape;
use crate::conformance::trouble::Trouble;

/// Tokens of each stream: enough that all of them can be seen to be under way at once.
const TOKENS: usize = 32;

/// Calls beyond the capacity.
const BEYOND: usize = 2;

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "capacity.streams",
        title: "As many streams as are claimed run at a time, and none stalls",
        requirement: "SRP section 7: a capacity is a number of concurrent calls, and is sold as such",
        severity: Severity::Must,
        check: streams,
    },
    Item {
        id: "capacity.beyond",
        title: "Calls beyond it wait, or are refused with 429 or 503; none is dropped",
        requirement: "SRP sections 2 and 6",
        severity: Severity::Must,
        check: beyond,
    },
];

/// One of several answers that were asked for at the same moment.
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) events: Events,
    /// Since that moment.
    begun: Duration,
}

impl Told {
    /// When its first event was there, since the moment at which all were asked for.
    pub(super) fn first(&self) -> Option<Duration> {
        Some(self.begun + self.events.first()?)
    }

    fn end(&self) -> Duration {
        self.begun + self.answer.took
    }
}

/// Asks for `count` answers at the same moment, each on a connection of its own.
pub(super) fn at_once(probe: &Probe<'_>, count: usize, body: &Value) -> Vec<Result<Told, Trouble>> {
    let barrier = Barrier::new(count);
    let moment = std::sync::OnceLock::new();
    let one = || {
        let line = probe.open();
        barrier.wait();
        let moment: &Instant = moment.get_or_init(Instant::now);
        let begun = moment.elapsed();
        let answer = probe.ask_on(&mut line?, &Ask::chat(body))?;
        let events = Events::read(&answer);
        Ok(Told {
            answer,
            events,
            begun,
        })
    };
    thread::scope(|scope| {
        let asking: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        let told = asking.into_iter().map(|thread| match thread.join() {
            Ok(told) => told,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        told.collect()
    })
}

/// Those that were served, or why one wasn't.
pub(super) fn all_served(told: Vec<Result<Told, Trouble>>) -> Result<Vec<Told>, Not> {
    let count = told.len();
    let mut served = Vec::new();
    for (index, one) in told.into_iter().enumerate() {
        let which = format!("call {} of {count} at a time", index + 1);
        let one = one.map_err(|trouble| Not::Passed(format!("{which}: {trouble}")))?;
        let status = one.answer.head.status;
        demand(
            status == 200,
            format!("{which}: expected status 200, found {status}"),
        )?;
        demand(
            one.events.is_done(),
            format!("{which}: its stream doesn't end with `[DONE]`"),
        )?;
        served.push(one);
    }
    Ok(served)
}

fn streams(probe: &Probe<'_>) -> Finding {
    let plan = probe.plan;
    let body = streamed(plan, LONG, TOKENS);
    let served = all_served(at_once(probe, plan.capacity, &body))?;
    let gap = served.iter().map(|one| one.events.gap()).max();
    let gap = gap.unwrap_or_default();
    demand(
        gap <= plan.stall,
        format!(
            "a stream was silent for {:.1} s, more than {:.1} s",
            gap.as_secs_f64(),
            plan.stall.as_secs_f64()
        ),
    )?;
    let firsts: Option<Vec<Duration>> = served.iter().map(Told::first).collect();
    let Some(last_begun) = firsts.and_then(|firsts| firsts.into_iter().max()) else {
        return fail("a stream has no event");
    };
    let first_ended = served.iter().map(Told::end).min().unwrap_or_default();
    let seen = format!(
        "the last of {} began to answer after {:.0} ms, the first had ended after {:.0} ms, the longest silence was {:.0} ms",
        plan.capacity,
        last_begun.as_secs_f64() * 1e3,
        first_ended.as_secs_f64() * 1e3,
        gap.as_secs_f64() * 1e3
    );
    demand(
        last_begun < first_ended,
        format!("fewer than {} ran at a time: {seen}", plan.capacity),
    )?;
    Ok(seen)
}

fn beyond(probe: &Probe<'_>) -> Finding {
    let count = probe.plan.capacity + BEYOND;
    let body = streamed(probe.plan, LONG, TOKENS / 2);
    let (mut served, mut refused) = (0, 0);
    for (index, one) in at_once(probe, count, &body).into_iter().enumerate() {
        let which = format!("call {} of {count} at a time", index + 1);
        let one = one.map_err(|trouble| Not::Passed(format!("{which}: {trouble}")))?;
        if one.answer.head.status == 200 {
            demand(
                one.events.is_done(),
                format!("{which}: its stream doesn't end with `[DONE]`"),
            )?;
            served += 1;
        } else {
            shape::error(&one.answer, &[429, 503])?;
            refused += 1;
        }
    }
    demand(
        served >= probe.plan.capacity,
        format!("of {count} at a time only {served} were served"),
    )?;
    Ok(format!("{served} served, {refused} refused"))
}
