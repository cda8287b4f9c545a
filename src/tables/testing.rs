//! For tests of this room: a snapshot with nothing in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::routes::Routes;
use super::snapshot::{Snapshot, Stage, States};
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::residency::Groups;

const SECOND: Duration = Duration::from_secs(1);

/// A snapshot without keys, capabilities or providers.
pub fn snapshot() -> Snapshot {
    Snapshot {
        routes: Arc::new(routes()),
        states: States::new(),
        stage: Stage::Serving,
    }
}

/// Routes that lead nowhere.
pub fn routes() -> Routes {
    Routes {
        keys: HashMap::default(),
        meters: Vec::new(),
        reserves: Vec::new(),
        rights: Vec::new(),
        capabilities: Vec::new(),
        by_name: HashMap::new(),
        providers: Vec::new(),
        groups: Groups::new(),
        limits: Limits {
            head_bytes: 1024,
            headers: 16,
            body_bytes: 1024,
            connections_per_core: 1,
            pipelined_requests: 1,
            calls_per_core: 1,
            memory_bytes: None,
        },
        timeouts: Timeouts {
            head: SECOND,
            body: SECOND,
            connect: SECOND,
            first_byte: SECOND,
            stream_idle: SECOND,
            call: SECOND,
            keep_alive: SECOND,
            drain: SECOND,
            stall: SECOND,
        },
        max_attempts: 1,
        waiting_max: 1,
        expose_providers: false,
        access_log: false,
        called: Default::default(),
        tls: None,
    }
}
