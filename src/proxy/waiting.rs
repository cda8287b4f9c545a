//! A call that its client lets wait (`X-Sovereign-Defer`, SRP section 7). What it holds is its
//! connection and its body. When a slot is granted, or something has changed, the call is made again
//! from its beginning by the tables that are in force then: its key, its border and its chain are
//! today's, whatever they were when it came.

use std::pin::pin;
use std::time::Duration;

use super::answer::Manner;
use super::call::{self, End};
use super::client::Client;
use super::core::Core;
use super::deferral::{Again, Standby};
use super::intake::Intake;
use super::message::Body;
use super::queue::Stirred;
use super::reject::Rejection;
use super::settle::Settlement;
use crate::base::KeyId;
use crate::openai::ErrorCode;
use crate::tables::Routes;
use crate::tables::routes::Key;
use crate::telemetry::WaitEnd;

/// Waits, and makes the call again, for as long as that takes. `began` are the tables that the
/// request was read by.
pub async fn see_through(
    core: &Core,
    began: &Routes,
    client: &mut Client,
    (mut standby, mut body): (Box<Standby>, Body),
    intake: &mut Intake,
    manner: Manner,
    settlement: &mut Settlement<'_>,
) -> End {
    // Nothing is sent meanwhile: a client that vanished without a word would be waited for.
    client.conn.keep_alive();
    let owner = intake.key.id;
    loop {
        let now = core.now();
        let waited = Duration::from_micros(settlement.record().waited_us);
        let waiter = core.stand_in_line(standby.ticket(waited, now));
        let stirred = client.unless_stopped(None, pin!(waiter.stirred())).await;
        settlement.has_waited(core.now().micros_since(now));
        let finished = |end, how| {
            let waited = settlement.record().waited_us;
            core.metrics.waits.ended(how, waited);
            end
        };
        let routes = core.routes();
        let slot = match stirred {
            Err(_) => return finished(End::Gone, WaitEnd::Gone),
            Ok(Stirred::Over) => {
                return finished(End::Rejected(standby.rejection), WaitEnd::Expired);
            }
            Ok(Stirred::Closing) => return finished(End::Rejected(closing()), WaitEnd::Closing),
            Ok(Stirred::Granted(_)) => waiter.take(&routes),
            Ok(Stirred::Look) => {
                drop(waiter);
                None
            }
        };
        match key_of_today(owner, began, &routes, intake) {
            Ok(key) => intake.key = key,
            Err(rejection) => return finished(End::Rejected(rejection), WaitEnd::Refused),
        }
        let attempts = settlement.record().attempts;
        let again = Box::new(Again {
            deferral: standby.deferral,
            slot,
        });
        let request = (&*intake, body, None, Some(again));
        let end = call::run(core, &routes, client, request, manner, settlement).await;
        let how = match settlement.record().attempts > attempts {
            true => WaitEnd::Dispatched,
            false => WaitEnd::Refused,
        };
        match end {
            End::Waits(next, its) => (standby, body) = (next, its),
            end => {
                core.metrics.waits.ended(how, settlement.record().waited_us);
                return end;
            }
        }
    }
}

/// The key as the tables in force have it. What the request's head said is read once, by those of
/// that time: where they would be read differently now, the client has to ask again.
fn key_of_today(
    owner: KeyId,
    began: &Routes,
    routes: &Routes,
    intake: &Intake,
) -> Result<Key, Rejection> {
    if std::ptr::eq(began, routes) {
        return Ok(intake.key.clone());
    }
    // By its digest, as when it came: a key whose secret is another is another key.
    let mut known = began.keys.iter();
    let digest = known.find(|(_, key)| key.id == owner).map(|it| it.0);
    let Some(key) = digest.and_then(|digest| routes.keys.get(digest)) else {
        let message = "the API key is not known here any more";
        return Err(Rejection::new(ErrorCode::InvalidApiKey, message));
    };
    if intake.residency.is_some() && began.groups != routes.groups {
        let message = "what X-Sovereign-Residency can name has changed while the call waited";
        return Err(Rejection::new(ErrorCode::Overloaded, message).retry_after(1));
    }
    Ok(key.clone())
}

fn closing() -> Rejection {
    let message = "this instance goes down, and the call was still waiting for a slot";
    Rejection::new(ErrorCode::Overloaded, message).retry_after(1)
}
