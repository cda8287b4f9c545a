//! A reload, step by step: the file is read, what is new in it is looked at, and only then is it put
//! in force.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::discovery::Source;
use super::super::discovery::resolver::Resolver;
use super::super::discovery::survey::survey;
use super::super::reload::{ReloadError, check_live};
use super::life::status;
use super::{Event, FIRST_LOOKS_WITHIN, Loop};
use crate::base::Moment;
use crate::config::{self, Config};

impl Loop {
    pub(super) fn begin_reload(&mut self) {
        if self.reloading {
            self.reload_again = true;
            return;
        }
        let Some(path) = self.source.clone() else {
            tracing::warn!("reload asked for, but the configuration came from no file");
            return;
        };
        self.reloading = true;
        self.systemd.reloading();
        self.send_when_done(async { Event::Loaded(load(path).await) });
    }

    /// What is new has to be known before the tables that need it are published, or a reload
    /// would take a serving provider out for the time of a look.
    pub(super) fn look_then_use(&mut self, config: Box<Config>) {
        let desk = self.desk.borrow();
        if let Err(error) = check_live(&desk.config, &config, jiff::Timestamp::now()) {
            drop(desk);
            self.end_reload(Err(error));
            return;
        }
        let unknown: Vec<Source> = desk.unknown(&config);
        let looked_at = Rc::new(desk.supply.hosts());
        let resolver = Rc::new(Resolver::new(&config.dns.servers));
        self.send_when_done(async {
            let findings = survey(unknown, looked_at, resolver, FIRST_LOOKS_WITHIN).await;
            Event::ReadyToUse(config, findings)
        });
    }

    pub(super) fn end_reload(&mut self, result: Result<(), ReloadError>) {
        let mut desk = self.desk.borrow_mut();
        desk.counts.last_reload_refused = result.is_err();
        match result {
            Ok(()) => {
                // From now on those of the new file are asked.
                self.resolver_until = Moment(0);
                desk.counts.reloads += 1;
                if let Some(sinks) = &desk.sinks {
                    sinks.apply(&desk.config);
                }
                for warning in &desk.config.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(epoch = desk.board.epoch(), "configuration reloaded");
            }
            Err(error) => {
                desk.counts.reload_failures += 1;
                tracing::error!("reload refused, the configuration in force stays: {error}");
            }
        }
        self.systemd.serving(&status(&desk));
        drop(desk);
        self.reloading = false;
        if std::mem::take(&mut self.reload_again) {
            self.begin_reload();
        }
    }
}

async fn load(path: PathBuf) -> Result<Box<Config>, ReloadError> {
    let read = move || config::load(Path::new(&path), jiff::Timestamp::now());
    match tokio::task::spawn_blocking(read).await {
        Ok(config) => Ok(Box::new(config?)),
        Err(error) => Err(ReloadError::Unread(error.to_string())),
    }
}
