//! The real generator against the real simulator, over loopback: two processes, as users have them.

mod fleet;
mod runs;
mod support;
mod targets;
mod usage;
