//! Turns: no connection keeps its core to itself. With io_uring each read and each write is a wait
//! for the ring, and the others have their turn by themselves. On epoll, reads and writes that
//! need not wait don't, and a fast pair of peers would go on and on.

use std::future::poll_fn;
use std::task::Poll;

use super::core::Core;
use crate::net::ring::rest;

/// After so many bytes read, looked at or sent, a connection lets the others have their turn.
pub const TURN_BYTES: usize = 256 * 1024;

/// Goes on when the tasks that are ready have had their turn; the sweeper among them, if it is
/// late.
pub async fn take_turns(core: &Core) {
    if core.sweeper_is_late() {
        return rest().await;
    }
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
