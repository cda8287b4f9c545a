//! srpd-bench: the yardsticks that srpd is held against. A raw byte forwarder on the same runtime
//! (the floor), a canned OpenAI upstream, and clients of several kinds. `perf/compare` runs them.

mod crowd;
mod forward;
mod gone;
mod handshakes;
mod load;
mod pacer;
mod plan;
mod runtime;
mod shape;
mod tally;
mod tls;
mod upstream;
mod watch;
mod wire;

use std::io;
use std::process::ExitCode;

use clap::Parser;

/// Measuring instruments; each subcommand runs one thread, pinned if `--cpu` says so.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Forward bytes both ways between each client connection and one upstream connection of its
    /// own: what any proxy on this runtime costs at least.
    Forward(forward::Options),
    /// Answer `POST /v1/chat/completions` with canned completions and streams.
    Upstream(upstream::Options),
    /// Call an endpoint, in a closed or an open loop, and print the figures as one JSON object.
    Load(load::Options),
    /// Take up room with connections that do little, until standard input ends.
    Crowd(crowd::Options),
    /// Open TLS connections at a steady rate, and print the figures as one JSON object.
    Handshakes(handshakes::Options),
    /// Leave in the middle of calls, and print how long the upstream took to see it.
    Gone(gone::Options),
}

fn main() -> ExitCode {
    let result: io::Result<()> = match Command::parse() {
        Command::Forward(options) => forward::run(&options),
        Command::Upstream(options) => upstream::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Crowd(options) => crowd::run(&options),
        Command::Handshakes(options) => handshakes::run(&options),
        Command::Gone(options) => gone::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("srpd-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
