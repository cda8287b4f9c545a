//! A running instance, in the order in which it is put together: ports, tables, logs, office,
//! cores. What fails at the start fails before a client is let in.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;

use crate::base::Clock;
use crate::config::{Config, Cores, Driver};
use crate::control::build::BuildError;
use crate::control::handover::{Estate, Program};
use crate::control::ledger::{Clerk, ClerkHandle, LedgerError, LedgerView};
use crate::control::legacy::Legacy;
use crate::control::notary::{Notary, NotaryHandle};
use crate::control::otlp::{Courier, CourierHandle, OtlpView};
use crate::control::sinks::Sinks;
use crate::control::{CoreLink, Ended, Office, OfficeHandle, Prepared, pages};
use crate::net::handed::{self, Handed, Predecessor};
use crate::net::ring::Form;
use crate::net::{Bell, Ear, cpu, descriptors, gauge, ring};
use crate::proxy::CoreParts;
use crate::tables::{Board, LedgerLink};
use crate::telemetry::{AccessLog, Sink, otlp};
use crate::worker::{Share, Worker};

mod listeners;

use listeners::{Listeners, gather};

/// Sockets without which a core is of little use.
pub const SOCKETS_MIN: usize = 16;

/// How an instance is run, beside what its configuration says.
pub struct Options {
    /// The configuration's file, for reloads; without one, reloads are refused.
    pub source: Option<PathBuf>,
    /// Where the access log goes.
    pub access: Sink,
    /// Whether SIGHUP, SIGTERM and SIGINT are this instance's.
    pub signals: bool,
    /// What came before it, and what comes after.
    pub line: Line,
}

/// An instance in a line of processes that hand over to each other. By default it stands alone.
#[derive(Default)]
pub struct Line {
    /// Sockets that the process was given.
    pub handed: Vec<Handed>,
    /// Whose place it takes.
    pub predecessor: Option<Predecessor>,
    /// What takes its own place after SIGUSR2.
    pub program: Option<Program>,
}

/// Why an instance doesn't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("{key} = {address}: {error}")]
    Bind {
        /// The setting.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        error: io::Error,
    },
    /// Where this program lies can't be known.
    #[error("the path of this program: {0}")]
    Program(io::Error),
    /// A socket that was given to the process is of another kind.
    #[error(transparent)]
    Handed(handed::Unusable),
    /// A socket that was given to the process, or a second descriptor of one.
    #[error("a listening socket: {0}")]
    Socket(io::Error),
    /// The process whose place this one was to take.
    #[error("the process whose place this one was to take: {0}")]
    Predecessor(io::Error),
    /// The CPUs that are asked for aren't there.
    #[error("instance.cores: {0}")]
    Cores(String),
    /// `instance.driver = "io_uring"`, and the kernel denies it.
    #[error("instance.driver = \"io_uring\": the kernel denies it: {0}")]
    Driver(io::Error),
    /// The process may have too few descriptors.
    #[error(
        "{descriptors} file descriptors are too few for {cores} cores: expected some {} more \
         (RLIMIT_NOFILE: ulimit -Hn, LimitNOFILE=)",
        cores * SOCKETS_MIN
    )]
    Descriptors {
        /// That it may have.
        descriptors: usize,
        /// That need them.
        cores: usize,
    },
    /// The tables can't be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The ledger can't be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A thread, or what it needs, can't be had.
    #[error("{what}: {error}")]
    Thread {
        /// Which one.
        what: &'static str,
        /// What the kernel says.
        error: io::Error,
    },
}

/// An instance at work.
pub struct Running {
    data: Vec<SocketAddr>,
    admin: SocketAddr,
    office: OfficeHandle,
    access: AccessLog,
    cores: Vec<JoinHandle<()>>,
    books: Books,
    courier: Option<CourierHandle>,
}

