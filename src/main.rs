//! The `fedgate` program: everything it does is in the library.

use std::process::ExitCode;

/// Gives memory back to the system after a flood, which the system's own allocator does not: there, what
/// bodies took stays as holes between small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages: the first bytes in one take 2 MiB, 10 MiB in all at rest. A kernel
    // that does not know them has none.
    let _unknown = rustix::thread::disable_transparent_huge_pages(true);
    fedgate::cli::main()
}
