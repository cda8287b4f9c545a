//! What one core owns: its view of the tables, its pool, its opinions of the targets, its
//! counters. Shared by the tasks of that core alone, so nothing here is atomic or locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::inbound::{ANSWER_HEADROOM, Inbound};
use super::leases::{Allowance, Exhausted, Leases};
use super::ledger::Ledger;
use super::memory::Memory;
use super::pace::Pace;
use super::queue::Queue;
use super::slots::{Counter, Displaced, Floaters};
use super::targets::Targets;
use super::tracing::Tracing;
use crate::base::{Clock, EndpointId, Moment, Prng, ProviderId};
use crate::market::Price;
use crate::net::{Bell, ClientTls, Deadlines, Pool, Recycled, Terms};
use crate::tables::routes::Called;
use crate::tables::{Board, Fact, LedgerLink, Market, MeterId, Routes, Stage, View};
use crate::telemetry::{AccessRecord, CoreHistograms, CoreMetrics, HistogramSlot, otlp};

/// How often a core hands its histograms over and looks through its pool.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// An IMF-fixdate (RFC 9110 section 5.6.7).
pub type HttpDate = [u8; 29];

fn date_now() -> HttpDate {
    let text = httpdate::fmt_http_date(SystemTime::now());
    text.as_bytes().first_chunk().copied().unwrap_or([b' '; 29])
}

/// The day and time at the clock's zero, in microseconds since 1970, if it is `now`.
fn zero_us(now: Moment) -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX);
    micros.saturating_sub_unsigned(now.0)
}

/// What a core is given at its start.
pub struct CoreParts {
    /// The notice board.
    pub board: Arc<Board>,
    /// The process's clock.
    pub clock: Clock,
    /// The core's counters.
    pub metrics: Arc<CoreMetrics>,
    /// Where it leaves its histograms.
    pub histograms: Arc<HistogramSlot>,
    /// The way up to the office.
    pub facts: mpsc::Sender<Fact>,
    /// The way to the log thread.
    pub access: rtrb::Producer<AccessRecord>,
    /// What it writes the ledger with, if there is one.
    pub ledger: Option<LedgerLink>,
    /// Where finished calls go for OpenTelemetry, if they do.
    pub otlp: Option<otlp::Link>,
    /// For request ids and the first endpoint tried.
    pub seed: u64,
    /// Its number, from 0.
    pub index: usize,
    /// How many cores there are.
    pub cores: usize,
    /// Every core's bell, by number.
    pub bells: Arc<[Bell]>,
    /// Sockets that it may have open, its listeners left out.
    pub sockets_max: usize,
    /// Memory that the process may have, bytes, if the configuration doesn't say.
    pub memory_max: usize,
}

/// One core's belongings.
pub struct Core {
    view: RefCell<View>,
    /// What this core has seen of the targets itself.
    pub targets: RefCell<Targets>,
    leases: RefCell<Leases>,
    /// Idle upstream connections.
    pub pool: RefCell<Pool>,
    /// Every connection's deadline.
    pub deadlines: Deadlines,
    /// Counters.
    pub metrics: Arc<CoreMetrics>,
    /// For text that is needed for a moment.
    pub scratch: RefCell<Vec<u8>>,
    /// Pseudo-random numbers.
    pub prng: RefCell<Prng>,
    /// Calls under way on this core.
    pub calls: Cell<usize>,
    /// Client connections of this core.
    pub connections: Cell<usize>,
    /// Clients that are being told that there is no room for them.
    pub turned_away: Cell<usize>,
    /// The process's memory.
    pub memory: Memory,
    /// Whether it keeps up.
    pub pace: Pace,
    board: Arc<Board>,
    index: usize,
    bells: Arc<[Bell]>,
    floaters: RefCell<Floaters>,
    queue: RefCell<Queue>,
    histograms: RefCell<CoreHistograms>,
    slot: Arc<HistogramSlot>,
    facts: mpsc::Sender<Fact>,
    access: RefCell<rtrb::Producer<AccessRecord>>,
    /// Its part of the ledger, if there is one.
    pub ledger: Option<RefCell<Ledger>>,
    /// Which calls are recorded as spans, if any are.
    pub tracing: Option<Tracing>,
    /// The day and time at the clock's zero, in microseconds since 1970.
    zero_us: Cell<i64>,
    clock: Clock,
    now: Cell<Moment>,
    date: Cell<HttpDate>,
    housekept: Cell<Moment>,
    sockets_max: usize,
}