/// Starts an instance.
///
/// # Errors
/// [`StartError`]; nothing of it is left running then but threads that end by themselves.
pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
    let clock = Clock::new();
    let cpus = cpus(&config.instance.cores)?;
    let descriptors = descriptors::raise().map_err(thread("descriptors"))?;
    let clients_max = config.limits.connections_per_core;
    let driver = driver(config.instance.driver)?;
    let tls = config.instance.tls.is_some();
    let Listeners {
        data,
        shares,
        admin,
        admin_listener,
        all: sockets,
        outdated,
    } = gather(&config.instance, options.line.handed, cpus.len())?;
    let ledger = open_ledger(&config, cpus.len())?;
    let courier = Courier::open(&config, cpus.len());
    let estate = Estate {
        sockets,
        outdated,
        program: options.line.program,
    };

    let Prepared {
        mut office,
        links,
        access,
    } = Office::prepare(config, options.source, clock, cpus.len())?;
    inherit(&mut office, options.line.predecessor.as_ref())?;
    let (books, ledgers) = start_ledger(ledger, &mut office)?;
    let (courier, watched) = start_courier(courier, &mut office)?;
    let (board, names) = (office.board(), office.names());
    let access = AccessLog::start(access, names, pages::code_name, options.access)
        .map_err(thread("the access log"))?;
    let office = office
        .start(admin_listener, options.signals, estate)
        .map_err(thread("the office"))?;

    let common = Common {
        cpus,
        driver,
        clock,
        board: Arc::clone(&board),
        sockets_max: sockets_max(descriptors, shares.len(), clients_max)?,
        memory_max: gauge::bound().unwrap_or(usize::MAX),
    };
    let cores =
        start_cores(&common, links, (ledgers, watched), shares).inspect_err(|_| board.stop())?;
    let predecessor = options.line.predecessor.map(Predecessor::relieve);
    let predecessor = predecessor
        .transpose()
        .map_err(StartError::Predecessor)
        .inspect_err(|_| board.stop())?;
    office.serving(predecessor);
    let shown: Vec<String> = data.iter().map(ToString::to_string).collect();
    tracing::info!(
        data = ?shown,
        tls,
        admin = %admin,
        cores = cores.len(),
        driver = driver.map_or("epoll", Form::name),
        "listening"
    );
    Ok(Running {
        data,
        admin,
        office,
        access,
        cores,
        books,
        courier,
    })
}

/// Takes over what a predecessor has left beside its sockets, if there is one.
fn inherit(office: &mut Office, predecessor: Option<&Predecessor>) -> Result<(), StartError> {
    let legacy = predecessor.map(|it| Legacy::of_line(it.words()));
    let legacy = legacy.transpose().map_err(StartError::Predecessor)?;
    legacy.iter().for_each(|legacy| office.inherit(legacy));
    Ok(())
}

/// Who writes the ledger, who signs it and who sends it on, before the first two are at work.
type Opened = (
    Option<(Clerk, Vec<LedgerLink>, LedgerView)>,
    Option<Notary>,
    Option<Arc<Sinks>>,
);

fn open_ledger(config: &Config, cores: usize) -> Result<Opened, LedgerError> {
    let noted = config.audit.is_some().then(Arc::default);
    let clerk = Clerk::open(config, cores, noted.clone())?;
    let notary = noted.and_then(|noted| Notary::new(config, noted));
    let states = clerk.as_ref().map(|(_, _, view)| Arc::clone(&view.sinks));
    let sinks = states.and_then(|states| Sinks::start(config, states));
    Ok((clerk, notary, sinks.map(Arc::new)))
}

/// All of them at work, if there is a ledger.
#[derive(Default)]
struct Books {
    clerk: Option<ClerkHandle>,
    notary: Option<NotaryHandle>,
    sinks: Option<Arc<Sinks>>,
}

/// The ledger's threads at work, and what the cores need of it, if there is one.
fn start_ledger(
    (clerk, notary, sinks): Opened,
    office: &mut Office,
) -> Result<(Books, Vec<LedgerLink>), LedgerError> {
    let Some((clerk, links, view)) = clerk else {
        return Ok((Books::default(), Vec::new()));
    };
    let clerk = Some(clerk.start()?);
    let signer = notary.as_ref().map(Notary::view);
    let notary = notary.map(Notary::start).transpose();
    let notary = notary.map_err(LedgerError::Thread)?;
    office.watch_ledger(view, signer);
    if let Some(sinks) = &sinks {
        office.direct_sinks(Arc::clone(sinks));
    }
    let books = Books {
        clerk,
        notary,
        sinks,
    };
    Ok((books, links))
}

impl Books {
    /// What has been written is sealed, then signed, and sent on.
    fn close(self) {
        if let Some(clerk) = self.clerk {
            clerk.finish();
        }
        if let Some(notary) = self.notary {
            notary.finish();
        }
        if let Some(sinks) = self.sinks {
            sinks.finish();
        }
    }
}

/// The courier at work, and what the cores need of it, if there is a collector.
fn start_courier(
    opened: Option<(Courier, Vec<otlp::Link>, OtlpView)>,
    office: &mut Office,
) -> Result<(Option<CourierHandle>, Vec<otlp::Link>), StartError> {
    let Some((courier, links, view)) = opened else {
        return Ok((None, Vec::new()));
    };
    office.watch_otlp(view);
    let started = courier.start(office.names(), pages::code_name);
    Ok((
        Some(started.map_err(thread("the thread of [otlp]"))?),
        links,
    ))
}

