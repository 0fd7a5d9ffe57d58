//! The `forebay-agent` binary.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Forebay's sidecar agent: samples a component and inspects its batches.
#[derive(Parser)]
#[command(name = "forebay-agent", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: forebay_agent::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the data characteristics of files, one JSON object a line.
    Inspect {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Inspect { files }) => forebay_agent::inspect(&files, &mut io::stdout().lock()),
        None => forebay_agent::main(cli.args),
    }
}
