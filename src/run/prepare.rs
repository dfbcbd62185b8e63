//! A job before its work: the checkpoint's headers read, every output laid out, and what is up to date found.

use std::panic::resume_unwind;

use super::JobError;
use super::evaluate::{Evaluating, Figures};
use super::files;
use super::foreign::Foreign;
use super::importance::{self, Calculation, Found, MadeOf};
use super::papers::Papers;
use super::place::Place;
use super::prepared::{Planned, Prepared, Setting};
use super::recipe::{
    RECIPE_VERSION, REFERENCE, convert_options, options, recipe, tower_options, tower_recipe,
};
use super::source::{identify, identify_all, open, source_facts, source_files};
use super::stream;
use crate::base::cancel::Cancel;
use crate::card::metadata::{self, QuantizationMetadata, Source, Wanted};
use crate::checkpoint::Checkpoint;
use crate::config::{self, Model};
use crate::convert::{Blueprint, blueprint, is_seeing, mmproj};
use crate::event::{Code, Event, Observer};
use crate::plan::{Decision, Why, decide};
use crate::quantize::split::{Part, split};
use crate::quantize::{Imatrix, ImatrixOrigin, Layout, Method, layout};

/// Reads what is needed to know everything about a job but its weights.
///
/// # Errors
/// [`JobError`] names the file, tensor, method or repository that is in the way; [`JobError::Unconverted`] where
/// llama.cpp's converter must take the checkpoint first.
pub fn prepare(
    model: &Model,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Prepared, JobError> {
    let (checkpoint, remote) = open(&model.source, setting, observer, cancel)?;
    let options = convert_options(model, &checkpoint);
    // A large vocabulary takes as long to convert as its files take to hash.
    let (blueprint, files) = std::thread::scope(|scope| {
        let files = scope.spawn(|| source_files(&checkpoint, remote.as_ref()));
        let blueprint = blueprint(&checkpoint, &options, observer);
        (blueprint, files.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let files = files?;
    let (blueprint, foreign) = match blueprint {
        Ok(blueprint) => (blueprint, None),
        Err(refused) => {
            let wanted = model.convert.fallback.unwrap_or(setting.fallback);
            // The converter recognises the pre-tokenizer by itself or not at all.
            if !wanted || !refused.is_about_support() || options.pre_tokenizer.is_some() {
                return Err(refused.into());
            }
            let converter = importance::tool_name(&setting.llama, observer, cancel)?;
            let foreign =
                Foreign::new(&checkpoint, remote.as_ref(), &files, &options, &refused, converter, setting);
            match foreign.blueprint() {
                Some(blueprint) => (blueprint, Some(foreign)),
                None => return Err(JobError::Unconverted(Box::new(foreign))),
            }
        }
    };
    let mut source = source_facts(model, &checkpoint, files, &blueprint);
    let repo = model.repo()?;
    let mut place = match &repo {
        Some(repo) if setting.publish => Some(Place::find(repo, model, setting, observer, cancel)?),
        _ => None,
    };
    if let Some(there) = place.as_ref().and_then(Place::metadata) {
        identify(&mut source, &checkpoint, there, cancel)?;
    }
    let papers = Papers::gather(model, &checkpoint, source.repo.as_deref(), repo)?;
    let importance = importance::find(model, setting, observer, cancel)?;
    let found = importance.found.as_ref();
    let recipe =
        found.and_then(Found::recipe).or_else(|| importance.calculation.as_ref().map(Calculation::recipe));
    let matrix = found.and_then(|f| f.matrix.as_ref());
    let origin = matrix
        .map(|m| m.origin.clone())
        .or_else(|| importance.calculation.as_ref().map(Calculation::foreseen));
    let converter = foreign.as_ref().map(|f| f.converter.as_str());
    let mut outputs = lay_out(model, setting, &blueprint, (origin, matrix), (recipe.as_ref(), converter))?;
    if !model.methods.iter().chain(&model.listed).any(|name| name.starts_with(config::TOWER))
        && is_seeing(&checkpoint)
    {
        let text = "the model sees, and its vision tower is none of the outputs";
        let hint = "`mmproj: F16` among its methods makes the file that llama.cpp needs for pictures";
        let event = Event::new(Code::TowerLeftOut, text).about(&*checkpoint.name).with("hint", hint);
        observer.event(event);
    }
    for name in model.methods.iter().filter(|name| name.starts_with(config::TOWER)) {
        outputs.push(lay_tower_out(model, setting, &checkpoint, name, observer)?);
    }
    let evaluating = Evaluating::of(model, &blueprint, setting, observer, cancel)?;
    for output in &mut outputs {
        output.decision = decision_on(output, &source, place.as_ref(), setting.force);
        if let Some(evaluating) = evaluating.as_ref().filter(|_| output.tower.is_none()) {
            let published = place.as_ref().and_then(Place::metadata);
            evaluating.look(output, published, |output| decision_on(output, &source, None, setting.force));
        }
    }
    if let Some(place) = &mut place {
        place.look(&papers);
        place.look_for_proposal(&outputs);
    }
    let (imatrix, imatrix_file) = importance.found.map(|f| (f.matrix, Some(f.file))).unwrap_or_default();
    let mut prepared = Prepared {
        model: model.clone(),
        checkpoint,
        remote,
        blueprint,
        foreign,
        imatrix,
        imatrix_file,
        calculation: importance.calculation,
        source,
        outputs,
        evaluating,
        papers,
        place,
        streaming: None,
    };
    look_for_matrix(&mut prepared, setting, cancel)?;
    prepared.streaming = stream::choose(&prepared, setting)?;
    observer.event(planned(&prepared));
    if let Some(streaming) = &prepared.streaming {
        observer.event(streaming.event().about(&*prepared.model.name));
    }
    Ok(prepared)
}

/// Every output of a model, none of them decided on. `matrix`: what the headers say of it, and the matrix itself where it
/// is there; `recipe`: what the metadata records of it, and what converted the source.
fn lay_out(
    model: &Model,
    setting: &Setting,
    blueprint: &Blueprint,
    (origin, matrix): (Option<ImatrixOrigin>, Option<&Imatrix>),
    (imatrix, converter): (Option<&metadata::Imatrix>, Option<&str>),
) -> Result<Vec<Planned>, JobError> {
    let options = options(model, origin)?;
    let output = |name: &String| {
        let method = Method::from_name(name)?;
        let layout = layout(blueprint, method, &options)
            .and_then(|layout| layout.check_built(blueprint).map(|()| layout))
            .map_err(|source| JobError::Layout { method: method.name, source })?;
        let coverage = matrix.map(|imatrix| imatrix.cover(&layout, blueprint, method)).transpose()?;
        let stem = model.stem(method.name);
        let folder = setting.output.join(&stem);
        let recipe = recipe(model, method, &options, imatrix, converter, blueprint);
        let parts = match model.split {
            Some(limit) => {
                split(&layout, limit).map_err(|source| JobError::Split { method: method.name, source })?
            }
            None => Vec::new(),
        };
        let decision = Decision::Make(Why::New);
        let figures = Figures::default();
        let tower = None;
        Ok(Planned { method, stem, folder, layout, tower, coverage, parts, recipe, decision, figures })
    };
    model.methods.iter().filter(|name| !name.starts_with(config::TOWER)).map(output).collect()
}

/// The file of a model's vision tower, not decided on. It is one whole file: llama.cpp opens no other.
fn lay_tower_out(
    model: &Model,
    setting: &Setting,
    checkpoint: &Checkpoint,
    name: &str,
    observer: &dyn Observer,
) -> Result<Planned, JobError> {
    let method = Method::of_output(name)?;
    let blueprint = mmproj(checkpoint, &tower_options(model, method), observer)?;
    let layout =
        Layout::converted(&blueprint).map_err(|source| JobError::Layout { method: method.name, source })?;
    let stem = model.stem(method.name);
    Ok(Planned {
        method,
        folder: setting.output.join(&stem),
        stem,
        layout,
        recipe: tower_recipe(model, method, &blueprint),
        tower: Some(Box::new(blueprint)),
        coverage: None,
        parts: Vec::new(),
        decision: Decision::Make(Why::New),
        figures: Figures::default(),
    })
}

/// Takes a matrix that was computed before out of the cache, where outputs are to be made with one.
fn look_for_matrix(prepared: &mut Prepared, setting: &Setting, cancel: &Cancel) -> Result<(), JobError> {
    if prepared.calculation.is_none() || prepared.to_quantize().next().is_none() {
        return Ok(());
    }
    // It is known by the content of the weights. That is nothing beside computing it.
    identify_all(&mut prepared.source, &prepared.checkpoint, cancel)?;
    let Some(mut calculation) = prepared.calculation.take() else { return Ok(()) };
    let found = calculation.look(&MadeOf::job(prepared), &prepared.model, &setting.hub.cache, cancel);
    prepared.calculation = Some(calculation);
    match found? {
        Some(found) => take_matrix(prepared, found, setting),
        None => Ok(()),
    }
}

/// Lays the outputs out once more, with a matrix that is there now: what their headers say of it is known, and how far it
/// covers them.
pub(super) fn take_matrix(prepared: &mut Prepared, found: Found, setting: &Setting) -> Result<(), JobError> {
    let Found { matrix, file } = found;
    let recipe = prepared.calculation.as_ref().map(Calculation::recipe);
    let converter = prepared.foreign.as_ref().map(|f| f.converter.as_str());
    let origin = matrix.as_ref().map(|m| m.origin.clone());
    let laid = (origin, matrix.as_ref());
    let mut outputs =
        lay_out(&prepared.model, setting, &prepared.blueprint, laid, (recipe.as_ref(), converter))?;
    for (new, old) in outputs.iter_mut().zip(&prepared.outputs) {
        new.decision = old.decision.clone();
        new.figures = old.figures.clone();
    }
    // Towers, which have no use for it, stand behind.
    outputs.extend(prepared.outputs.drain(..).skip_while(|o| o.tower.is_none()));
    (prepared.outputs, prepared.imatrix, prepared.imatrix_file) = (outputs, matrix, Some(file));
    Ok(())
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