/// What all cores are given.
struct Common {
    cpus: Vec<usize>,
    driver: Option<Form>,
    clock: Clock,
    board: Arc<Board>,
    sockets_max: usize,
    memory_max: usize,
}

fn start_cores(
    common: &Common,
    links: Vec<CoreLink>,
    (ledgers, watched): (Vec<LedgerLink>, Vec<otlp::Link>),
    shares: Vec<Vec<Share>>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let (bells, mut ears) = bells(common.cpus.len()).map_err(thread("a core's bell"))?;
    let mut cores = Vec::with_capacity(shares.len());
    let (mut ledgers, mut watched) = (ledgers.into_iter(), watched.into_iter());
    let parts = common.cpus.iter().zip(links).zip(shares).enumerate();
    for (index, ((&cpu, link), listeners)) in parts {
        let worker = Worker {
            index,
            cpu,
            driver: common.driver,
            listeners,
            ear: ears.next(),
            core: CoreParts {
                board: Arc::clone(&common.board),
                clock: common.clock,
                metrics: link.metrics,
                histograms: link.histograms,
                facts: link.facts,
                access: link.access,
                ledger: ledgers.next(),
                otlp: watched.next(),
                seed: getrandom::u64().unwrap_or(index as u64),
                index,
                cores: common.cpus.len(),
                bells: Arc::clone(&bells),
                sockets_max: common.sockets_max,
                memory_max: common.memory_max,
            },
        };
        cores.push(worker.start().map_err(thread("a core"))?);
    }
    Ok(cores)
}

impl Running {
    /// Where clients are served.
    pub fn data_addresses(&self) -> &[SocketAddr] {
        &self.data
    }

    /// Where operators are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// As SIGTERM.
    pub fn drain(&self) {
        self.office.drain();
    }

    /// Waits for the end: the office says when, the cores follow, the ledger is sealed and sent
    /// on, the log is last.
    pub fn wait(self) -> Ended {
        let ended = self.office.wait();
        for core in self.cores {
            if core.join().is_err() {
                tracing::error!("a core's thread panicked");
            }
        }
        self.books.close();
        if let Some(courier) = self.courier {
            courier.finish();
        }
        self.access.finish();
        ended
    }
}

/// What rings each core, and the ends that hear.
fn bells(cores: usize) -> io::Result<(Arc<[Bell]>, impl Iterator<Item = Ear>)> {
    let pairs: Vec<(Bell, Ear)> = (0..cores)
        .map(|_| Bell::pair())
        .collect::<io::Result<_>>()?;
    let (bells, ears): (Vec<Bell>, Vec<Ear>) = pairs.into_iter().unzip();
    Ok((bells.into(), ears.into_iter()))
}

fn thread(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::Thread { what, error }
}

fn cpus(cores: &Cores) -> Result<Vec<usize>, StartError> {
    let allowed = cpu::allowed().map_err(|error| StartError::Cores(error.to_string()))?;
    match cores {
        Cores::Auto => Ok(allowed),
        Cores::Count(count) => {
            let count = count.get() as usize;
            if count > allowed.len() {
                let found = allowed.len();
                let message = format!("{count} are asked for, and {found} are allowed here");
                return Err(StartError::Cores(message));
            }
            Ok(allowed.into_iter().take(count).collect())
        }
        Cores::Cpus(cpus) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => Err(StartError::Cores(format!(
                "CPU {cpu} is not one of those allowed here: {allowed:?}"
            ))),
            None => Ok(cpus.clone()),
        },
    }
}

/// How many sockets each core may have open.
fn sockets_max(descriptors: usize, cores: usize, clients_max: usize) -> Result<usize, StartError> {
    let share = descriptors::share(descriptors, descriptors::open(), cores);
    if share < SOCKETS_MIN {
        return Err(StartError::Descriptors { descriptors, cores });
    }
    if share < clients_max {
        tracing::warn!(
            descriptors,
            cores,
            sockets_per_core = share,
            connections_per_core = clients_max,
            "fewer file descriptors than limits.connections_per_core asks for: \
             idle connections will be closed early (RLIMIT_NOFILE: ulimit -Hn, LimitNOFILE=)"
        );
    }
    Ok(share)
}

fn driver(wanted: Driver) -> Result<Option<Form>, StartError> {
    match (wanted, ring::probe()) {
        (Driver::Epoll, _) => Ok(None),
        (_, Ok(form)) => Ok(Some(form)),
        (Driver::IoUring, Err(error)) => Err(StartError::Driver(error)),
        (Driver::Auto, Err(error)) => {
            tracing::warn!(
                %error,
                "io_uring is denied here: falling back to epoll, which costs more CPU per call"
            );
            Ok(None)
        }
    }
}
