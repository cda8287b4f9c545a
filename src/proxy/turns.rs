//! Turns: no connection keeps its core to itself. With io_uring each read and each write is a wait
//! for the ring, and the others have their turn by themselves. On epoll, reads and writes that
//! need not wait don't, and a fast pair of peers would go on and on.

use super::core::Core;
use crate::net::buffer::HUGE;
use crate::net::ring::{pass, rest};

/// After so many bytes read, looked at or sent, a connection lets the others have their turn.
pub const TURN_BYTES: usize = HUGE;

/// Goes on when the tasks that are ready have had their turn; the sweeper among them, if it is
/// late.
pub async fn take_turns(core: &Core) {
    match core.sweeper_is_late() {
        true => rest().await,
        false => pass().await,
    }
}
