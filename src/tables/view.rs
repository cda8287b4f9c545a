//! A core's own copy of the newest snapshot.

use std::rc::Rc;
use std::sync::Arc;

use super::board::Board;
use super::routes::Routes;
use super::snapshot::States;

/// What one core decides by. Reading it touches nothing that another core writes but the epoch.
pub struct View {
    board: Arc<Board>,
    epoch: u64,
    /// Which published `Routes` the copy below was made from. Held, so that its address stays
    /// taken for as long as it is compared with.
    source: Arc<Routes>,
    routes: Rc<Routes>,
    states: States,
    draining: bool,
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
            draining: snapshot.draining,
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
        self.draining = snapshot.draining;
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

    /// Whether the instance is going down.
    #[inline]
    pub fn draining(&self) -> bool {
        self.draining
    }

    /// The board itself, for the words that cores share.
    #[inline]
    pub fn board(&self) -> &Board {
        &self.board
    }
}
