//! The `fedgate` program: everything it does is in the library.

use std::process::ExitCode;

/// Gives memory back to the system after a flood, which the system's own allocator does not: there, what
/// bodies took stays as holes between small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fedgate::cli::main()
}
