//! A job before its work: the checkpoint's headers read, every output laid out, and what is up to date found.

use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::JobError;
use super::files;
use super::papers::Papers;
use super::place::Place;
use super::stream::{self, Streaming};
use crate::base::cancel::Cancel;
use crate::base::{hash, units};
use crate::card::metadata::{self, QuantizationMetadata, Recipe, Source as SourceFacts, SourceFile, Wanted};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::config::{self, Model, Source};
use crate::convert::{Blueprint, ConvertOptions, OutType, blueprint};
use crate::event::{Code, Event, Observer};
use crate::hub::{self, HubOptions, TokenSource};
use crate::plan::{Decision, Why, decide};
use crate::quantize::imatrix::Selection;
use crate::quantize::split::{Part, split};
use crate::quantize::{
    Coverage, Imatrix, ImatrixError, ImatrixOrigin, Layout, Method, Options, TensorType, layout,
};

/// The llama.cpp whose bytes the outputs have.
pub const REFERENCE: &str = "llama.cpp 0c1e57098 (llama-cpp-python 0.3.36)";

/// Grows when the same recipe gives other bytes than before.
pub const RECIPE_VERSION: u32 = 1;

/// What every job of a run shares.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where outputs go.
    pub output: PathBuf,
    /// Where remote checkpoints come from and are kept.
    pub hub: HubOptions,
    /// Where tokens for uploads come from.
    pub tokens: TokenSource,
    /// Make outputs again that are up to date.
    pub force: bool,
    /// Publish outputs whose models say where; if not, the Hub is not even asked.
    pub publish: bool,
    /// Keep downloaded sources.
    pub keep_files: bool,
    /// Measure what quantizing loses.
    pub stats: bool,
    /// Threads that compute.
    pub threads: usize,
    /// Most memory for weights, in bytes.
    pub memory: Option<u64>,
}

/// A job that is ready to be done, or to be shown.
#[derive(Debug)]
pub struct Prepared {
    /// What was asked for.
    pub model: Model,
    /// The checkpoint; of a remote one, the headers only.
    pub checkpoint: Checkpoint,
    /// What is known of a remote one.
    pub remote: Option<hub::Description>,
    /// The conversion.
    pub blueprint: Blueprint,
    /// The importance matrix of all outputs.
    pub imatrix: Option<Imatrix>,
    /// The source, as the metadata records it.
    pub source: SourceFacts,
    /// The outputs, in the order of the methods.
    pub outputs: Vec<Planned>,
    /// What the cards say.
    pub papers: Papers,
    /// Where it is published; none where nobody says where, or nothing is to be published.
    pub place: Option<Place>,
    /// Whether the outputs go straight into the upload, and why.
    pub streaming: Option<Streaming>,
}

/// One output of a job.
#[derive(Debug)]
pub struct Planned {
    /// How the weights are quantized.
    pub method: &'static Method,
    /// Name of the file without its ending, and of its folder.
    pub stem: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Header, types, offsets, exact size.
    pub layout: Layout,
    /// How far the importance matrix covers it.
    pub coverage: Option<Coverage>,
    /// Its files, where it is split; none where it is one file.
    pub parts: Vec<Part>,
    /// What decides its bytes, as the metadata records it.
    pub recipe: Recipe,
    /// Whether it is made, and why.
    pub decision: Decision,
}

impl Planned {
    /// Name of the file; of the first one where it is split.
    pub fn file_name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its final place; that of the first file where it is split.
    pub fn path(&self) -> PathBuf {
        files::paths(&self.whole_path(), &self.parts).swap_remove(0)
    }

    /// Its place if it were one file.
    pub(super) fn whole_path(&self) -> PathBuf {
        self.folder.join(format!("{}.gguf", self.stem))
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        files::bytes(&self.layout, &self.parts)
    }
}

impl Prepared {
    /// Bytes that the outputs to be made will have.
    pub fn bytes_to_make(&self) -> u64 {
        self.to_make().map(Planned::bytes).sum()
    }

    /// Bytes that the outputs take of the disk.
    pub fn bytes_to_write(&self) -> u64 {
        if self.streaming.is_some() { 0 } else { self.bytes_to_make() }
    }

