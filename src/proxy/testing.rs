//! For tests: a core, and the office's end of what it is joined to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::core::{Core, CoreParts};
use crate::base::{Clock, EndpointId, ProviderId};
use crate::market::Price;
use crate::net::Bell;
use crate::policy::balance::Balance;
use crate::policy::breaker::BreakerConfig;
use crate::policy::limits::{Limits, Timeouts};
use crate::policy::residency::{Groups, Jurisdiction};
use crate::tables::routes::{Endpoint, Provider};
use crate::tables::{Board, Fact, LedgerLink, Routes, Snapshot, Stage, States};
use crate::telemetry::otlp::{self, Sampling};
use crate::telemetry::{CoreMetrics, HistogramSlot, access};

/// A core on its own.
pub struct Bench {
    pub core: Core,
    pub board: Arc<Board>,
    pub facts: mpsc::Receiver<Fact>,
    pub snapshot: Snapshot,
}

impl Bench {
    /// A core with one provider of so many endpoints, which tells the office so many facts
    /// before the office must have read them.
    pub fn new(endpoints: u16, facts: usize) -> Bench {
        Bench::make(endpoints, facts, None, None)
    }

    /// A core that writes a ledger.
    pub fn with_ledger(link: LedgerLink) -> Bench {
        Bench::make(1, 8, Some(link), None)
    }

    /// A core whose calls are watched, by nobody who takes anything out of its ring.
    pub fn watched(sampling: Sampling) -> Bench {
        Bench::make(1, 8, None, Some(otlp::link(sampling).0))
    }

    fn make(
        endpoints: u16,
        facts: usize,
        ledger: Option<LedgerLink>,
        otlp: Option<otlp::Link>,
    ) -> Bench {
        let snapshot = Snapshot {
            routes: Arc::new(routes(endpoints)),
            states: States::new(),
            stage: Stage::Serving,
        };
        let board = Arc::new(Board::new(snapshot.clone(), 1));
        Bench::one_of((0, 1), facts, (board, snapshot), [].into(), (ledger, otlp))
    }

    fn one_of(
        (index, cores): (usize, usize),
        facts: usize,
        (board, snapshot): (Arc<Board>, Snapshot),
        bells: Arc<[Bell]>,
        (ledger, otlp): (Option<LedgerLink>, Option<otlp::Link>),
    ) -> Bench {
        let (facts_in, facts) = mpsc::channel(facts);
        let core = Core::new(CoreParts {
            board: Arc::clone(&board),
            clock: Clock::new(),
            metrics: Arc::new(CoreMetrics::new()),
            histograms: Arc::new(HistogramSlot::new()),
            facts: facts_in,
            access: access::ring().0,
            ledger,
            otlp,
            seed: 1,
            index,
            cores,
            bells,
            sockets_max: 64,
            memory_max: usize::MAX,
        });
        Bench {
            core,
            board,
            facts,
            snapshot,
        }
    }

    /// What the core has told since the last time.
    pub fn told(&mut self) -> Vec<Fact> {
        std::iter::from_fn(|| self.facts.try_recv().ok()).collect()
    }

    /// Publishes what `change` makes of the states.
    pub fn publish(&mut self, change: impl FnOnce(&mut States)) {
        change(&mut self.snapshot.states);
        self.board.publish(self.snapshot.clone());
    }
}

/// Several cores of one board, whose tables `change` has changed.
pub fn several(cores: usize, bells: Arc<[Bell]>, change: impl FnOnce(&mut Routes)) -> Vec<Bench> {
    let mut routes = routes(1);
    change(&mut routes);
    let snapshot = Snapshot {
        routes: Arc::new(routes),
        states: States::new(),
        stage: Stage::Serving,
    };
    let board = Arc::new(Board::new(snapshot.clone(), cores));
    let shared = || (Arc::clone(&board), snapshot.clone());
    (0..cores)
        .map(|index| {
            Bench::one_of(
                (index, cores),
                64,
                shared(),
                Arc::clone(&bells),
                (None, None),
            )
        })
        .collect()
}

fn breaker(second: Duration) -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 2,
        failure_ratio: 1.0,
        ratio_window: 10 * second,
        ratio_min_calls: 1000,
        open: second,
        open_max: second,
        open_jitter: 0.0,
        close_after: 1,
        rate_limit_gate: second,
        quota_gate: second,
    }
}

fn routes(endpoints: u16) -> Routes {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        head: second,
        body: second,
        connect: second,
        first_byte: second,
        stream_idle: second,
        call: second,
        keep_alive: second,
        drain: second,
        stall: second,
    };
    let endpoints = (0..endpoints).map(|id| Endpoint {
        id: EndpointId(id),
        addresses: vec![([127, 0, 0, 1], 9).into()],
        rank: u64::from(id),
        calls_max: None,
        authority: "p.example".into(),
        prefix: "/v1".into(),
        tls: None,
    });
    let provider = Provider {
        id: ProviderId(0),
        name: "p".into(),
        jurisdiction: Jurisdiction::parse("au").unwrap(),
        endpoints: endpoints.collect(),
        capacity: None,
        offer: Price::ZERO,
        api_key: None,
        timeouts,
        breaker: breaker(second),
        balance: Balance::LeastLoaded,
        location: ProviderId(0),
        tiers: None,
    };
    Routes {
        keys: HashMap::default(),
        meters: Vec::new(),
        reserves: Vec::new(),
        rights: Vec::new(),
        capabilities: Vec::new(),
        by_name: HashMap::new(),
        providers: vec![provider],
        groups: Groups::new(),
        limits: Limits {
            head_bytes: 32 * 1024,
            headers: 100,
            body_bytes: 1024 * 1024,
            connections_per_core: 10,
            pipelined_requests: 16,
            calls_per_core: 10,
            memory_bytes: None,
        },
        timeouts,
        max_attempts: 3,
        waiting_max: 100,
        expose_providers: false,
        access_log: false,
        called: Default::default(),
        tls: None,
    }
}
