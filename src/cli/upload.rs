//! `upload`: an output's folder, or several of one model, into a repository.

use std::time::Instant;

use serde_json::json;

use super::args::UploadArgs;
use super::failure::{Failure, Kind};
use super::work::published_line;
use super::{Context, print};
use crate::base::units;
use crate::config::RepoId;
use crate::event::{About, Code, Event, Observer};
use crate::hub::{self, Destination, Transport};
use crate::publish::{self, Order, Texts};
use crate::run;

/// Runs `upload`.
///
/// # Errors
/// The folder has nothing to publish, or publishing failed.
pub(super) fn run(args: &UploadArgs, context: &Context) -> Result<(), Failure> {
    let start = Instant::now();
    let repo = RepoId::parse(&args.repo).map_err(|e| Failure::new(Kind::Usage, e))?;
    let found = publish::read_folder(&args.folder)?;
    let to = Destination { repo, private: args.private, create_pr: args.create_pr };
    let subject = to.repo.to_string();
    let observer = About { observer: &*context.observer, subject: &subject };
    let tokens = context.tokens()?;
    let options = run::signed_in(&to.repo, &tokens, context.hub(), &observer, &context.cancel)?;
    hub::check_rights(&to, &options, &observer, &context.cancel)?;
    let order = Order {
        to: &to,
        texts: Texts {
            fields: &found.fields,
            description: &found.description,
            quantized_by: found.quantized_by.as_deref(),
            licences: &found.licences,
        },
        outputs: &found.outputs,
        listed: None,
        transport: if args.no_xet { Transport::NoXet } else { Transport::Auto },
    };
    let receipt = run::publish(&order, &options, &observer, &context.cancel)?;
    if let Some(receipt) = &receipt {
        run::keep(receipt, &found.folders, &observer);
    }
    let outputs = units::counted(found.outputs.len(), "output");
    let what = if receipt.is_some() { "published" } else { "published already" };
    let text = format!("{outputs} {what}; {}", units::duration(start.elapsed()));
    observer.event(Event::new(Code::RunFinished, text).with("published", receipt.is_some()));
    print(&match (&receipt, context.json) {
        (receipt, true) => format!("{}\n", json!({ "published": receipt.is_some(), "receipt": receipt })),
        (Some(receipt), false) => format!("{}\n", published_line(receipt)),
        (None, false) => format!("up to date: {}/{}\n", options.endpoint, to.repo),
    })
}