    /// Bytes that weights and outputs take of the disk, at most at once.
    pub fn disk_needed(&self) -> u64 {
        if self.streaming.is_some() { 0 } else { self.bytes_to_fetch() + self.bytes_to_make() }
    }

    /// Bytes that are published, at most: what the Hub has already is not sent.
    pub fn bytes_to_publish(&self) -> u64 {
        let new = self.outputs.iter().filter(|o| o.decision != Decision::Published);
        if self.publishes() { new.map(Planned::bytes).sum() } else { 0 }
    }

    /// Whether anything is to be published.
    pub fn publishes(&self) -> bool {
        let new = || self.outputs.iter().any(|o| o.decision != Decision::Published);
        self.place.as_ref().is_some_and(|place| place.proposed.is_none() && (place.changes() || new()))
    }

    /// The outputs that are to be made.
    pub fn to_make(&self) -> impl Iterator<Item = &Planned> {
        self.outputs.iter().filter(|o| matches!(o.decision, Decision::Make(_)))
    }

    /// Bytes of the checkpoint that must be fetched first.
    pub fn bytes_to_fetch(&self) -> u64 {
        match &self.remote {
            Some(remote) if self.bytes_to_make() > 0 => remote.missing_bytes(),
            _ => 0,
        }
    }
}

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

fn open(
    source: &Source,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Checkpoint, Option<hub::Description>), JobError> {
    let (checkpoint, remote) = match source {
        Source::Folder(path) => (Checkpoint::open(path)?, None),
        Source::Hub { repo, revision } => {
            let found = hub::describe(
                repo,
                revision.as_ref().map(config::Revision::as_str),
                &setting.hub,
                observer,
                cancel,
            )?;
            let shards = found.shards.iter().map(|s| (s.file.path.clone(), s.header.clone())).collect();
            let mut checkpoint = Checkpoint::from_headers(&found.folder, shards)?;
            checkpoint.origin.repo = Some(repo.to_string());
            checkpoint.origin.commit = Some(found.commit.clone());
            (checkpoint, Some(found))
        }
    };
    let bytes = checkpoint.weight_bytes();
    let text = format!(
        "`{source}`: {} in {}, {}",
        units::counted(checkpoint.tensors.len(), "tensor"),
        units::counted(checkpoint.shards.len(), "file"),
        units::decimal(bytes)
    );
    observer.event(
        Event::new(Code::CheckpointOpened, text)
            .about(&*checkpoint.name)
            .with("weight_bytes", bytes)
            .with("commit", checkpoint.origin.commit.clone()),
    );
    Ok((checkpoint, remote))
}

/// The base has the source's own type: what `--outtype auto` gives, but for f32, which that would cut to f16.
fn convert_options(model: &Model, checkpoint: &Checkpoint) -> ConvertOptions {
    let own = || {
        let first = checkpoint.tensors.iter().find(|t| t.entry.shape.len() >= 2).map(|t| t.entry.dtype);
        if first == Some(Dtype::F32) { OutType::F32 } else { OutType::Auto }
    };
    let out_type = match model.convert.outtype {
        None => own(),
        Some(config::OutType::F32) => OutType::F32,
        Some(config::OutType::F16) => OutType::F16,
        Some(config::OutType::BF16) => OutType::BF16,
        Some(config::OutType::Q8_0) => OutType::Q8_0,
        Some(config::OutType::Auto) => OutType::Auto,
    };
    ConvertOptions {
        out_type,
        model_name: model.convert.model_name.clone(),
        pre_tokenizer: model.convert.pre_tokenizer.clone(),
        ..ConvertOptions::default()
    }
}

/// The importance matrix, and the sha256 of its file.
fn imatrix(model: &Model, cancel: &Cancel) -> Result<(Option<Imatrix>, Option<String>), JobError> {
    let Some(config::Imatrix::File { path, given }) = &model.imatrix else { return Ok((None, None)) };
    let include = model.quantize.include_weights.clone().unwrap_or_default();
    let exclude = model.quantize.exclude_weights.clone().unwrap_or_default();
    let imatrix = Imatrix::open(path, given, &Selection { include, exclude })?;
    let sha256 =
        hash::sha256_file(path, cancel).map_err(|source| ImatrixError::Io { path: path.clone(), source })?;
    Ok((imatrix, Some(sha256)))
}

