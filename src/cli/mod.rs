//! The command line: arguments, settings, one file per command, exit codes.
//!
//! Here errors of the library become a [`failure::Failure`] with a kind and a hint, and events find their reporter.

mod args;
mod config;
mod context;
mod convert;
mod doctor;
mod evaluate;
mod failure;
mod families;
mod hints;
mod imatrix;
mod inspect;
mod jobs;
mod output;
mod plan_text;
mod quantize;
mod report;
mod results;
mod runner;
pub mod settings;
mod show;
mod toolchain;
mod upload;
mod vocabulary;
mod work;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::args::{Cli, Command};
use self::context::Context;
use self::failure::{Failure, Kind};
use crate::base::redact::Redactor;

pub use self::failure::exit_codes;
pub use self::families::page as families;
pub use self::vocabulary::vocabulary;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Kind::Usage.code() } else { 0 };
            // Help that nobody can read is no failure.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let (done, redactor) = match Context::new(&cli.global) {
        Ok(context) => (dispatch(&cli.command, &context), context.redactor.clone()),
        Err(failure) => (Err(failure), Redactor::default()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(cli.global.json, &redactor);
            failure.exit_code()
        }
    }
}

/// docs/cli.md: every command's help.
pub fn reference() -> String {
    let mut text = String::from(
        "# Command line\n\nGenerated from the source; `JAMPH_UPDATE=1 cargo test` rewrites it.\n\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut section = |command: &mut clap::Command, title: &str| {
        // Without the version, which would make the page stale at each release.
        let help = command.render_long_help().to_string();
        let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        text += &format!("## {title}\n\n```text\n{}\n```\n\n", help.trim_end());
    };
    section(&mut root, "jamph-quantizer");
    for command in root.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        let title = command.get_name().to_owned();
        section(command, &title);
        for below in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
            let title = format!("{title} {}", below.get_name());
            section(below, &title);
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn dispatch(command: &Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Run(args) => jobs::run(args, context),
        Command::Process(args) => jobs::process(args, context),
        Command::Plan(args) => jobs::plan(args, context),
        Command::Report(args) => report::run(args, context),
        Command::Upload(args) => upload::run(args, context),
        Command::Convert(args) => convert::run(args, context),
        Command::Quantize(args) => quantize::run(args, context),
        Command::Imatrix(args) => imatrix::run(args, context),
        Command::Evaluate(args) => evaluate::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Toolchain(args) => toolchain::run(&args.command, context),
        Command::Validate(args) => config::validate(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Families => families::run(context),
        Command::Schema => config::schema(),
        Command::Init(args) => config::init(args, context),
    }
}

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(runner::result(text).as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(Kind::Internal, e)),
        _ => Ok(()),
    }
}
