//! Layouts: the exact header of an output file, before any weight is read.
//!
//! In: a blueprint, a method, options. Out: the output's metadata, its tensors in order with types and offsets, and for
//! each the recipe that makes it; so also the file's exact size. All of it is arithmetic. Refuses what the reference
//! refuses: a very low-bit type without an importance matrix, quantizing twice, rows that fit no type. Source:
//! `llama_model_quantize_impl` in `src/llama-quant.cpp`, `weight_name_comparer` in `src/llama-model-loader.h`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use thiserror::Error;

use crate::convert::{Blueprint, TensorRecipe};
use crate::gguf::{GgmlType, Header, Metadata, TensorInfo};

use super::block;
use super::facts::Facts;
use super::method::Method;
use super::mixture::{Choice, Mixture, layer_of, requires_imatrix};
use super::options::{ImatrixOrigin, Options};
use super::split::place;

/// `GGML_QNT_VERSION`: the version of the block formats.
const QUANTIZATION_VERSION: u32 = 2;

/// Metadata of split files, which a single output does not have.
pub(super) const SPLIT_KEYS: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// An output file but for its weights.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The header.
    pub header: Header,
    /// For each tensor of the header, the index of its recipe in the blueprint.
    pub recipes: Vec<usize>,
    /// Tensors that did not get the type that was chosen for them.
    pub fallbacks: Vec<Fallback>,
    header_bytes: u64,
}

/// A tensor whose rows did not fit the type that was chosen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Index in the header.
    pub tensor: usize,
    /// The type that was chosen.
    pub wanted: GgmlType,
    /// The type in its place.
    pub used: GgmlType,
}

/// Why there is no layout.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// A metadata key that every model has.
    #[error("metadata key `{0}` is missing")]
    MissingKey(String),
    /// A metadata key whose value is not of its kind.
    #[error("metadata key `{0}` has a value of the wrong type")]
    KeyType(String),
    /// An array that has no entry for each layer.
    #[error("metadata key `{key}` has {found} entries where {expected} are needed")]
    KeyLength {
        /// The key.
        key: String,
        /// Number of layers.
        expected: u64,
        /// Length of the array.
        found: u64,
    },
    /// Rows for which the reference defines no type.
    #[error(
        "tensor `{tensor}`: rows of {row_values} values do not fit `{ty}`, and the reference names no type in its place"
    )]
    NoFallback {
        /// The tensor.
        tensor: String,
        /// The type that was chosen.
        ty: GgmlType,
        /// Values in a row.
        row_values: u64,
    },
    /// Rows that do not fit a type that was asked for by name.
    #[error("tensor `{tensor}`: rows of {row_values} values do not fit `{ty}`")]
    Width {
        /// The tensor.
        tensor: String,
        /// The type.
        ty: GgmlType,
        /// Values in a row.
        row_values: u64,
    },
    /// A type that must not be made without an importance matrix.
    #[error("tensor `{tensor}`: `{method}` makes it `{ty}`, which requires an importance matrix")]
    ImatrixRequired {
        /// The first such tensor.
        tensor: String,
        /// Its type.
        ty: GgmlType,
        /// The method.
        method: &'static str,
    },
    /// A type that this version cannot write yet.
    #[error("tensor `{tensor}` would be `{ty}`, which this version cannot write yet")]
    NotBuilt {
        /// The first such tensor.
        tensor: String,
        /// Its type.
        ty: GgmlType,
    },
    /// A tensor of integers or doubles, which the reference does not quantize.
    #[error("tensor `{tensor}` is `{from}` and cannot be made `{to}`")]
    Source {
        /// The tensor.
        tensor: String,
        /// Its type.
        from: GgmlType,
        /// The type that was chosen.
        to: GgmlType,
    },
    /// A tensor that is quantized already.
    #[error("tensor `{tensor}` is `{from}` already; making it `{to}` would lose quality twice")]
    Requantize {
        /// The tensor.
        tensor: String,
        /// Its type.
        from: GgmlType,
        /// The type that was chosen.
        to: GgmlType,
    },
    /// A tensor of a model with experts whose name tells no layer.
    #[error("tensor `{tensor}`: the name tells no layer")]
    NoLayer {
        /// The tensor.
        tensor: String,
    },
    /// A tensor of a layer that the model does not have.
    #[error("tensor `{tensor}`: the model has {layers} layers only")]
    BadLayer {
        /// The tensor.
        tensor: String,
        /// Number of layers.
        layers: u64,
    },
}