fn options(model: &Model, imatrix: Option<&Imatrix>) -> Result<Options, JobError> {
    let q = &model.quantize;
    let mut tensor_types = model
        .tensor_types
        .iter()
        .map(|t| TensorType::new(&t.pattern, t.ty))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &q.tensor_type_file {
        let text =
            std::fs::read_to_string(path).map_err(|source| JobError::Io { path: path.clone(), source })?;
        tensor_types.extend(TensorType::parse_list(&text)?);
    }
    let override_kv = q
        .override_kv
        .iter()
        .flatten()
        .map(|(key, value)| {
            let value = match value {
                config::KvValue::Integer(v) => format!("int:{v}"),
                config::KvValue::Float(v) => format!("float:{v}"),
                config::KvValue::Bool(v) => format!("bool:{v}"),
                config::KvValue::Text(v) => format!("str:{v}"),
            };
            crate::quantize::Override::parse(&format!("{key}={value}"))
        })
        .collect::<Result<_, _>>()?;
    Ok(Options {
        pure: q.pure.unwrap_or(false),
        leave_output_tensor: q.leave_output_tensor.unwrap_or(false),
        output_tensor_type: q.output_tensor_type,
        token_embedding_type: q.token_embedding_type,
        tensor_types,
        prune_layers: q.prune_layers.clone().unwrap_or_default(),
        override_kv,
        allow_requantize: q.allow_requantize.unwrap_or(false),
        dry_run: false,
        keep_split: false,
        imatrix: imatrix.map(|i| i.origin.clone()),
    })
}

/// What decides the bytes, for the metadata.
fn recipe(
    model: &Model,
    method: &Method,
    options: &Options,
    imatrix_sha256: Option<&String>,
    blueprint: &Blueprint,
) -> Recipe {
    let imatrix = |origin: &ImatrixOrigin| metadata::Imatrix {
        file: origin.file.clone(),
        sha256: imatrix_sha256.cloned(),
        dataset: origin.dataset.clone(),
        chunks: origin.chunks,
        entries: Some(origin.entries),
    };
    // Without a matrix there is nothing to choose.
    let weights =
        |names: &Option<Vec<String>>| options.imatrix.as_ref().and(names.clone()).unwrap_or_default();
    let rule =
        |t: &TensorType| metadata::TensorTypeRule { pattern: t.pattern().to_owned(), ty: t.ty.to_string() };
    Recipe {
        method: method.name.to_owned(),
        out_type: format!("{:?}", blueprint.out_type),
        model_name: model.convert.model_name.clone(),
        pre_tokenizer: model.convert.pre_tokenizer.clone(),
        imatrix: options.imatrix.as_ref().map(imatrix),
        include_weights: weights(&model.quantize.include_weights),
        exclude_weights: weights(&model.quantize.exclude_weights),
        tensor_types: options.tensor_types.iter().map(rule).collect(),
        output_tensor_type: options.output_tensor_type.map(|t| t.to_string()),
        token_embedding_type: options.token_embedding_type.map(|t| t.to_string()),
        pure: options.pure,
        leave_output_tensor: options.leave_output_tensor,
        allow_requantize: options.allow_requantize,
        prune_layers: options.prune_layers.clone(),
        override_kv: options.override_kv.iter().map(|o| format!("{}={:?}", o.key, o.value)).collect(),
        split_max_size: match model.split {
            Some(config::Split::Size(bytes)) => Some(bytes),
            _ => None,
        },
        split_max_tensors: match model.split {
            Some(config::Split::Tensors(tensors)) => Some(tensors),
            _ => None,
        },
    }
}

/// The source's files with everything that tells whether they changed: of a remote one what the Hub says, of a folder
/// the sizes with the hashes of the small ones and the times of the large ones.
fn source_files(
    checkpoint: &Checkpoint,
    remote: Option<&hub::Description>,
) -> Result<Vec<SourceFile>, JobError> {
    match remote {
        Some(found) => {
            // Git knows small files by another hash; they are here already.
            let small = |f: &hub::RemoteFile| {
                let path = found.folder.join(&f.path);
                let bytes = std::fs::read(&path).map_err(|source| JobError::Io { path, source })?;
                Ok::<_, JobError>(hash::sha256(&bytes))
            };
            let file = |f: &hub::RemoteFile| {
                let known = f.sha256.clone().map(Ok);
                let sha256 = known.or_else(|| (!f.is_weights()).then(|| small(f))).transpose()?;
                Ok(SourceFile { path: f.path.clone(), size: f.size, modified_ns: None, sha256 })
            };
            let mut files = found.files.iter().map(file).collect::<Result<Vec<_>, JobError>>()?;
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(files)
        }
        None => {
            local_files(checkpoint).map_err(|source| JobError::Io { path: checkpoint.folder.clone(), source })
        }
    }
}

