//! What a panic may do: end the connection that it happened on, and nothing else. The guards on its
//! way settle the call.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use super::core::Core;

/// Runs what serves a connection to its end, or to its panic, which is counted. Pinned by the
/// caller, since a future that is passed by value lies in its caller's twice.
pub async fn contain(core: &Core, mut serving: Pin<&mut impl Future<Output = ()>>) {
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx)));
        polled.unwrap_or_else(|_panic| {
            core.metrics.panicked();
            Poll::Ready(())
        })
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::proxy::intake::new_request_id;
    use crate::proxy::settle::Settlement;
    use crate::proxy::testing::Bench;
    use crate::telemetry::Outcome;
    use crate::telemetry::metrics::STATUSES;

    /// Serves one call, which panics if it is to.
    async fn serve(core: &Core, panics: bool) {
        let mut settlement = Settlement::open(core, new_request_id(core), false);
        std::future::ready(()).await;
        assert!(!panics, "on purpose");
        settlement.record_mut().status = 200;
        settlement.settle(Outcome::Completed);
    }

    #[test]
    fn a_panic_ends_its_own_call_alone_and_settles_it() {
        let bench = Bench::new(1, 1);
        let core = &bench.core;
        let cx = &mut Context::from_waker(Waker::noop());
        for (panics, counted) in [(false, 0), (true, 1), (false, 1)] {
            let serving = pin!(serve(core, panics));
            let serving = pin!(contain(core, serving));
            assert!(serving.poll(cx).is_ready());
            assert_eq!(core.metrics.panics(), counted);
            assert_eq!(core.calls.get(), 0, "no call is left open");
        }
        let settled = |status: &str| {
            let slot = STATUSES.iter().position(|known| *known == status);
            core.metrics.calls_by_status(None, slot.unwrap())
        };
        assert_eq!((settled("200"), settled("500")), (2, 1));
    }
}
