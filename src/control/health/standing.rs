//! What a row of checks comes to. Some in a row change an endpoint's standing, so that one that
//! passes and fails by turns keeps what it has.

/// How many checks in a row it takes.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// To pass, until it is ready.
    pub passed: u32,
    /// To fail, until it isn't.
    pub failed: u32,
}

/// Whether an endpoint is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// No check has ended yet: nobody knows, and nothing is sent.
    #[default]
    Unknown,
    /// It takes calls.
    Ready {
        /// Checks that it has failed since the last that it passed.
        failed: u32,
    },
    /// It doesn't.
    NotReady {
        /// Checks that it has passed since the last that it failed.
        passed: u32,
    },
}

impl Standing {
    /// Whether it takes calls.
    pub fn is_ready(self) -> bool {
        matches!(self, Standing::Ready { .. })
    }

    /// What it is after one more check. The first decides by itself.
    pub fn after(self, passed: bool, rows: Rows) -> Standing {
        const READY: Standing = Standing::Ready { failed: 0 };
        const NOT_READY: Standing = Standing::NotReady { passed: 0 };
        match (self, passed) {
            (Standing::Unknown | Standing::Ready { .. }, true) => READY,
            (Standing::Unknown | Standing::NotReady { .. }, false) => NOT_READY,
            (Standing::Ready { failed }, false) if failed + 1 >= rows.failed => NOT_READY,
            (Standing::Ready { failed }, false) => Standing::Ready { failed: failed + 1 },
            (Standing::NotReady { passed }, true) if passed + 1 >= rows.passed => READY,
            (Standing::NotReady { passed }, true) => Standing::NotReady { passed: passed + 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROWS: Rows = Rows {
        passed: 2,
        failed: 3,
    };

    fn after(checks: &[bool]) -> Standing {
        let standing = |standing: Standing, passed: &bool| standing.after(*passed, ROWS);
        checks.iter().fold(Standing::Unknown, standing)
    }

    #[test]
    fn the_first_check_decides_and_then_a_row() {
        assert!(!Standing::Unknown.is_ready());
        assert!(after(&[true]).is_ready());
        assert!(!after(&[false]).is_ready());
        assert!(!after(&[false, true]).is_ready());
        assert!(after(&[false, true, true]).is_ready());
        assert!(after(&[true, false, false]).is_ready());
        assert!(!after(&[true, false, false, false]).is_ready());
    }

    #[test]
    fn who_passes_and_fails_by_turns_keeps_what_he_has() {
        let turns: Vec<bool> = (0..100).map(|turn| turn % 2 == 0).collect();
        assert!(after(&turns).is_ready());
        assert!(!after(&turns[1..]).is_ready());
    }

    proptest! {
        /// A change is preceded by exactly the row that it takes.
        #[test]
        fn a_standing_changes_after_a_row_and_never_otherwise(
            checks in proptest::collection::vec(any::<bool>(), 1..200),
            passed in 1u32..5,
            failed in 1u32..5,
        ) {
            let rows = Rows { passed, failed };
            let mut standing = Standing::Unknown;
            let (mut ready, mut row) = (checks[0], 0);
            for (number, &check) in checks.iter().enumerate() {
                standing = standing.after(check, rows);
                if number > 0 {
                    row = if check == ready { 0 } else { row + 1 };
                    if row == if ready { failed } else { passed } {
                        (ready, row) = (!ready, 0);
                    }
                }
                prop_assert_eq!(standing.is_ready(), ready, "check {}", number);
            }
        }
    }
}
