//! The office's thread: what wakes it, and in which order it acts.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::{JoinHandle as Task, JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::admin;
use super::build::BuildError;
use super::desk::Desk;
use super::discovery::resolver::Resolver;
use super::discovery::survey::{Finding, LOOK_WITHIN, survey};
use super::handover::{Estate, Heir, UpgradeError};
use super::health::check::{Checkup, Visit, check};
use super::ledger::LedgerView;
use super::legacy::Legacy;
use super::market::store::Store;
use super::notary::NotaryView;
use super::otlp::OtlpView;
use super::pulse::LOOK_EVERY;
use super::reload::ReloadError;
use super::signals::{self, Asked, Signals};
use super::sinks::Sinks;
use super::systemd::Systemd;
use crate::base::{Clock, Moment};
use crate::config::Config;
use crate::tables::{Board, Fact, Stage};
use crate::telemetry::{AccessRecord, CoreMetrics, HistogramSlot, Names, access};

mod life;
mod reloads;
mod share;

/// Facts that wait for the office at most; a core counts those that find no room.
pub const FACTS_MAX: usize = 4096;

/// Facts that are taken in before what follows from them is published.
const FACTS_PER_BATCH: usize = 256;

/// Events that wait for the office at most.
const EVENTS_MAX: usize = 64;

/// Between two looks at whether a drain is over.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// How long a start or a reload waits for endpoints; what is unknown then is looked at again.
const FIRST_LOOKS_WITHIN: Duration = Duration::from_secs(3);

/// How long each first check may hold a start up.
const FIRST_CHECKS_WITHIN: Duration = Duration::from_secs(1);

/// How long who is asked for names stays the same: then `/etc/hosts` and `/etc/resolv.conf` are
/// read again.
const RESOLVER_LIFE: Duration = Duration::from_secs(30);

/// Helper threads for what blocks: reading files, and names that aren't in DNS.
const HELPERS_MAX: usize = 16;

/// What one core shares with the office and the access log.
pub struct CoreLink {
    /// Its counters: the core is their only writer.
    pub metrics: Arc<CoreMetrics>,
    /// Where it leaves its histograms, about each second.
    pub histograms: Arc<HistogramSlot>,
    /// Where it sends facts, with `try_send`.
    pub facts: mpsc::Sender<Fact>,
    /// Where it puts access records.
    pub access: Producer<AccessRecord>,
}

/// An office that has its tables ready, and what the others need of it.
pub struct Prepared {
    /// To be started.
    pub office: Office,
    /// One for each core.
    pub links: Vec<CoreLink>,
    /// The other ends of the cores' access rings, for
    /// [`AccessLog::start`](crate::telemetry::AccessLog::start).
    pub access: Vec<Consumer<AccessRecord>>,
}

/// Why the office ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every call had ended, and every connection was closed.
    Drained,
    /// `timeouts.drain` passed first.
    DrainTimedOut,
    /// It was asked a second time, or to stop at once.
    Stopped,
    /// Its thread panicked: a defect.
    Panicked,
}

enum Event {
    Serving(Option<UnixStream>),
    Reload,
    Upgrade,
    Drain,
    Stop,
    /// Nobody else changes what is booked before this is acted on.
    Upgraded(Result<Heir, UpgradeError>, OwnedMutexGuard<()>),
    Loaded(Result<Box<Config>, ReloadError>),
    ReadyToUse(Box<Config>, Vec<Finding>),
    Found(Vec<Finding>),
    Checked(Checkup),
}

/// The office before it is started.
pub struct Office {
    desk: Desk,
    source: Option<PathBuf>,
    facts: mpsc::Receiver<Fact>,
    /// Held so that the channel stays open whatever becomes of the cores.
    facts_in: mpsc::Sender<Fact>,
}

