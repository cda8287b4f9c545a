//! Servers that have the ledger's entries, too. The files stay the truth: a sink reads them as
//! `srpd ledger tail` does, sends only what is on disk, and writes down how far it has come when the
//! server has acknowledged it. So it needs no queue, a call knows nothing of it, and whatever dies,
//! it goes on from there; what is sent twice then changes nothing, as each entry has its id.
//!
//! Each sink has a thread: a disk or a server that is slow delays nobody else.

mod batch;
mod courier;
mod nats;
mod postgres;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::ledger::sent::{SinkState, SinkStates};
use crate::config::{Config, Sink};
use courier::{Courier, Order};

/// The threads of the configuration in force.
pub struct Sinks {
    directory: PathBuf,
    states: SinkStates,
    threads: Mutex<Vec<Running>>,
}

struct Running {
    thread: JoinHandle<()>,
    order: watch::Sender<Order>,
}

impl Sinks {
    /// Starts what a configuration asks for. None if it has no ledger. `states` is what retention
    /// and the admin plane know the sinks by.
    pub fn start(config: &Config, states: SinkStates) -> Option<Sinks> {
        let sinks = Sinks {
            directory: config.ledger.as_ref()?.directory.clone(),
            states,
            threads: Mutex::default(),
        };
        sinks.apply(config);
        Some(sinks)
    }

    /// Ends the sinks in force, and starts those of a new configuration. It waits for nobody: a new
    /// thread takes over when its predecessor has let go.
    pub fn apply(&self, config: &Config) {
        let now = jiff::Timestamp::now().as_second();
        let known = self.states.load();
        let state = |sink: &Sink| {
            let old = known.iter().find(|state| state.name == sink.name);
            old.map_or_else(|| Arc::new(SinkState::new(&sink.name, now)), Arc::clone)
        };
        let states: Vec<Arc<SinkState>> = config.sinks.iter().map(state).collect();
        self.states.store(Arc::new(states.clone()));
        let mut threads = self.lock();
        for running in threads.drain(..) {
            running.order.send_replace(Order::Leave);
        }
        for (sink, state) in config.sinks.iter().zip(states) {
            match self.start_one(sink, Arc::clone(&state)) {
                Ok(running) => threads.push(running),
                Err(error) => {
                    state.set_failing(true);
                    tracing::error!(sink = %sink.name, %error, "ledger: a sink's thread can't be had");
                }
            }
        }
    }

    fn start_one(&self, sink: &Sink, state: Arc<SinkState>) -> io::Result<Running> {
        let (order, orders) = watch::channel(Order::Send);
        let courier = Courier::new(self.directory.clone(), sink.clone(), state);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("srpd-sink".into())
            .spawn(move || runtime.block_on(courier.run(orders)))?;
        Ok(Running { thread, order })
    }

    /// The ledger is sealed: what is left is sent, if that can be done soon, and they end.
    pub fn finish(&self) {
        let threads: Vec<Running> = self.lock().drain(..).collect();
        for running in &threads {
            running.order.send_replace(Order::Finish);
        }
        for running in threads {
            if running.thread.join().is_err() {
                tracing::error!("a sink's thread panicked");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
