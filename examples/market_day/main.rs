//! A day on the market, played with the very rules that an instance serves by: three locations,
//! firm work that follows the sun, batch work at night, and an outage at noon.
//!
//! ```sh
//! cargo run --release --example market_day             # tables on the terminal
//! cargo run --release --example market_day -- --html day.html
//! ```
//!
//! The same seed plays the same day. What must hold at every step is checked on the way: the
//! example panics rather than show a day that broke a rule.

mod report;
mod world;

use std::path::PathBuf;

use clap::Parser;

/// Plays one day of the market and shows what it came to.
#[derive(Parser)]
struct Arguments {
    /// The day: the same number plays the same one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let day = world::World::new(arguments.seed).play();
    print!("{}", report::text(&day));
    if let Some(path) = arguments.html {
        std::fs::write(&path, report::html(&day))?;
        println!("\nPlots are in {}.", path.display());
    }
    Ok(())
}