impl Office {
    /// Builds the tables of a configuration and the links of so many cores. `source` is the file
    /// that a reload reads again; without one, reloads are refused.
    ///
    /// # Errors
    /// The configuration can't be put in force.
    pub fn prepare(
        config: Config,
        source: Option<PathBuf>,
        clock: Clock,
        cores: usize,
    ) -> Result<Prepared, BuildError> {
        let (facts_in, facts) = mpsc::channel(FACTS_MAX);
        let (mut links, mut consumers) = (Vec::new(), Vec::new());
        for _ in 0..cores {
            let (access, consumer) = access::ring();
            consumers.push(consumer);
            links.push(CoreLink {
                metrics: Arc::new(CoreMetrics::new()),
                histograms: Arc::new(HistogramSlot::new()),
                facts: facts_in.clone(),
                access,
            });
        }
        let metrics = links.iter().map(|link| Arc::clone(&link.metrics)).collect();
        let slots = links
            .iter()
            .map(|link| Arc::clone(&link.histograms))
            .collect();
        let bookings = Store::new(config.market.bookings.clone()).all()?;
        let now = jiff::Timestamp::now();
        let ahead = bookings.into_iter().filter(|(_, order)| order.until > now);
        let orders = ahead.collect();
        // Jitter only: a predictable seed would do no harm.
        let seed = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        let office = Office {
            desk: Desk::new(config, orders, clock, metrics, slots, seed)?,
            source,
            facts,
            facts_in,
        };
        Ok(Prepared {
            office,
            links,
            access: consumers,
        })
    }

    /// What the cores read.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.desk.board)
    }

    /// The names by id.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(self.desk.names())
    }

    /// Takes over what a predecessor has left.
    pub fn inherit(&mut self, legacy: &Legacy) {
        self.desk.inherit(legacy);
    }

    /// Has the admin plane show how the ledger stands, and who signs it.
    pub fn watch_ledger(&mut self, ledger: LedgerView, notary: Option<Arc<NotaryView>>) {
        self.desk.ledger = Some(ledger);
        self.desk.notary = notary;
    }

    /// Has the admin plane show how exports to a collector fare.
    pub fn watch_otlp(&mut self, otlp: OtlpView) {
        self.desk.otlp = Some(otlp);
    }

    /// Has reloads change the sinks.
    pub fn direct_sinks(&mut self, sinks: Arc<Sinks>) {
        self.desk.sinks = Some(sinks);
    }

    /// Starts the office's thread and the admin plane on `admin`. Returns when the signals (if
    /// the office is to act on the process's) are taken over and endpoints were looked for, some
    /// seconds later at most. `estate` is what a successor gets.
    ///
    /// # Errors
    /// The thread, its runtime, the signals or the listener can't be had.
    pub fn start(
        self,
        admin: TcpListener,
        act_on_signals: bool,
        estate: Estate,
    ) -> io::Result<OfficeHandle> {
        let board = self.board();
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (started, wait) = std::sync::mpsc::sync_channel(1);
        let for_tasks = events_in.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(HELPERS_MAX)
                .thread_name("srpd-helper")
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ended::Stopped;
                }
            };
            let local = LocalSet::new();
            let ended = local.block_on(&runtime, async move {
                match Loop::enter(self, admin, act_on_signals, for_tasks, events).await {
                    Ok(mut office) => {
                        office.estate = Arc::new(estate);
                        let _ = started.send(Ok(()));
                        office.run().await
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        Ended::Stopped
                    }
                }
            });
            drop(local);
            // A look that hangs must not keep the process.
            runtime.shutdown_background();
            ended
        };
        let thread = std::thread::Builder::new()
            .name("srpd-office".into())
            .spawn(run)?;
        wait.recv()
            .map_err(|_| io::Error::other("the office's thread panicked at its start"))??;
        Ok(OfficeHandle {
            thread,
            events: events_in,
            board,
        })
    }
}

/// A running office.
pub struct OfficeHandle {
    thread: JoinHandle<Ended>,
    events: mpsc::Sender<Event>,
    board: Arc<Board>,
}

impl OfficeHandle {
    /// The cores serve: whoever started the process is told. With the way to the process whose
    /// place it took.
    pub fn serving(&self, predecessor: Option<UnixStream>) {
        self.send(Event::Serving(predecessor));
    }

    /// As SIGHUP: reads the configuration again.
    pub fn reload(&self) {
        self.send(Event::Reload);
    }

    /// As SIGTERM: takes no new calls and ends when those in flight have. A second time: ends.
    pub fn drain(&self) {
        self.send(Event::Drain);
    }

