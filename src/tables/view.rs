//! A core's own copy of the newest snapshot.

use std::rc::Rc;
use std::sync::Arc;

use super::board::Board;
use super::routes::Routes;
use super::snapshot::{Stage, States};

/// What one core decides by. Reading it touches nothing that another core writes but the epoch.
pub struct View {
    board: Arc<Board>,
    epoch: u64,
    /// Which published `Routes` the copy below was made from. Held, so that its address stays
    /// taken for as long as it is compared with.
    source: Arc<Routes>,
    routes: Rc<Routes>,
    states: States,
    stage: Stage,
}

impl View {
    /// A copy of what the board shows now.
    pub fn new(board: Arc<Board>) -> View {
        let epoch = board.epoch();
        let snapshot = board.snapshot();
        View {
            epoch,
            source: Arc::clone(&snapshot.routes),
            routes: Rc::new(Routes::clone(&snapshot.routes)),
            states: snapshot.states.clone(),
            stage: snapshot.stage,
            board,
        }
    }

    /// Takes over a newer snapshot if there is one; true if the routes changed with it. Costs
    /// one load if not.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        self.board.epoch() != self.epoch && self.take_over()
    }

    #[cold]
    fn take_over(&mut self) -> bool {
        // The epoch first: a publication in between is then seen again, never missed.
        self.epoch = self.board.epoch();
        let snapshot = self.board.snapshot();
        self.states.copy_from(&snapshot.states);
        self.stage = snapshot.stage;
        let changed = !Arc::ptr_eq(&self.source, &snapshot.routes);
        if changed {
            self.routes = Rc::new(Routes::clone(&snapshot.routes));
            self.source = Arc::clone(&snapshot.routes);
        }
        changed
    }

    /// The routes; a call keeps the ones that it began with (the count is this core's own).
    #[inline]
    pub fn routes(&self) -> &Rc<Routes> {
        &self.routes
    }

    /// Breakers and gates.
    #[inline]
    pub fn states(&self) -> &States {
        &self.states
    }

    /// How far the instance's life has got.
    #[inline]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The board itself, for the words that cores share.
    #[inline]
    pub fn board(&self) -> &Board {
        &self.board
    }
}

#[cfg(test)]
mod tests {
    use super::super::fact::Target;
    use super::super::snapshot::{BreakerView, Snapshot};
    use super::super::testing::{routes, snapshot};
    use super::*;
    use crate::base::{EndpointId, Moment, ProviderId};

    fn view() -> (Arc<Board>, View) {
        let board = Arc::new(Board::new(snapshot(), 1));
        let view = View::new(Arc::clone(&board));
        (board, view)
    }

    #[test]
    fn nothing_changes_until_it_is_refreshed() {
        let (board, mut view) = view();
        assert!(!view.refresh());
        let mut next = snapshot();
        next.stage = Stage::Ending;
        Arc::make_mut(&mut next.routes).max_attempts = 9;
        board.publish(next);
        assert_eq!(
            (view.routes().max_attempts, view.stage()),
            (1, Stage::Serving)
        );
        assert!(view.refresh(), "the routes are others");
        assert_eq!(
            (view.routes().max_attempts, view.stage()),
            (9, Stage::Ending)
        );
        assert!(!view.refresh(), "once is enough");
    }

    #[test]
    fn states_are_copied_and_unchanged_routes_are_not() {
        let (board, mut view) = view();
        let before = Rc::clone(view.routes());
        let mut next = Snapshot::clone(&board.snapshot());
        let opened = BreakerView::Open { until: Moment(5) };
        next.states
            .target_mut(Target::Provider(ProviderId(2)))
            .breaker = opened;
        next.states
            .target_mut(Target::Endpoint(EndpointId(1)))
            .gated_until = Moment(7);
        board.publish(next);
        assert!(!view.refresh(), "the routes are the same");
        assert!(Rc::ptr_eq(&before, view.routes()));
        assert_eq!(view.states().provider(ProviderId(2)).breaker, opened);
        assert_eq!(
            view.states().provider(ProviderId(1)).breaker,
            BreakerView::Closed
        );
        assert_eq!(view.states().endpoint(EndpointId(1)).gated_until, Moment(7));
        assert_eq!(view.states().endpoint(EndpointId(2)).gated_until, Moment(0));
    }

    #[test]
    fn a_call_keeps_the_routes_that_it_began_with() {
        let (board, mut view) = view();
        let kept = Rc::clone(view.routes());
        let mut changed = routes();
        changed.max_attempts = 2;
        board.publish(Snapshot {
            routes: Arc::new(changed),
            ..snapshot()
        });
        assert!(view.refresh());
        assert_eq!((kept.max_attempts, view.routes().max_attempts), (1, 2));
    }

    #[test]
    fn only_the_newest_of_several_snapshots_is_taken() {
        let (board, mut view) = view();
        for attempts in 2..=4 {
            let mut next = snapshot();
            Arc::make_mut(&mut next.routes).max_attempts = attempts;
            board.publish(next);
        }
        assert!(view.refresh() && !view.refresh());
        assert_eq!(view.routes().max_attempts, 4);
        assert_eq!(view.board().epoch(), 4);
    }
}