impl Core {
    /// A core with nothing in flight.
    pub fn new(parts: CoreParts) -> Core {
        let view = View::new(Arc::clone(&parts.board));
        let now = parts.clock.now();
        Core {
            targets: RefCell::new(Targets::new(&view, parts.seed.rotate_left(32))),
            view: RefCell::new(view),
            leases: RefCell::new(Leases::new(parts.cores)),
            pool: RefCell::new(Pool::new(ANSWER_HEADROOM)),
            deadlines: Deadlines::default(),
            metrics: parts.metrics,
            scratch: RefCell::default(),
            prng: RefCell::new(Prng::new(parts.seed)),
            calls: Cell::new(0),
            connections: Cell::new(0),
            turned_away: Cell::new(0),
            memory: Memory::new(parts.memory_max),
            pace: Pace::new(now),
            board: parts.board,
            index: parts.index,
            bells: parts.bells,
            floaters: RefCell::default(),
            queue: RefCell::default(),
            histograms: RefCell::new(CoreHistograms::new()),
            slot: parts.histograms,
            facts: parts.facts,
            access: RefCell::new(parts.access),
            ledger: parts
                .ledger
                .map(|link| RefCell::new(Ledger::new(link, parts.index))),
            tracing: parts.otlp.map(Tracing::new),
            zero_us: Cell::new(zero_us(now)),
            clock: parts.clock,
            now: Cell::new(now),
            date: Cell::new(date_now()),
            housekept: Cell::new(now),
            sockets_max: parts.sockets_max,
        }
    }

    /// Reads the clock. Where milliseconds don't matter, [`Core::recently`] is free.
    #[inline]
    pub fn now(&self) -> Moment {
        let now = self.clock.now();
        self.now.set(now);
        now
    }

    /// A time that some task read not longer ago than a sweeper's tick.
    #[inline]
    pub fn recently(&self) -> Moment {
        self.now.get()
    }

    /// The day and time, as it was within the last second or so: formatted once for all.
    #[inline]
    pub fn date(&self) -> HttpDate {
        self.date.get()
    }

    /// A point in time as a day and time, in microseconds since 1970. The clock of the day is looked
    /// at once a second.
    pub fn unix_us(&self, at: Moment) -> i64 {
        self.zero_us.get().saturating_add_unsigned(at.0)
    }

    /// Runs something on the names that entries of the ledger have, and `retry.max_attempts`. Not
    /// at all if a panic has begun while the tables were renewed.
    pub fn with_called(&self, look: impl FnOnce(&Called, usize)) {
        if let Ok(view) = self.view.try_borrow() {
            let routes = view.routes();
            look(&routes.called, routes.max_attempts as usize);
        }
    }

