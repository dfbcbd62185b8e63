//! A job before its work: the checkpoint's headers read, every output laid out, and what is up to date found.

use std::panic::resume_unwind;

use super::JobError;
use super::files;
use super::papers::Papers;
use super::place::Place;
use super::prepared::{Planned, Prepared, Setting};
use super::recipe::{RECIPE_VERSION, REFERENCE, convert_options, imatrix, options, recipe};
use super::source::{identify, open, source_facts, source_files};
use super::stream;
use crate::base::cancel::Cancel;
use crate::card::metadata::{self, QuantizationMetadata, Source, Wanted};
use crate::config::Model;
use crate::convert::blueprint;
use crate::event::{Code, Event, Observer};
use crate::plan::{Decision, Why, decide};
use crate::quantize::split::{Part, split};
use crate::quantize::{Method, layout};

/// Reads what is needed to know everything about a job but its weights.
///
/// # Errors
/// [`JobError`] names the file, tensor, method or repository that is in the way.
pub fn prepare(
    model: &Model,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Prepared, JobError> {
    if let Some(unbuilt) = model.blocked_by() {
        return Err(JobError::Unbuilt { text: unbuilt.feature.text() });
    }
    let (checkpoint, remote) = open(&model.source, setting, observer, cancel)?;
    // A large vocabulary takes as long to convert as its files take to hash.
    let (blueprint, files) = std::thread::scope(|scope| {
        let files = scope.spawn(|| source_files(&checkpoint, remote.as_ref()));
        let blueprint = blueprint(&checkpoint, &convert_options(model, &checkpoint), observer);
        (blueprint, files.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let blueprint = blueprint?;
    let mut source = source_facts(model, &checkpoint, files?, &blueprint);
    let repo = model.repo()?;
    let mut place = match &repo {
        Some(repo) if setting.publish => Some(Place::find(repo, model, setting, observer, cancel)?),
        _ => None,
    };
    if let Some(there) = place.as_ref().and_then(Place::metadata) {
        identify(&mut source, &checkpoint, there, cancel)?;
    }
    let papers = Papers::gather(model, &checkpoint, source.repo.as_deref(), repo)?;
    let (imatrix, imatrix_sha256) = imatrix(model, cancel)?;
    let options = options(model, imatrix.as_ref())?;
    let outputs = model
        .methods
        .iter()
        .map(|name| {
            let method = Method::from_name(name)?;
            let layout = layout(&blueprint, method, &options)
                .and_then(|layout| layout.check_built(&blueprint).map(|()| layout))
                .map_err(|source| JobError::Layout { method: method.name, source })?;
            let coverage =
                imatrix.as_ref().map(|imatrix| imatrix.cover(&layout, &blueprint, method)).transpose()?;
            let stem = model.stem(method.name);
            let folder = setting.output.join(&stem);
            let recipe = recipe(model, method, &options, imatrix_sha256.as_ref(), &blueprint);
            let parts = match model.split {
                Some(limit) => {
                    split(&layout, limit).map_err(|source| JobError::Split { method: method.name, source })?
                }
                None => Vec::new(),
            };
            let decision = Decision::Make(Why::New);
            let mut planned = Planned { method, stem, folder, layout, coverage, parts, recipe, decision };
            planned.decision = decision_on(&planned, &source, place.as_ref(), setting.force);
            Ok(planned)
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    if let Some(place) = &mut place {
        place.look(&papers);
        place.look_for_proposal(&outputs);
    }
    let mut prepared = Prepared {
        model: model.clone(),
        checkpoint,
        remote,
        blueprint,
        imatrix,
        source,
        outputs,
        papers,
        place,
        streaming: None,
    };
    prepared.streaming = stream::choose(&prepared, setting)?;
    observer.event(planned(&prepared));
    if let Some(streaming) = &prepared.streaming {
        observer.event(streaming.event().about(&*prepared.model.name));
    }
    Ok(prepared)
}

/// What a job will make, to the byte.
fn planned(prepared: &Prepared) -> Event {
    let outputs = &prepared.outputs;
    let sizes: Vec<String> =
        outputs.iter().map(|o| format!("{} {} bytes", o.method.name, o.bytes())).collect();
    let methods: Vec<&str> = outputs.iter().map(|o| o.method.name).collect();
    Event::new(Code::JobPlanned, format!("planned: {}", sizes.join(", ")))
        .about(&*prepared.model.name)
        .with("methods", methods)
        .with("bytes", outputs.iter().map(Planned::bytes).collect::<Vec<_>>())
        .with("bytes_to_make", prepared.bytes_to_make())
        .with("bytes_to_fetch", prepared.bytes_to_fetch())
}
/// Whether the output is up to date, where it is published or else in its folder.
fn decision_on(planned: &Planned, source: &Source, place: Option<&Place>, force: bool) -> Decision {
    let found = std::fs::read(planned.folder.join(metadata::FILE_NAME)).ok();
    let found = found.map(|bytes| QuantizationMetadata::from_json(&bytes));
    let sizes: Option<Vec<u64>> = files::paths(&planned.whole_path(), &planned.parts)
        .iter()
        .map(|path| std::fs::metadata(path).ok().map(|m| m.len()))
        .collect();
    // Metadata may state a size, but only the layout's is right, of each file.
    let right = |sizes: &Vec<u64>| match &*planned.parts {
        [] => *sizes == [planned.bytes()],
        parts => parts.iter().map(Part::file_bytes).eq(sizes.iter().copied()),
    };
    let size = sizes.filter(|sizes| found.is_none() || right(sizes)).map(|sizes| sizes.iter().sum());
    let wanted = Wanted {
        file: &planned.file_name(),
        recipe: &planned.recipe,
        source,
        reference: REFERENCE,
        recipe_version: RECIPE_VERSION,
    };
    let here = decide(found.as_ref().map(Result::as_ref), size, &wanted, force);
    match (place.map(|place| place.has(&wanted)), here) {
        (Some(Ok(())), _) if !force => Decision::Published,
        // What was published tells more than that nothing is here.
        (Some(Err(why)), Decision::Make(Why::New)) => Decision::Make(why),
        (_, here) => here,
    }
}
