//! Culvert's development commands: `cargo xtask …`.

mod build;
mod demo;
mod leftovers;
mod terminal;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Culvert's development commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring up a tunnel between two hosts on this machine, use it, and take it down.
    Demo,
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
        Command::Demo => demo::run().map(|()| ExitCode::SUCCESS),
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
