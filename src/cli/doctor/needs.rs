//! What an instance asks of its host.

use std::net::IpAddr;

use super::host::Host;
use crate::config::{Config, Cores, Driver};

/// Defaults of docs/CONFIGURATION.md, where there is no configuration to ask.
const CONNECTIONS_PER_CORE: usize = 20_000;
const CALLS_PER_CORE: usize = 10_000;
const PORTS: [u16; 2] = [8080, 9090];

/// What an instance asks for.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// `instance.cores`
    pub(super) cores: Cores,
    /// `instance.driver`
    pub(super) driver: Driver,
    /// Ports that it listens on.
    pub(super) ports: Vec<u16>,
    /// `limits.connections_per_core`
    pub(super) connections: usize,
    /// `limits.calls_per_core`
    pub(super) calls: usize,
    /// `limits.memory_bytes`; none: what the host allows.
    pub(super) memory: Option<usize>,
    /// `log.access`
    pub(super) access_log: bool,
    /// How many endpoints its providers have.
    pub(super) endpoints: usize,
    /// Whether one of them is a name that must be looked up.
    pub(super) names: bool,
}

impl Needs {
    /// Without a configuration: its defaults.
    pub(super) fn usual() -> Needs {
        Needs {
            cores: Cores::Auto,
            driver: Driver::Auto,
            ports: PORTS.to_vec(),
            connections: CONNECTIONS_PER_CORE,
            calls: CALLS_PER_CORE,
            memory: None,
            access_log: true,
            endpoints: 1,
            names: true,
        }
    }

    pub(super) fn of(config: &Config) -> Needs {
        let hosts = config
            .providers
            .iter()
            .flat_map(|provider| &provider.endpoints);
        let ports = config
            .instance
            .listen
            .iter()
            .chain([&config.instance.admin]);
        Needs {
            cores: config.instance.cores.clone(),
            driver: config.instance.driver,
            ports: ports
                .map(|address| address.port())
                .filter(|port| *port != 0)
                .collect(),
            connections: config.limits.connections_per_core,
            calls: config.limits.calls_per_core,
            memory: config.limits.memory_bytes,
            access_log: config.log.access,
            endpoints: hosts.clone().count(),
            names: hosts
                .clone()
                .any(|endpoint| endpoint.host.parse::<IpAddr>().is_err()),
        }
    }

    /// The CPUs that its cores would have: those asked for, whether or not they are allowed.
    pub(super) fn cpus(&self, host: &Host) -> Vec<usize> {
        let allowed = host.allowed().unwrap_or_default();
        match &self.cores {
            Cores::Auto => allowed,
            Cores::Count(count) => allowed.into_iter().take(count.get() as usize).collect(),
            Cores::Cpus(cpus) => cpus.clone(),
        }
    }
}
