//! TLS on both sides: who is let in, who is believed, and what becomes of a call if they aren't.
//! The tests' own ends speak it by stock rustls.

mod clients;
mod providers;
mod reload;

use crate::support::instance::Instance;
use crate::support::{Authority, Reply, Setup, Upstream, eventually};

/// An instance that speaks TLS and has a backstop which answers `from home` in plaintext.
fn at_home(authority: &Authority) -> (Upstream, Setup) {
    let backstop = Upstream::always(Reply::chat("from home"));
    let setup = Setup::backstop_only(&backstop.url()).over_tls(&authority.server());
    (backstop, setup)
}

/// Puts another configuration in force.
fn reloaded(srpd: &Instance, setup: &Setup) {
    let reloads = || srpd.metric("srpd_config_reloads_total", &[]);
    let before = reloads();
    srpd.reload(setup);
    eventually("the reload", || reloads() > before);
}
