//! Waits for a slot (SRP section 7), by how they ended.

use super::counter::Counter;

/// How a call's wait for a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum WaitEnd {
    /// It was dispatched.
    Dispatched,
    /// It had waited as long as it would.
    Expired,
    /// The client left.
    Gone,
    /// The instance went down.
    Closing,
    /// Its key, its border or its model is another since a reload, and it was refused.
    Refused,
    /// It did not begin: as many waited at the location as may.
    Full,
}

impl WaitEnd {
    /// Every end, in the order of its number.
    pub const ALL: [WaitEnd; 6] = [
        WaitEnd::Dispatched,
        WaitEnd::Expired,
        WaitEnd::Gone,
        WaitEnd::Closing,
        WaitEnd::Refused,
        WaitEnd::Full,
    ];

    /// The value of the metric's `end` label.
    pub fn label(self) -> &'static str {
        match self {
            WaitEnd::Dispatched => "dispatched",
            WaitEnd::Expired => "expired",
            WaitEnd::Gone => "gone",
            WaitEnd::Closing => "closing",
            WaitEnd::Refused => "refused",
            WaitEnd::Full => "full",
        }
    }
}

/// One core's waits that have ended.
#[derive(Debug, Default)]
pub struct Waits {
    ends: [Counter; WaitEnd::ALL.len()],
    waited_us: Counter,
}

impl Waits {
    /// A call has waited so many microseconds, in all, or was not let in.
    pub fn ended(&self, end: WaitEnd, waited_us: u64) {
        self.ends[end as usize].add(1);
        self.waited_us.add(waited_us);
    }

    /// How many have ended so.
    pub fn count(&self, end: WaitEnd) -> u64 {
        self.ends[end as usize].get()
    }

    /// How long all of them waited together, in microseconds.
    pub fn waited_us(&self) -> u64 {
        self.waited_us.get()
    }
}
