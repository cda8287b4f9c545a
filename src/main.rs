//! The program: see `srpd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    srpd::cli::main()
}
