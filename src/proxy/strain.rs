//! What a core takes on when the process's memory runs short. Small calls go on for as long as
//! there is room for them: what is refused first is what needs much.

use super::core::Core;
use super::memory::Strain;
use super::reject::Rejection;
use crate::net::buffer::LARGE;
use crate::openai::ErrorCode;
use crate::tables::Routes;

impl Core {
    /// The sweeper's look at memory.
    pub fn look_at_memory(&self, routes: &Routes) {
        self.memory.look(routes.limits.memory_bytes);
        if self.memory.strain() == Strain::Short {
            self.make_way();
        }
    }

    /// Whether a call may be taken on at all.
    pub fn memory_for_call(&self) -> Result<(), Rejection> {
        match self.memory.strain() {
            Strain::None | Strain::Tight => Ok(()),
            Strain::Short => Err(short("this instance is short of memory")),
        }
    }

    /// Whether a body may have `length` bytes, `come` of which have come just now.
    pub fn memory_for_body(
        &self,
        routes: &Routes,
        length: usize,
        come: usize,
    ) -> Result<(), Rejection> {
        self.memory.take(come, routes.limits.memory_bytes);
        if length > LARGE && self.memory.strain() > Strain::None {
            return Err(short(
                "this instance is short of memory for a body of this length",
            ));
        }
        Ok(())
    }
}

fn short(message: &'static str) -> Rejection {
    Rejection::new(ErrorCode::Overloaded, message).retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::super::memory::LOOK_AFTER;
    use super::super::testing::Bench;
    use super::*;
    use crate::net::gauge::Gauge;

    #[test]
    fn what_needs_much_is_refused_first() {
        let Bench { core, snapshot, .. } = Bench::new(1, 8);
        let mut routes = Routes::clone(&snapshot.routes);
        let resident = Gauge::open().unwrap().resident().unwrap();
        // Other tests take memory and give it back meanwhile: by far less than these margins.
        for (bound, large, call) in [
            (None, true, true),
            (Some(resident * 100), true, true),
            (Some(resident / 100), false, false),
        ] {
            routes.limits.memory_bytes = bound;
            core.look_at_memory(&routes);
            assert_eq!(core.memory_for_body(&routes, LARGE + 1, 1).is_ok(), large);
            assert!(core.memory_for_body(&routes, LARGE, 1).is_ok());
            assert_eq!(core.memory_for_call().is_ok(), call);
        }
    }

    #[test]
    fn memory_is_looked_at_while_bodies_come() {
        let Bench { core, snapshot, .. } = Bench::new(1, 8);
        let mut routes = Routes::clone(&snapshot.routes);
        routes.limits.memory_bytes = Some(1 << 20);
        let part = LOOK_AFTER / 4;
        for _ in 0..3 {
            assert!(core.memory_for_body(&routes, LARGE + 1, part).is_ok());
        }
        assert!(core.memory_for_body(&routes, LARGE + 1, part).is_err());
    }
}