    /// Ends at once.
    pub fn stop(&self) {
        self.send(Event::Stop);
    }

    /// Waits for the end. When it returns, [`Board::stopped`] is true: the cores end too.
    pub fn wait(self) -> Ended {
        let ended = self.thread.join().unwrap_or(Ended::Panicked);
        // Already so, but for a panic.
        self.board.stop();
        ended
    }

    fn send(&self, event: Event) {
        // An office that has ended needs no event.
        let _ = self.events.blocking_send(event);
    }
}

/// The office at work.
struct Loop {
    desk: Rc<RefCell<Desk>>,
    clock: Clock,
    source: Option<PathBuf>,
    facts: mpsc::Receiver<Fact>,
    _facts_in: mpsc::Sender<Fact>,
    events: mpsc::Receiver<Event>,
    events_in: mpsc::Sender<Event>,
    signals: Option<Signals>,
    drain_until: Option<Moment>,
    seen_drained: bool,
    /// One reload at a time; a signal meanwhile asks for one more.
    reloading: bool,
    reload_again: bool,
    resolver: Rc<Resolver>,
    resolver_until: Moment,
    /// The cores have started.
    serving: bool,
    admin: Task<()>,
    systemd: Systemd,
    estate: Arc<Estate>,
    /// One successor at a time.
    upgrading: bool,
}

impl Loop {
    async fn enter(
        office: Office,
        admin: TcpListener,
        act_on_signals: bool,
        events_in: mpsc::Sender<Event>,
        events: mpsc::Receiver<Event>,
    ) -> io::Result<Loop> {
        let signals = act_on_signals.then(Signals::new).transpose()?;
        admin.set_nonblocking(true)?;
        let admin = tokio::net::TcpListener::from_std(admin)?;
        let clock = office.desk.clock;
        let desk = Rc::new(RefCell::new(office.desk));
        let resolver = Rc::new(Resolver::new(&desk.borrow().config.dns.servers));
        let admin = tokio::task::spawn_local(admin::serve(admin, Rc::clone(&desk)));
        let mut entered = Loop {
            desk,
            clock,
            source: office.source,
            facts: office.facts,
            _facts_in: office.facts_in,
            events,
            events_in,
            signals,
            drain_until: None,
            seen_drained: false,
            reloading: false,
            reload_again: false,
            resolver,
            resolver_until: clock.now() + RESOLVER_LIFE,
            serving: false,
            admin,
            systemd: Systemd::new(clock.now()),
            estate: Arc::default(),
            upgrading: false,
        };
        entered.look_for_the_first_time().await;
        Ok(entered)
    }