/// The layout of what `llama-quantize` makes of the blueprint's file.
///
/// # Errors
/// [`LayoutError`] names the tensor or the key. The reference finds some of them only after hours.
pub fn layout(blueprint: &Blueprint, method: &Method, options: &Options) -> Result<Layout, LayoutError> {
    let facts = Facts::new(&blueprint.metadata, &options.override_kv)?;
    let mut order: Vec<usize> = (0..blueprint.tensors.len()).collect();
    order.sort_by(|a, b| by_layer_and_name(&blueprint.tensors[*a].name, &blueprint.tensors[*b].name));
    let mut pruning = Pruning::new(&options.prune_layers);
    let mut tensors: Vec<(usize, String)> = order
        .into_iter()
        .filter_map(|recipe| Some((recipe, pruning.rename(&blueprint.tensors[recipe].name)?)))
        .collect();
    if options.keep_split {
        tensors.sort_by_key(|(recipe, _)| place(&blueprint.tensors[*recipe].source));
    }

    let names = tensors.iter().map(|(_, name)| name.as_str());
    let mut mixture = Mixture::new(method, options, &facts, names);
    let mut out = Vec::with_capacity(tensors.len());
    let mut fallbacks = Vec::new();
    for (at, (recipe, name)) in tensors.iter().enumerate() {
        let base = &blueprint.tensors[*recipe];
        let shape = trimmed(&base.shape);
        let ty = match mixture.choose(name, shape)? {
            None => base.ty,
            Some(Choice { wanted, used }) => {
                if wanted != used {
                    fallbacks.push(Fallback { tensor: at, wanted, used });
                }
                check(name, base, used, method, options)?;
                used
            }
        };
        out.push((name.clone(), shape.to_vec(), ty));
    }
    let metadata = metadata(blueprint, method, options, pruning.layers())?;
    let recipes = tensors.iter().map(|(recipe, _)| *recipe).collect();
    Ok(Layout::new(metadata, out, recipes, fallbacks))
}

