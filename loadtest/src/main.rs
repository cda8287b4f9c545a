//! srpd-load: a load generator for OpenAI's API. Calls are due when the schedule says, and their
//! latency counts from then, so that a server that stalls can't hide it by slowing the generator
//! down. `srpd-load fleet` simulates inference servers to aim at.

mod arrivals;
mod cli;
mod clock;
mod compare;
mod drive;
mod fleet;
mod measure;
mod net;
mod prompts;
mod random;
mod report;
mod request;
mod runtime;
mod scenario;
mod stamp;
mod wire;

fn main() -> std::process::ExitCode {
    cli::main()
}
