//! One try at one endpoint, up to its commit point: connect or reuse, send, read until a
//! response can be judged. Nothing here has touched the client.

use std::io;
use std::time::Duration;

use super::core::Core;
use super::handshake;
use super::inbound::{Inbound, Kind, Patience};
use super::message::{Edit, Message, Order, compose};
use super::settle::Attempt;
use super::verdict::Verdict;
use crate::base::Moment;
use crate::net::stream::is_own_shortage;
use crate::net::{ClientTls, Conn, Ends, Recycled, turn};
use crate::openai::fault::{Fault, read_fault};
use crate::openai::{First, Usage, first_event, inspect_json};
use crate::policy::limits::Timeouts;

/// A response that isn't complete is committed to when this much of it is in hand (SRP section 5).
pub const COMMIT_BYTES: usize = 64 * 1024;

/// A response in hand that the client may have.
pub struct Served {
    /// The response, with what has been read of it.
    pub inbound: Recycled<Inbound>,
    /// What it will count as if it ends cleanly.
    pub verdict: Verdict,
    /// The usage that a complete body reported.
    pub usage: Option<Usage>,
}

/// Makes the try. The error is what the attempt is to be ended with.
pub async fn make(
    core: &Core,
    attempt: &Attempt<'_>,
    order: &Order<'_>,
    edits: &[Edit<'_>],
    call_until: Moment,
) -> Result<Served, Verdict> {
    let timeouts = &attempt.provider().timeouts;
    let (mut conn, reused) = match pooled(core, attempt) {
        Some(conn) => (conn, true),
        // Boxed: connecting is rare, and would double what every connection keeps in memory.
        None => {
            let connecting = Box::pin(connect(core, attempt, timeouts, call_until));
            (connecting.await?, false)
        }
    };
    let patience = Patience {
        until: core.recently() + timeouts.first_byte,
        call_until,
    };
    conn.deadline.set(patience.ends(), Ends::All);
    // That not all of it could be sent is no verdict yet: a provider may answer before it has read
    // everything, and close. Then the answer counts.
    let _ = match compose(order, attempt, edits) {
        Message::Flat(mut buffer) => conn.writer.send_from(&mut buffer).await,
        Message::Pieces(pieces) => conn.writer.send_pieces(pieces).await,
    };
    let in_time = |verdict| late(core, call_until, verdict);
    let inbound = Inbound::begin(conn, reused, patience)
        .await
        .map_err(in_time)?;
    judge(core, attempt, inbound, patience)
        .await
        .map_err(in_time)
}

/// A wait that ended with the whole call's time says nothing about the provider, nor does one that
/// ended on a core that is behind: its breakers would open for everybody, and keep away what would
/// have been served.
fn late(core: &Core, call_until: Moment, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::TimedOut | Verdict::Stalled | Verdict::Connect if core.now() >= call_until => {
            Verdict::Deadline
        }
        Verdict::TimedOut | Verdict::Stalled if core.pace.was_late() => Verdict::OwnShortage,
        verdict => verdict,
    }
}

/// A connection of the pool's, if one is alive and may be used.
fn pooled(core: &Core, attempt: &Attempt<'_>) -> Option<Conn> {
    if attempt.fresh() {
        return None;
    }
    let endpoint = attempt.endpoint();
    let trust = endpoint.tls.as_ref().map(ClientTls::trust);
    let conn = core
        .pool
        .borrow_mut()
        .take(endpoint.id, &endpoint.addresses, trust)?;
    core.metrics.pool_reused();
    Some(conn)
}