/// The source, as the metadata records it.
fn source_facts(
    model: &Model,
    checkpoint: &Checkpoint,
    files: Vec<SourceFile>,
    blueprint: &Blueprint,
) -> SourceFacts {
    SourceFacts {
        name: checkpoint.name.clone(),
        repo: checkpoint.origin.repo.clone(),
        revision: match &model.source {
            Source::Hub { revision, .. } => revision.as_ref().map(ToString::to_string),
            Source::Folder(_) => None,
        },
        commit: checkpoint.origin.commit.clone(),
        files,
        architecture: blueprint.architecture.clone(),
        parameters: blueprint.tensors.iter().map(|t| t.shape.iter().product::<u64>()).sum(),
    }
}

/// The files of a folder that may decide bytes: weights, configuration, tokenizer, card.
fn local_files(checkpoint: &Checkpoint) -> io::Result<Vec<SourceFile>> {
    const SMALL: u64 = 32 << 20;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&checkpoint.folder)? {
        let entry = entry?;
        let path = entry.file_name().to_string_lossy().into_owned();
        let weights = checkpoint.shards.contains(&path);
        let decides = ["json", "jinja", "txt", "model", "md"]
            .iter()
            .any(|e| Path::new(&path).extension().is_some_and(|x| x == *e));
        let about = std::fs::metadata(entry.path())?;
        if !about.is_file() || !(weights || decides) {
            continue;
        }
        let small = !weights && about.len() <= SMALL;
        let modified = about.modified()?.duration_since(UNIX_EPOCH).ok();
        files.push(SourceFile {
            path,
            size: about.len(),
            modified_ns: (!small).then_some(modified).flatten().and_then(|t| t.as_nanos().try_into().ok()),
            sha256: if small { Some(hash::sha256(&std::fs::read(entry.path())?)) } else { None },
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Hashes weights of a folder that `known` has with the same size and another time of change, as after a checkout: only
/// their bytes tell whether they are the same.
fn identify(
    source: &mut SourceFacts,
    checkpoint: &Checkpoint,
    known: &QuantizationMetadata,
    cancel: &Cancel,
) -> Result<(), JobError> {
    let known: Vec<&SourceFile> = known.outputs.iter().flat_map(|o| &known.made(o).source.files).collect();
    for file in source.files.iter_mut().filter(|f| f.sha256.is_none()) {
        let of_another_time = |k: &&&SourceFile| {
            k.path == file.path
                && k.size == file.size
                && k.sha256.is_some()
                && k.modified_ns != file.modified_ns
        };
        if known.iter().any(|k| of_another_time(&k)) {
            file.sha256 = Some(hashed(&checkpoint.folder.join(&file.path), cancel)?);
        }
    }
    Ok(())
}

/// Hashes the weights of a folder, so that others can tell what their outputs were made from.
pub(super) fn identify_all(
    source: &mut SourceFacts,
    checkpoint: &Checkpoint,
    cancel: &Cancel,
) -> Result<(), JobError> {
    for file in source.files.iter_mut().filter(|f| f.sha256.is_none()) {
        file.sha256 = Some(hashed(&checkpoint.folder.join(&file.path), cancel)?);
    }
    Ok(())
}

fn hashed(path: &Path, cancel: &Cancel) -> Result<String, JobError> {
    hash::sha256_file(path, cancel).map_err(|source| match source.kind() {
        io::ErrorKind::Interrupted => JobError::Stopped,
        _ => JobError::Io { path: path.to_owned(), source },
    })
}

/// Whether the output is up to date, where it is published or else in its folder.
fn decision_on(planned: &Planned, source: &SourceFacts, place: Option<&Place>, force: bool) -> Decision {
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
