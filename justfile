# What is done often. `just` alone lists it.

default:
    @just --list --unsorted

# A stand-in homeserver, a remote server and the gate between them, on loopback.
demo:
    cargo run -- demo

# All tests.
test:
    cargo test --locked

# Format and lints, as strict as .ci/run.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Rewrites what is made from the code: the tables of README.md.
bless:
    FEDGATE_BLESS=1 cargo test --locked --test tidy

# The cost of one verification beside that of its signature alone.
bench:
    cargo bench --locked

# Fuzzes every target for some seconds.
fuzz seconds="30":
    fuzz/run {{ seconds }}

# Licences, bans, sources and advisories of the dependencies.
deny:
    cargo deny check

# Two real Synapse servers federating through the gate.
synapse:
    cargo build --locked
    tests/synapse/run

# Everything.
ci:
    .ci/run