async fn connect(
    core: &Core,
    attempt: &Attempt<'_>,
    timeouts: &Timeouts,
    call_until: Moment,
) -> Result<Conn, Verdict> {
    let endpoint = attempt.endpoint();
    for &address in &endpoint.addresses {
        let left = call_until.since(core.now());
        if left == Duration::ZERO {
            return Err(Verdict::Deadline);
        }
        match handshake::call_on(core, attempt, address, timeouts.connect.min(left)).await {
            Ok(conn) => {
                core.metrics.pool_opened();
                return Ok(conn);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && timeouts.connect >= left => {
                return Err(Verdict::Deadline);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && core.pace.was_late() => {
                return Err(Verdict::OwnShortage);
            }
            Err(error) if is_own_shortage(&error) => return Err(Verdict::OwnShortage),
            Err(_) => {}
        }
    }
    Err(Verdict::Connect)
}

/// Reads up to the commit point, and judges what is there.
async fn judge(
    core: &Core,
    attempt: &Attempt<'_>,
    mut inbound: Recycled<Inbound>,
    patience: Patience,
) -> Result<Served, Verdict> {
    let timeouts = &attempt.provider().timeouts;
    attempt.answered(inbound.status);
    if (200..300).contains(&inbound.status) && inbound.kind == Kind::Events {
        return first_of_stream(core, inbound, patience, timeouts).await;
    }
    while !inbound.done && inbound.buffer.len() < COMMIT_BYTES {
        let patience = next_patience(core, &inbound, patience, timeouts);
        inbound.more(patience).await?;
    }
    match inbound.status {
        200..300 => {
            let mut usage = None;
            // A 204 is whole without a body, whatever type it claims.
            if inbound.done && inbound.kind == Kind::Json && inbound.status != 204 {
                usage = inspect_json(inbound.buffer.readable()).map_err(|_| Verdict::Invalid)?;
            }
            Ok(Served {
                inbound,
                verdict: Verdict::Succeeded,
                usage,
            })
        }
        _ => match refusal(&inbound) {
            Verdict::ClientError => Ok(Served {
                inbound,
                verdict: Verdict::ClientError,
                usage: None,
            }),
            verdict => {
                // A failure that came as a whole response leaves a usable connection, unless more
                // came behind it: a turn tells.
                inbound.watch();
                turn::pass().await;
                core.keep(attempt.endpoint().id, inbound);
                Err(verdict)
            }
        },
    }
}

fn next_patience(core: &Core, inbound: &Inbound, first: Patience, timeouts: &Timeouts) -> Patience {
    match inbound.received {
        0 => first,
        _ => Patience {
            until: core.recently() + timeouts.stream_idle,
            ..first
        },
    }
}

/// What a status other than 2xx means (SRP section 5).
fn refusal(inbound: &Inbound) -> Verdict {
    let fault = read_fault(inbound.buffer.readable());
    match (inbound.status, fault) {
        (402, _) | (400..=499, Some(Fault::QuotaExhausted)) => Verdict::QuotaExhausted,
        (300..=399 | 401 | 403, _) => Verdict::Credential,
        (404, Some(Fault::UnknownModel)) => Verdict::UnknownModel,
        (429, _) => Verdict::RateLimited {
            pause: inbound.retry_after,
        },
        (408 | 498 | 500.., _) => Verdict::ServerError,
        _ => Verdict::ClientError,
    }
}

/// Reads until the first event that is neither a comment nor an error.
async fn first_of_stream(
    core: &Core,
    mut inbound: Recycled<Inbound>,
    patience: Patience,
    timeouts: &Timeouts,
) -> Result<Served, Verdict> {
    loop {
        match first_event(inbound.buffer.readable()) {
            First::Event => break,
            First::Error(_) => return Err(Verdict::ErrorEvent),
            First::Incomplete if inbound.done => return Err(Verdict::Truncated),
            First::Incomplete if inbound.buffer.len() >= COMMIT_BYTES => break,
            First::Incomplete => {
                let patience = next_patience(core, &inbound, patience, timeouts);
                inbound.more(patience).await?;
            }
        }
    }
    Ok(Served {
        inbound,
        verdict: Verdict::Succeeded,
        usage: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_times_out_on_a_core_that_is_behind_says_nothing_about_the_provider() {
        let core = Bench::new(1, 8).core;
        let now = core.now();
        let judged = |verdict| late(&core, now + HOUR, verdict);
        assert_eq!(judged(Verdict::TimedOut), Verdict::TimedOut);
        core.pace.tick(now + HOUR / 2, 1);
        assert_eq!(judged(Verdict::TimedOut), Verdict::OwnShortage);
        assert_eq!(judged(Verdict::Stalled), Verdict::OwnShortage);
        assert_eq!(judged(Verdict::Connect), Verdict::Connect);
        let reset = Verdict::Reset { stale: false };
        assert_eq!(judged(reset), reset);
        assert_eq!(late(&core, now, Verdict::TimedOut), Verdict::Deadline);
        core.pace.tick(now + HOUR / 2, 1);
        assert_eq!(judged(Verdict::Stalled), Verdict::Stalled);
    }
}
