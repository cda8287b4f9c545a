//! What happens to the slot of a client that leaves.

use std::thread;
use std::time::Duration;

use super::capacity::{Told, all_served, at_once};
use super::{Item, Severity};
use crate::conformance::ask::{Ask, LONG, chat, streamed};
use crate::conformance::line::{Body, Line};
use crate::conformance::probe::{Finding, Not, Probe, demand, fail};
use crate::conformance::trouble::Trouble;

/// Tokens of the calls that are left: far more than are made until then.
const TOKENS: usize = 1024;

/// Tokens of the calls that show whether there is room.
const SHORT: usize = 4;

/// How much later than in an idle server their first event may be there, beside twice that time.
const GRACE: Duration = Duration::from_secs(1);

/// How long a call for a whole answer is under way before it is left.
const UNDER_WAY: Duration = Duration::from_millis(300);

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "cancel.streams",
        title: "A stream whose client leaves gives its slot back",
        requirement: "SRP section 5: the client's disconnect cancels the attempt at once",
        severity: Severity::Must,
        check: streams,
    },
    Item {
        id: "cancel.whole",
        title: "A call for a whole answer whose client leaves gives its slot back",
        requirement: "SRP section 5: the client's disconnect cancels the attempt at once",
        severity: Severity::Should,
        check: whole,
    },
];

fn streams(probe: &Probe<'_>) -> Finding {
    let ask = Ask::chat(&streamed(probe.plan, LONG, TOKENS));
    let begin = |line: &mut Line| -> Result<(), Trouble> {
        let head = line.head()?;
        let mut body = Body::of(&head);
        let mut begun = Vec::new();
        while !begun.windows(2).any(|two| two == b"\n\n") {
            match line.piece(&mut body)? {
                Some(piece) => begun.extend_from_slice(&piece),
                None => return Err(Trouble::Closed("its first event")),
            }
        }
        Ok(())
    };
    leave(probe, &ask, begin, "after their first event")
}

fn whole(probe: &Probe<'_>) -> Finding {
    let ask = Ask::chat(&chat(probe.plan, LONG, TOKENS));
    let wait = |_: &mut Line| {
        thread::sleep(UNDER_WAY);
        Ok(())
    };
    leave(probe, &ask, wait, "after 300 ms")
}

/// Takes all slots, leaves, and sees whether there is room: how long the first events of short
/// calls take is compared with what they took while nothing else went on.
fn leave(
    probe: &Probe<'_>,
    ask: &Ask,
    under_way: impl Fn(&mut Line) -> Result<(), Trouble>,
    when: &str,
) -> Finding {
    let count = probe.plan.capacity;
    let before = slowest(probe)?;
    let (mut request, body) = ask.encode(probe.plan);
    request.extend_from_slice(&body);
    let mut lines = Vec::new();
    for _ in 0..count {
        let mut line = probe.open()?;
        line.send(&request)?;
        lines.push(line);
    }
    for line in &mut lines {
        under_way(line)?;
    }
    drop(lines);
    probe.tell(ask, format!("({count} such calls were left {when})"));
    let after = slowest(probe)?;
    let seen = format!(
        "{count} calls were left {when}; of {count} that came next, the slowest had its first event after {:.0} ms, {:.0} ms in an idle server",
        after.as_secs_f64() * 1e3,
        before.as_secs_f64() * 1e3
    );
    demand(after <= before * 2 + GRACE, seen.clone())?;
    Ok(seen)
}

/// The latest first event of as many short calls as there are slots.
fn slowest(probe: &Probe<'_>) -> Result<Duration, Not> {
    let body = streamed(probe.plan, LONG, SHORT);
    let served = all_served(at_once(probe, probe.plan.capacity, &body))?;
    let firsts: Option<Vec<Duration>> = served.iter().map(Told::first).collect();
    match firsts.and_then(|firsts| firsts.into_iter().max()) {
        Some(latest) => Ok(latest),
        None => fail("a stream has no event"),
    }
}
