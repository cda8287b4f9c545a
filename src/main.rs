//! The program: see `srpd --help`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    if !srpd::net::memory::set_up() {
        eprintln!("the allocator can't be set up: freed memory will be returned late");
    }
    srpd::cli::main()
}
