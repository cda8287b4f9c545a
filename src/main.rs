//! The program: see `srpd --help`.

use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if !srpd::net::memory::set_up() {
        eprintln!("the allocator can't be set up: freed memory will be returned late");
    }
    srpd::cli::main()
}
