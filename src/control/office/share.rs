//! Two processes of an instance, both with calls: what each has in use, the other hears.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval};

use super::super::desk::{Desk, Excess};
use super::super::legacy::{Legacy, Other};
use super::super::pulse::LOOK_EVERY;

/// Tells the other process what is in use here, and counts what is in use there, until one of the
/// two has ended.
pub(super) async fn share(desk: Rc<RefCell<Desk>>, link: UnixStream, other: Other) {
    let (read, mut write) = link.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut unsent) = (None, Vec::new());
    let mut excess = Excess::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let own = desk.borrow().in_use_but_by(other);
                if other == Other::Successor {
                    excess = desk.borrow().relieve(&excess);
                }
                if unsent.is_empty() && said.as_ref() != Some(&own) {
                    unsent = (own.line() + "\n").into_bytes();
                    said = Some(own);
                }
            }
            // Beside the reading: of two that only write, neither would get on.
            written = write.write(&unsent), if !unsent.is_empty() => match written {
                Ok(count) => drop(unsent.drain(..count)),
                // Who reads hears why.
                Err(_) => unsent.clear(),
            },
            line = lines.next_line() => match line.map(|it| it.as_deref().map(Legacy::of_line)) {
                Ok(Some(Ok(theirs))) => desk.borrow_mut().count(other, &theirs),
                Ok(Some(Err(error))) => {
                    tracing::warn!(%error, ?other, "what is in use there can't be understood");
                }
                Ok(None) | Err(_) => {
                    desk.borrow_mut().count(other, &Legacy::default());
                    return;
                }
            }
        }
    }
}