    async fn run(mut self) -> Ended {
        let mut batch = Vec::with_capacity(FACTS_PER_BATCH);
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            let draining = self.drain_until.is_some();
            let ended = tokio::select! {
                _ = self.facts.recv_many(&mut batch, FACTS_PER_BATCH) => {
                    self.desk.borrow_mut().take_in(&batch, self.clock.now());
                    batch.clear();
                    None
                }
                Some(event) = self.events.recv() => self.act_on(event),
                asked = signals::next(&mut self.signals) => match asked {
                    Asked::Reload => self.act_on(Event::Reload),
                    Asked::Upgrade => self.act_on(Event::Upgrade),
                    Asked::End => self.act_on(Event::Drain),
                },
                _ = tick.tick() => {
                    self.tick();
                    None
                }
                () = sleep(DRAIN_LOOK), if draining => self.look_at_drain(),
            };
            if let Some(ended) = ended {
                break ended;
            }
        };
        tracing::info!(?ended, "the office ends");
        self.desk.borrow().board.stop();
        ended
    }

    fn tick(&mut self) {
        let mut desk = self.desk.borrow_mut();
        desk.tick(self.clock.now());
        desk.trade();
        let wall = jiff::Timestamp::now();
        desk.check_accreditations(wall);
        desk.check_certificate(wall);
        drop(desk);
        self.start_due_looks();
        self.start_due_checks();
        if self.serving {
            self.look_at_cores();
        }
    }

    fn look_at_drain(&mut self) -> Option<Ended> {
        // Twice in a row: a connection that was just accepted may not have been counted yet.
        let drained = self.desk.borrow().is_drained();
        if std::mem::replace(&mut self.seen_drained, drained) && drained {
            return Some(Ended::Drained);
        }
        let over = self
            .drain_until
            .is_some_and(|until| until <= self.clock.now());
        over.then_some(Ended::DrainTimedOut)
    }

    fn act_on(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Stop => return Some(Ended::Stopped),
            Event::Drain if self.desk.borrow().is_ending() => return Some(Ended::Stopped),
            Event::Drain => self.begin_drain(),
            Event::Serving(predecessor) => self.begin_serving(predecessor),
            Event::Upgrade => self.begin_upgrade(),
            Event::Upgraded(result, _turn) => self.end_upgrade(result),
            Event::Reload => self.begin_reload(),
            Event::Loaded(Ok(config)) => self.look_then_use(config),
            Event::Loaded(Err(error)) => self.end_reload(Err(error)),
            Event::ReadyToUse(config, findings) => {
                let result = self.desk.borrow_mut().put_in_force(*config, findings);
                self.end_reload(result.map_err(ReloadError::from));
            }
            Event::Found(findings) => self.desk.borrow_mut().found(findings),
            Event::Checked(checkup) => self.desk.borrow_mut().checked(&checkup),
        }
        None
    }

    fn begin_drain(&mut self) {
        let mut desk = self.desk.borrow_mut();
        let within = desk.config.timeouts.drain;
        tracing::info!(?within, "draining: no new calls");
        // Kept sockets would keep clients waiting for nobody.
        self.systemd.forget();
        self.systemd.stopping(within);
        desk.begin_drain(Stage::Ending);
        self.drain_until = Some(self.clock.now() + within);
    }

    /// Each source on its own: one that answers slowly holds up no other.
    fn start_due_looks(&mut self) {
        let due = self.desk.borrow_mut().supply.due(self.clock.now());
        if due.is_empty() {
            return;
        }
        let resolver = self.resolver();
        let looked_at = Rc::new(self.desk.borrow().supply.hosts());
        for source in due {
            let (resolver, looked_at) = (Rc::clone(&resolver), Rc::clone(&looked_at));
            self.send_when_done(async {
                Event::Found(survey(vec![source], looked_at, resolver, LOOK_WITHIN).await)
            });
        }
    }

    fn start_due_checks(&mut self) {
        let due = self.desk.borrow_mut().due_checks(self.clock.now());
        for visit in due {
            self.send_when_done(async { Event::Checked(check(visit).await) });
        }
    }

    /// Before anybody is served: a start that knew no endpoint, or none that is ready, would turn
    /// calls away.
    async fn look_for_the_first_time(&mut self) {
        let due = self.desk.borrow_mut().supply.due(self.clock.now());
        let look = survey(
            due,
            Rc::default(),
            Rc::clone(&self.resolver),
            FIRST_LOOKS_WITHIN,
        );
        let findings = look.await;
        self.desk.borrow_mut().found(findings);
        let due = self.desk.borrow_mut().due_checks(self.clock.now());
        let mut checks = JoinSet::new();
        for visit in due {
            let timeout = visit.timeout.min(FIRST_CHECKS_WITHIN);
            checks.spawn_local(check(Visit { timeout, ..visit }));
        }
        for checkup in checks.join_all().await {
            self.desk.borrow_mut().checked(&checkup);
        }
    }

    /// Who is asked for names.
    fn resolver(&mut self) -> Rc<Resolver> {
        let now = self.clock.now();
        if now >= self.resolver_until {
            self.renew_resolver();
        }
        Rc::clone(&self.resolver)
    }

    fn renew_resolver(&mut self) {
        self.resolver = Rc::new(Resolver::new(&self.desk.borrow().config.dns.servers));
        self.resolver_until = self.clock.now() + RESOLVER_LIFE;
    }

    fn send_when_done(&self, work: impl Future<Output = Event> + 'static) {
        let events = self.events_in.clone();
        tokio::task::spawn_local(async move {
            // If the office has ended, nobody wants to know.
            let _ = events.send(work.await).await;
        });
    }
}
