//! The loopback Hub of the tests, for trying things by hand: `cargo run --example loopback-hub -- --help`.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a tool of the tests")]

mod hub;

use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc;

use clap::Parser;
use hub::{Hub, Role, Settings};

/// A Hugging Face Hub on loopback: takes uploads (Xet, LFS) and serves downloads; forgets everything when it ends
#[derive(Parser)]
#[command(name = "loopback-hub")]
struct Args {
    /// Port to listen on [default: any that is free]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Keep everything here, for the next start [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Serve a folder as a repository; may be given again
    #[arg(long, value_name = "OWNER/NAME=FOLDER")]
    repo: Vec<String>,
    /// Whose token is given, and where new repositories go
    #[arg(long, value_name = "NAME", default_value = "me")]
    owner: String,
    /// The token to take [default: one that is made up]
    #[arg(long, value_name = "hf_…")]
    token: Option<String>,
    /// A repository that takes the workflow for its publisher; may be given again
    #[arg(long, value_name = "OWNER/NAME")]
    trust: Vec<String>,
    /// A Hub without Xet: large files go by LFS
    #[arg(long)]
    no_xet: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let hub = Hub::with(Settings {
        port: args.port,
        xet: !args.no_xet,
        page: 1000,
        folder: args.dir,
        ..Settings::default()
    });
    let token = match args.token {
        None => hub.token(&args.owner, Role::Write),
        Some(token) => {
            hub.member(&token, &args.owner, &[], Role::Write);
            token
        }
    };
    for repo in &args.repo {
        let (id, folder) = repo.split_once('=').ok_or("--repo takes OWNER/NAME=FOLDER")?;
        hub.add_folder(id, folder.as_ref())?;
    }
    args.trust.iter().for_each(|id| hub.trust(id));
    println!("A Hub on loopback, for {:?}. In another shell:\n", args.owner);
    println!("    export HF_ENDPOINT={}", hub.endpoint());
    println!("    export HF_TOKEN={token}");
    if !args.trust.is_empty() {
        let workflow = hub.workflow();
        println!("\nAs a workflow on GitHub that {} trusts:\n", args.trust.join(", "));
        println!("    export ACTIONS_ID_TOKEN_REQUEST_URL='{}'", workflow.request_url);
        println!("    export ACTIONS_ID_TOKEN_REQUEST_TOKEN={}", workflow.request_token);
    }
    if !args.repo.is_empty() {
        println!("\nRepositories: {}", hub.repos().join(", "));
    }
    println!("\nCtrl-C ends it.");

    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || _ = stop.send(()))?;
    stopped.recv()?;
    Ok(())
}