fn check(
    name: &str,
    base: &TensorRecipe,
    ty: GgmlType,
    method: &Method,
    options: &Options,
) -> Result<(), LayoutError> {
    let tensor = || name.to_owned();
    let requires = requires_imatrix(name, ty, method) || (base.ty != ty && block::requires_importance(ty));
    if options.imatrix.is_none() && requires && !options.dry_run {
        return Err(LayoutError::ImatrixRequired { tensor: tensor(), ty, method: method.name });
    }
    if !base.row_values().is_multiple_of(ty.block_size() as u64) {
        return Err(LayoutError::Width { tensor: tensor(), ty, row_values: base.row_values() });
    }
    let readable =
        base.ty.is_quantized() || matches!(base.ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
    if base.ty != ty && !readable {
        return Err(LayoutError::Source { tensor: tensor(), from: base.ty, to: ty });
    }
    if base.ty.is_quantized() && base.ty != ty && !options.allow_requantize && !options.dry_run {
        return Err(LayoutError::Requantize { tensor: tensor(), from: base.ty, to: ty });
    }
    Ok(())
}

fn metadata(
    blueprint: &Blueprint,
    method: &Method,
    options: &Options,
    layers: Option<u32>,
) -> Result<Metadata, LayoutError> {
    const FILE_TYPE: &str = "general.file_type";
    let file_type = match method.file_type {
        Some(n) => n.into(),
        None => blueprint
            .metadata
            .get(FILE_TYPE)
            .cloned()
            .ok_or_else(|| LayoutError::MissingKey(FILE_TYPE.to_owned()))?,
    };
    let mut metadata = blueprint.metadata.clone();
    metadata.set_last("general.quantization_version", QUANTIZATION_VERSION);
    metadata.set_last(FILE_TYPE, file_type);
    for key in SPLIT_KEYS {
        metadata.remove(key);
    }
    for item in &options.override_kv {
        metadata.set_last(item.key.as_str(), item.to_metadata());
    }
    for (key, value) in options.imatrix.iter().flat_map(ImatrixOrigin::to_metadata) {
        metadata.set_last(key, value);
    }
    if let Some(layers) = layers {
        metadata.set_last(format!("{}.block_count", blueprint.architecture), layers);
    }
    Ok(metadata)
}

impl Layout {
    /// Whether every type in it can be written.
    ///
    /// # Errors
    /// [`LayoutError::NotBuilt`] names the first tensor whose type cannot.
    pub fn check_built(&self, blueprint: &Blueprint) -> Result<(), LayoutError> {
        let tensors = self.header.tensors.iter().zip(&self.recipes);
        match tensors.into_iter().find(|(t, r)| t.ty != blueprint.tensors[**r].ty && !block::supports(t.ty)) {
            Some((t, _)) => Err(LayoutError::NotBuilt { tensor: t.name.clone(), ty: t.ty }),
            None => Ok(()),
        }
    }

    /// The layout of the converter's own file: its order, its types.
    ///
    /// # Errors
    /// [`LayoutError::Width`], if a row fits no whole number of its type's blocks.
    pub fn converted(blueprint: &Blueprint) -> Result<Self, LayoutError> {
        for t in &blueprint.tensors {
            if !t.row_values().is_multiple_of(t.ty.block_size() as u64) {
                return Err(LayoutError::Width {
                    tensor: t.name.clone(),
                    ty: t.ty,
                    row_values: t.row_values(),
                });
            }
        }
        let tensors = blueprint.tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), t.ty)).collect();
        let recipes = (0..blueprint.tensors.len()).collect();
        Ok(Self::new(blueprint.metadata.clone(), tensors, recipes, Vec::new()))
    }

    pub(super) fn new(
        metadata: Metadata,
        tensors: Vec<(String, Vec<u64>, GgmlType)>,
        recipes: Vec<usize>,
        fallbacks: Vec<Fallback>,
    ) -> Self {
        let header = Header::new(metadata, tensors);
        let header_bytes = header.byte_len();
        Layout { header, recipes, fallbacks, header_bytes }
    }

    /// Bytes before the data section.
    pub fn header_bytes(&self) -> u64 {
        self.header_bytes
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.header_bytes + self.header.data_bytes()
    }

    /// Values in all tensors.
    pub fn values(&self) -> u64 {
        self.header.tensors.iter().map(TensorInfo::values).sum()
    }

    /// Bytes of all tensors, padding and metadata left out: the reference's "quant size".
    pub fn tensor_bytes(&self) -> u64 {
        self.header.tensors.iter().map(TensorInfo::bytes).sum()
    }

    /// Bits for each value, padding and metadata left out.
    pub fn bits_per_weight(&self) -> f64 {
        self.tensor_bytes() as f64 * 8.0 / self.values() as f64
    }
}

