//! Culvert's development commands: `cargo xtask …`.

mod bench;
mod build;
mod completions;
mod demo;
mod deny;
mod dist;
mod fuzz;
mod interop_matrix;
mod leftovers;
mod soak;
mod terminal;
mod test;
mod test_report;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use fuzz::Enough;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Culvert's development commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure how fast the programs are, beside the originals.
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Write the shell completions anew.
    Completions,
    /// Bring up a tunnel between two hosts on this machine, use it, and take it down.
    Demo,
    /// Check the licences of what is built in, and advisories where cargo-deny is installed.
    Deny,
    /// Make the archives that users install: static tarball, Debian package, root file system.
    Dist {
        /// Install each, use what it holds, and remove it again.
        #[arg(long)]
        check: bool,
    },
    /// Feed what reads strangers' bytes with made-up ones.
    Fuzz {
        /// The targets; all of them when none is named.
        targets: Vec<String>,
        /// How long each runs.
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// Instead of a time, how often each is executed.
        #[arg(long)]
        executions: Option<u64>,
    },
    /// Keep a server's tunnels busy while its peers come and go, and look at its memory.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// Install what the tests need, build everything, and run all tests.
    Test {
        /// Also what takes minutes: a gigabyte each way, traffic across a rekey.
        #[arg(long)]
        long: bool,
    },
    /// Run a command in a virtual machine with the kernel's WireGuard module, whose files are this
    /// machine's. What it writes is lost.
    Vm {
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Bench { bench } => bench::run(&bench).map(|()| ExitCode::SUCCESS),
        Command::Completions => completions::run().map(|()| ExitCode::SUCCESS),
        Command::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Command::Deny => deny::run().map(|()| ExitCode::SUCCESS),
        Command::Dist { check } => dist::run(check).map(|()| ExitCode::SUCCESS),
        Command::Fuzz { targets, seconds, executions } => {
            let enough = executions.map_or(Enough::Seconds(seconds), Enough::Executions);
            fuzz::run(&targets, enough).map(|()| ExitCode::SUCCESS)
        }
        Command::Soak { minutes } => soak::run(minutes).map(|()| ExitCode::SUCCESS),
        Command::Test { long } => test::run(long).map(|()| ExitCode::SUCCESS),
        Command::Vm { command } => vm::run(&command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