    /// Whether what a call does can be recorded, and will be: it is one of those under way.
    #[inline]
    pub fn can_record(&self, routes: &Routes) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| {
            let attempts = routes.max_attempts as usize;
            ledger.borrow().admits(self.calls.get(), attempts)
        })
    }

    /// The newest routes; the epoch is looked at first.
    #[inline]
    pub fn routes(&self) -> Rc<Routes> {
        let mut view = self.view.borrow_mut();
        if view.refresh() {
            self.targets.borrow_mut().reconfigure(view.routes());
            // What was leased under other limits goes back.
            let meters = &view.routes().meters;
            self.leases
                .borrow_mut()
                .settle(meters, true, self.recently());
        }
        Rc::clone(view.routes())
    }

    /// Runs something on the newest view.
    #[inline]
    pub fn with_view<R>(&self, look: impl FnOnce(&View) -> R) -> R {
        self.routes();
        look(&self.view.borrow())
    }

    /// How far the instance's life has got.
    pub fn stage(&self) -> Stage {
        self.with_view(View::stage)
    }

    /// Whether new connections are somebody else's: connections are closed after what they have
    /// been asked.
    pub fn draining(&self) -> bool {
        self.stage() > Stage::Serving
    }

    /// Lets a call in, and counts it, if its key's limits have room for it. The clock has just
    /// been read.
    ///
    /// # Errors
    /// The limit that has none.
    pub fn admit(&self, id: MeterId) -> Result<(), Exhausted> {
        let view = self.view.borrow();
        view.routes()
            .meters
            .get(id.index())
            .map_or(Ok(()), |meter| {
                self.leases.borrow_mut().admit(meter, id, self.recently())
            })
    }

    /// Charges the tokens of a call to its key.
    pub fn charge(&self, id: MeterId, tokens: u64) {
        let view = self.view.borrow();
        if let Some(meter) = view.routes().meters.get(id.index()) {
            self.leases
                .borrow_mut()
                .charge(meter, id, tokens, self.recently());
        }
    }

    /// The notice board.
    pub(super) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Slots, reservations and prices.
    #[inline]
    pub fn market(&self) -> &Market {
        self.board.market()
    }

    /// What takes and gives back slots on this core.
    pub fn counter(&self) -> Counter<'_> {
        Counter {
            market: self.market(),
            core: self.index,
            floaters: &self.floaters,
            now: &self.now,
            bells: &self.bells,
        }
    }

    /// The core's number.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The calls that wait for a slot.
    pub(super) fn queue(&self) -> &RefCell<Queue> {
        &self.queue
    }

    /// Has a core look at what it is to give up, and at what is idle for those who wait there.
    pub(super) fn ring(&self, core: usize) {
        if let Some(bell) = self.bells.get(core) {
            bell.ring();
        }
    }

    /// Has a core give up a slot now.
    pub fn displace(&self, displaced: Displaced) {
        match displaced.core == self.index {
            true => self.curtail(),
            false => self.ring(displaced.core),
        }
    }

    /// Somebody has rung.
    pub fn heard(&self) {
        self.now();
        self.curtail();
        self.serve_waiting();
    }

    /// Curtails what the core is asked to.
    pub fn curtail(&self) {
        if !self.market().is_wanted(self.index) {
            return;
        }
        let routes = self.routes();
        for provider in &routes.providers {
            let Some(capacity) = provider.capacity else {
                continue;
            };
            let (_, also) = self.counter().curtail_wanted(provider.id, capacity.get());
            if let Some(also) = also {
                self.ring(also.core);
            }
        }
    }

    /// Hears no more rings: the runtime is about to end.
    pub fn unring(&self) {
        if let Some(bell) = self.bells.get(self.index) {
            bell.close();
        }
    }

    /// Notes that a floating call found no slot.
    pub fn refuse_floating(&self, provider: ProviderId, bid: Price) {
        self.floaters.borrow_mut().refused(provider, bid);
    }

    /// How a key's limits stand.
    pub fn allowance(&self, id: MeterId) -> Option<Allowance> {
        let view = self.view.borrow();
        let meter = view.routes().meters.get(id.index())?;
        let mut leases = self.leases.borrow_mut();
        Some(leases.allowance(meter, id, self.recently()))
    }

    /// Keeps the connection of a finished response for the endpoint's next call, if it can be.
    pub fn keep(&self, endpoint: EndpointId, inbound: Recycled<Inbound>) {
        if let Some(conn) = inbound.into_inner().into_reusable() {
            self.pool.borrow_mut().put(endpoint, conn, self.recently());
        }
    }

    /// Sockets that this core may have open.
    #[inline]
    pub fn sockets_max(&self) -> usize {
        self.sockets_max
    }

    /// Whether the core is to stop.
    pub fn stopped(&self) -> bool {
        self.view.borrow().board().stopped()
    }

    /// Lets go of what outlives its connections, before the runtime ends.
    pub fn retire(&self) {
        let routes = self.routes();
        let mut leases = self.leases.borrow_mut();
        leases.settle(&routes.meters, true, self.now());
        self.slot.offer(&mut self.histograms.borrow_mut());
        self.pool.borrow_mut().clear();
    }

    /// Tells the office. If its queue is full the fact is lost, and counted: a call never waits.
    /// False if it is lost.
    pub fn report(&self, fact: Fact) -> bool {
        let told = self.facts.try_send(fact).is_ok();
        if !told {
            self.metrics.facts_lost();
        }
        told
    }

    /// Hands a finished call to the log.
    pub fn log(&self, record: AccessRecord) {
        if self.access.borrow_mut().push(record).is_err() {
            self.metrics.access_lost();
        }
    }

    /// Notes a call's times.
    pub fn record_times(&self, record: &AccessRecord) {
        let Some(capability) = record.capability else {
            return;
        };
        let mut histograms = self.histograms.borrow_mut();
        let unwaited = |us: u64| Duration::from_micros(us.saturating_sub(record.waited_us));
        if let Some(ttft) = record.ttft_us {
            histograms.record_ttft(capability, unwaited(ttft));
        }
        histograms.record_call(capability, unwaited(record.total_us));
    }

    /// The end of a turn that had `begun` when all that is ready now was: sockets that were late then
    /// are shut down. What came in time has been seen, however late this core is itself.
    pub fn turned(&self, begun: Moment) {
        self.pace.tick(self.now(), self.calls.get());
        self.deadlines.sweep(begun);
    }

    /// The sweeper's tick: now and then the house is tidied.
    pub fn sweep(&self) {
        let now = self.now();
        self.curtail();
        let routes = self.routes();
        let mut leases = self.leases.borrow_mut();
        leases.settle(&routes.meters, false, now);
        drop(leases);
        self.look_at_memory(&routes);
        self.sweep_queue(now, &routes);
        // After a handover an idle connection may bring one more request: its client can't know.
        if self.stage() == Stage::Ending {
            self.deadlines.end_idle();
        }
        self.metrics.ticked();
        if now.since(self.housekept.get()) < HOUSEKEEPING {
            return;
        }
        self.housekept.set(now);
        self.date.set(date_now());
        self.zero_us.set(zero_us(now));
        self.slot.offer(&mut self.histograms.borrow_mut());
        let mut floaters = self.floaters.borrow_mut();
        self.market().offer_demand(self.index, floaters.demand(now));
        drop(floaters);
        self.show_waiting();
        let mut pool = self.pool.borrow_mut();
        let evicted = pool.sweep(now, |endpoint| {
            let mut owners = routes.providers.iter();
            owners.find_map(|owner| {
                let known = owner.endpoints.iter().find(|known| known.id == endpoint)?;
                Some(Terms {
                    addresses: &known.addresses,
                    trust: known.tls.as_ref().map(ClientTls::trust),
                    keep_alive: owner.timeouts.keep_alive,
                })
            })
        });
        for _ in 0..evicted {
            self.metrics.pool_evicted();
        }
        self.metrics.set_pool_idle(pool.idle());
    }
}