/// The order of the reference's map: what belongs to no layer first, layers as numbers, names as bytes.
fn by_layer_and_name(a: &str, b: &str) -> Ordering {
    layer_of(a).cmp(&layer_of(b)).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// ggml keeps no trailing extents of one.
fn trimmed(shape: &[u64]) -> &[u64] {
    let mut len = shape.len();
    while len > 1 && shape[len - 1] == 1 {
        len -= 1;
    }
    &shape[..len]
}

/// Leaves layers out and numbers the others anew.
struct Pruning {
    pruned: Vec<u32>,
    renamed: BTreeMap<u32, Option<u32>>,
    next: u32,
}

impl Pruning {
    fn new(layers: &[u32]) -> Self {
        let mut pruned = layers.to_vec();
        pruned.sort_unstable();
        Pruning { pruned, renamed: BTreeMap::new(), next: 0 }
    }

    /// The tensor's new name, or none if its layer is left out. Layers must come in order.
    fn rename(&mut self, name: &str) -> Option<String> {
        let Some((first, (start, end, layer))) = self.pruned.first().zip(block_number(name)) else {
            return Some(name.to_owned());
        };
        let number = *self.renamed.entry(layer).or_insert_with(|| {
            if self.pruned.binary_search(&layer).is_ok() {
                return None;
            }
            let number = if layer < *first { layer } else { self.next };
            self.next = number + 1;
            Some(number)
        });
        Some(format!("{}{}{}", &name[..start], number?, &name[end..]))
    }

    /// Number of layers left, if any layer was to be left out.
    fn layers(&self) -> Option<u32> {
        (!self.pruned.is_empty()).then_some(self.next)
    }
}

/// The number of the first `blk.N.` in a name, and where its digits start and end.
fn block_number(name: &str) -> Option<(usize, usize, u32)> {
    name.match_indices("blk.").find_map(|(at, prefix)| {
        let start = at + prefix.len();
        let digits = name[start..].bytes().take_while(u8::is_ascii_digit).count();
        let end = start + digits;
        let number = name[start..end].parse().ok()?;
        name[end..].starts_with('.').then_some((start, end, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{OutType, Recipe};
    use crate::gguf::Value;
    use crate::quantize::options::Override;

    fn blueprint(tensors: &[(&str, &[u64])]) -> Blueprint {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", "llama");
        metadata.set("general.quantization_version", 2u32);
        metadata.set("general.file_type", 32u32);
        metadata.set("split.count", 1u16);
        metadata.set("llama.block_count", 12u32);
        let tensors = tensors
            .iter()
            .map(|(name, shape)| TensorRecipe {
                name: (*name).to_owned(),
                shape: shape.to_vec(),
                ty: if shape.len() == 1 { GgmlType::F32 } else { GgmlType::BF16 },
                source: Recipe::Values(Vec::new()),
            })
            .collect();
        Blueprint { architecture: "llama".to_owned(), out_type: OutType::BF16, metadata, tensors }
    }

    fn method(name: &str) -> &'static Method {
        Method::from_name(name).expect("known")
    }

    fn names(layout: &Layout) -> Vec<&str> {
        layout.header.tensors.iter().map(|t| t.name.as_str()).collect()
    }

    #[test]
    fn layers_come_as_numbers_after_what_has_none() {
        let base = blueprint(&[
            ("blk.10.ffn_up.weight", &[256, 4]),
            ("token_embd.weight", &[256, 4]),
            ("blk.9.ffn_up.weight", &[256, 4]),
            ("blk.9.ffn_norm.weight", &[256]),
            ("output.weight", &[256, 4]),
        ]);
        let made = layout(&base, method("Q4_K_M"), &Options::default()).expect("fits");
        assert_eq!(
            names(&made),
            [
                "output.weight",
                "token_embd.weight",
                "blk.9.ffn_norm.weight",
                "blk.9.ffn_up.weight",
                "blk.10.ffn_up.weight"
            ]
        );
        assert_eq!(made.recipes, [4, 1, 3, 2, 0]);
        let converted = Layout::converted(&base).expect("fits");
        assert_eq!(converted.recipes, [0, 1, 2, 3, 4]);
        assert_eq!(converted.file_bytes(), converted.header_bytes() + 256 * (4 * 4 * 2 + 4));
    }

    #[test]
    fn quantization_keys_move_to_the_end_and_overrides_follow() {
        let options = Options {
            override_kv: vec![Override::parse("llama.context_length=int:512").expect("valid")],
            imatrix: Some(ImatrixOrigin {
                file: "i.gguf".to_owned(),
                dataset: None,
                entries: 3,
                chunks: Some(7),
            }),
            prune_layers: vec![1],
            ..Options::default()
        };
        let base = blueprint(&[("blk.0.ffn_up.weight", &[256, 4]), ("blk.1.ffn_up.weight", &[256, 4])]);
        let made = layout(&base, method("Q5_K_S"), &options).expect("fits");
        let pairs: Vec<_> = made.header.metadata.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            pairs,
            [
                "general.architecture=llama",
                "general.quantization_version=2",
                "general.file_type=16",
                "llama.context_length=512",
                "quantize.imatrix.file=i.gguf",
                "quantize.imatrix.entries_count=3",
                "quantize.imatrix.chunks_count=7",
                "llama.block_count=1",
            ]
        );
    }

    #[test]
    fn pruned_layers_go_and_the_others_close_up() {
        let all: Vec<String> = (0..12).map(|i| format!("blk.{i}.ffn_up.weight")).collect();
        let tensors: Vec<(&str, &[u64])> = all.iter().map(|n| (n.as_str(), [256u64, 4].as_slice())).collect();
        let options = Options { prune_layers: vec![2, 11, 3], ..Options::default() };
        let made = layout(&blueprint(&tensors), method("Q8_0"), &options).expect("fits");
        assert_eq!(names(&made), all[..9].iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(made.recipes, [0, 1, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(made.header.metadata.get("llama.block_count"), Some(&Value::U32(9)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let check = |base: &Blueprint, name: &str, options: Options, message: &str| {
            assert_eq!(layout(base, method(name), &options).expect_err(message).to_string(), message);
        };
        let base = blueprint(&[("blk.0.ffn_up.weight", &[100, 4]), ("blk.1.ffn_up.weight", &[256, 4])]);
        check(
            &base,
            "IQ2_XXS",
            Options::default(),
            "tensor `blk.1.ffn_up.weight`: `IQ2_XXS` makes it `IQ2_XXS`, which requires an importance matrix",
        );
        let embedding = blueprint(&[("token_embd.weight", &[100, 4])]);
        check(
            &embedding,
            "Q4_0",
            Options { token_embedding_type: Some(GgmlType::Q8_0), ..Options::default() },
            "tensor `token_embd.weight`: rows of 100 values do not fit `Q8_0`",
        );
        let mut quantized = blueprint(&[("blk.0.ffn_up.weight", &[256, 4])]);
        quantized.tensors[0].ty = GgmlType::Q8_0;
        check(
            &quantized,
            "Q4_0",
            Options::default(),
            "tensor `blk.0.ffn_up.weight` is `Q8_0` already; making it `Q4_0` would lose quality twice",
        );
        let allowed = Options { allow_requantize: true, ..Options::default() };
        assert!(layout(&quantized, method("Q4_0"), &allowed).is_ok());
        assert!(layout(&quantized, method("Q8_0"), &Options::default()).is_ok());
        quantized.tensors[0].ty = GgmlType::F64;
        check(&quantized, "Q4_0", allowed, "tensor `blk.0.ffn_up.weight` is `F64` and cannot be made `Q4_0`");
    }

    #[test]
    fn copying_keeps_types_and_file_type() {
        let base = blueprint(&[("blk.0.ffn_up.weight", &[256, 1]), ("a.weight", &[256, 4])]);
        let made = layout(&base, method("COPY"), &Options::default()).expect("fits");
        assert_eq!(names(&made), ["a.weight", "blk.0.ffn_up.weight"]);
        assert_eq!(made.header.tensors[1].shape, [256]);
        assert!(made.header.tensors.iter().all(|t| t.ty == GgmlType::BF16));
        assert_eq!(made.header.metadata.get("general.file_type"), Some(&Value::U32(32)));
        assert_eq!(made.bits_per_weight(), 16.0);
    }
}
