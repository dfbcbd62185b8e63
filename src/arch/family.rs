//! What a family of models is: everything in which its conversion differs from that of any other.
//!
//! A family's file is one [`Family`] that states what is its own and takes the rest from [`Family::PLAIN`]: the plain
//! decoder, whose tensors go into the GGUF file one by one under another name.

use std::borrow::Cow;

use super::{Extent, HparamError, Hparams, Key, LAYERS, Tensor};

/// A family of models that are converted in the same way.
#[derive(Debug)]
pub struct Family {
    /// `general.architecture`, and the prefix of the family's metadata.
    pub name: &'static str,
    /// The classes of checkpoints: `architectures` in `config.json`.
    pub architectures: &'static [&'static str],
    /// Those of them whose tensors lack the prefix `model.`, which is put before.
    pub unprefixed: &'static [&'static str],
    /// Starts of tensor names that are taken off, each once, in this order.
    pub stripped: &'static [&'static str],
    /// Ends of tensor names, and what takes their place.
    pub endings: &'static [(&'static str, &'static str)],
    /// Tensors that are left out, by their names without what the two before take off.
    pub skipped: &'static [Skip],
    /// Parts of tensor names, and what takes their place.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Whole names, and what takes their place where the model tells texts apart by labels of its own.
    pub labelled: &'static [(&'static str, &'static str)],
    /// Endings of the names that lack `.weight`, which is put behind.
    pub unsuffixed: &'static [&'static str],
    /// The tensors that a model of the family has: sets that others have, too, and its own.
    pub tensors: &'static [&'static [Tensor]],
    /// Names of tensors in the family's checkpoints, in place of [`Tensor::aliases`].
    pub names: &'static [(Tensor, &'static [&'static str])],
    /// Shapes other than [`Tensor::extents`], in the checkpoint's order.
    pub shapes: &'static [(Tensor, &'static [Extent])],
    /// Tensors that checkpoints may have under several names: the first counts, in the order in which they are read.
    pub shared: &'static [Tensor],
    /// Tensors that lose rows at their start, and how many.
    pub cut_rows: &'static [(Tensor, CutRows)],
    /// Tensors that become several.
    pub splits: &'static [Split],
    /// Tensors whose parts are no runs of their rows.
    pub cuts: &'static [Cut],
    /// Tensors with values of a linear attention: by their key in the checkpoint, all first ones first in the GGUF file.
    pub tiled: &'static [(Tensor, Tiled)],
    /// Tensors that get other extents, and no other values.
    pub reshaped: &'static [(Tensor, Reshape)],
    /// Numbered tensors of a layer that become one.
    pub stacks: &'static [Stack],
    /// Modules (last part of the name but the suffix) whose rows are reordered within each head, from the halves of a
    /// rotary embedding one after the other to the halves interleaved.
    pub rope_rows: &'static [(&'static str, Heads)],
    /// Whether weights of norms are stored less one.
    pub shifted_norms: bool,
    /// Endings of the names of those norms that are not, all the same.
    pub unshifted: &'static [&'static str],
    /// What the tensor of a name in the checkpoint is multiplied with.
    pub factors: fn(&str, &Hparams) -> Result<Factors, HparamError>,
    /// Endings of the names of single numbers, one a layer, that become metadata, and the key.
    pub scalars: &'static [(&'static str, &'static str)],
    /// Whether tensors may have biases.
    pub biases: bool,
    /// Whether an output matrix is written where the configuration says that the embeddings serve as one.
    pub tied_output: bool,
    /// Whether an output matrix with the very values of the embeddings is left out.
    pub distinct_output: bool,
    /// Whether rows of the embeddings beyond the vocabulary are cut off.
    pub cut_embeddings: bool,
    /// Tensors of a row a token that get rows of zeros for the tokens that they lack.
    pub filled_rows: &'static [Tensor],
    /// Tensors that the checkpoint does not have, which come first.
    pub computed: &'static [Computed],
    /// Whether the configuration is read as it stands, without the defaults of its class.
    pub plain_config: bool,
    /// Changes hyper-parameters before anything is made of them, and names the family that they speak of, if another.
    pub variant: fn(&mut Hparams) -> Result<Option<&'static Family>, HparamError>,
    /// What becomes of layers beyond the stated number, which predict more tokens than the next.
    pub more_layers: MoreLayers,
    /// Whether weights in MXFP4 stay as they are.
    pub microscaled: bool,
    /// Changes hyper-parameters before [`Family::keys`] are made of them.
    pub adjust: fn(&mut Hparams) -> Result<(), HparamError>,
    /// Metadata, in the order in which it is written.
    pub keys: &'static [Key],
    /// How the vocabulary is found.
    pub vocabulary: Vocabulary,
    /// Whether rerankers come under the same architectures: of their output matrix, the rows of two answers are kept.
    pub rerankers: bool,
}

impl Family {
    /// A family without anything of its own.
    pub const PLAIN: Family = Family {
        name: "",
        architectures: &[],
        unprefixed: &[],
        stripped: &[],
        endings: &[],
        skipped: &[],
        renamed: &[],
        labelled: &[],
        unsuffixed: &[],
        tensors: &[],
        names: &[],
        shapes: &[],
        shared: &[],
        cut_rows: &[],
        splits: &[],
        cuts: &[],
        tiled: &[],
        reshaped: &[],
        stacks: &[],
        rope_rows: &[],
        shifted_norms: false,
        unshifted: &[],
        factors: |_, _| Ok(Factors::NONE),
        scalars: &[],
        biases: true,
        tied_output: true,
        distinct_output: false,
        cut_embeddings: false,
        filled_rows: &[],
        computed: &[],
        plain_config: false,
        variant: |_| Ok(None),
        more_layers: MoreLayers::Unknown,
        microscaled: false,
        adjust: |_| Ok(()),
        keys: &[Key::Common],
        vocabulary: Vocabulary::Gpt2,
        rerankers: false,
    };

    /// The tensors that a model of the family has.
    pub fn all_tensors(&self) -> impl Iterator<Item = Tensor> {
        self.tensors.iter().copied().flatten().copied()
    }

    /// The extents of a tensor in this family's checkpoints.
    pub fn extents(&self, tensor: Tensor) -> &'static [Extent] {
        self.shapes.iter().find(|(t, _)| *t == tensor).map_or(tensor.extents(), |(_, extents)| extents)
    }

    /// The name of the checkpoint's tensor `name` without what the family takes off it.
    pub fn bare<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let name = self.stripped.iter().fold(name, |name, start| name.strip_prefix(start).unwrap_or(name));
        self.endings.iter().fold(Cow::Borrowed(name), |name, (end, new)| match name.strip_suffix(end) {
            Some(stem) => Cow::Owned(format!("{stem}{new}")),
            None => name,
        })
    }

    /// Whether the GGUF file's tensor `name` is one that checkpoints may have several times.
    pub fn shares(&self, name: &str) -> bool {
        self.shared.iter().any(|tensor| name.strip_suffix(".weight") == Some(tensor.name()))
    }

    /// The names of a tensor in this family's checkpoints.
    pub fn names(&self, tensor: Tensor) -> &'static [&'static str] {
        self.names.iter().find(|(t, _)| *t == tensor).map_or(tensor.aliases(), |(_, names)| names)
    }

    /// Whether the checkpoint's tensor `name` is the weight of a norm that is stored less one.
    pub fn shifts(&self, name: &str) -> bool {
        self.shifted_norms
            && name.ends_with("norm.weight")
            && !self.unshifted.iter().any(|end| name.ends_with(end))
    }

    /// The number of layers that a model of the family has in a GGUF file.
    ///
    /// # Errors
    /// Where it is not stated.
    pub fn layers(&self, h: &Hparams) -> Result<u32, HparamError> {
        let layers = h.required_count(LAYERS)?;
        match self.more_layers {
            MoreLayers::Kept(names) | MoreLayers::KeptApart(names) => {
                Ok(layers.saturating_add(h.count(names)?.unwrap_or(0)))
            }
            MoreLayers::Unknown | MoreLayers::LeftOut => Ok(layers),
        }
    }

    /// Whether the tensor of this bare name is left out.
    pub fn skips(&self, name: &str) -> bool {
        self.skipped.iter().any(|skip| match skip {
            Skip::Name(whole) => name == *whole,
            Skip::Prefix(start) => name.starts_with(start),
            Skip::Part(part) => name.contains(part),
            Skip::Suffix(end) => name.ends_with(end),
        })
    }
}

/// Rows that a tensor loses at its start, of the hyper-parameters.
pub type CutRows = fn(&Hparams) -> Result<u64, HparamError>;

/// Tensors that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The one of this name.
    Name(&'static str),
    /// Those whose names start so.
    Prefix(&'static str),
    /// Those that have this in their names.
    Part(&'static str),
    /// Those whose names end so.
    Suffix(&'static str),
}

/// Heads of a tensor whose rows are reordered within each head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// The query heads.
    Query,
    /// The key heads.
    Key,
}

/// A tensor whose rows are those of several, one after the other; in a stack, for each of its parts.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    /// Name in the checkpoint without `.weight` or `.bias`; `{}` is the layer.
    pub name: &'static str,
    /// What it becomes, in the order of the rows and of the output.
    pub into: &'static [Tensor],
}

/// A tensor of which others have rows that do not follow one another, or columns.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Name in the checkpoint without `.weight` or `.bias`; `{}` is the layer.
    pub name: &'static str,
    /// Whether its matrices are transposed: what become rows are columns. Of a bias, and of blocks of MXFP4, never.
    pub transposed: bool,
    /// Whose rows are which.
    pub by: By,
    /// What it becomes, in the order of the output.
    pub into: &'static [Tensor],
}

impl Cut {
    /// One whose columns are rows, those of one tensor after those of the other.
    pub(super) const fn on_its_side(name: &'static str, into: &'static [Tensor]) -> Self {
        Cut { name, transposed: true, by: By::Runs, into }
    }
}

/// Whose rows are which in a [`Cut`].
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// Those of the first tensor, those of the second, and so on; as many of each.
    Runs,
    /// The tensors take turns.
    Turns,
    /// Each key head has rows of all tensors, of so many rows each; whether the head's part is transposed then.
    KeyHeads(&'static [(Extent, bool)]),
    /// Each key of a linear attention has rows of so many rows each. They become those of all keys, one after the other;
    /// neighbours of the same tensor stay together.
    LinearKeys(&'static [Extent]),
    /// Each key head has a group of heads: its query heads, itself, its value head. They become those of all queries, all
    /// keys, all values: three tensors, or one of all of them.
    Groups {
        /// Query heads and key heads.
        heads: fn(&Hparams) -> Result<(u32, u32), HparamError>,
        /// Whether rows of queries and keys are reordered within each head, as by [`Family::rope_rows`].
        rope: bool,
    },
}

/// Where the values of a linear attention are in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiled {
    /// Rows.
    Rows,
    /// Rows, after those of queries and keys.
    RowsAfterKeys,
    /// One row a value.
    Row,
    /// Columns.
    Columns,
}

/// What becomes of layers beyond the stated number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoreLayers {
    /// There are none.
    Unknown,
    /// They are left out.
    LeftOut,
    /// They come after the others, as many as the first of these hyper-parameters says that is there.
    Kept(&'static [&'static str]),
    /// The same, but their tensors have names of their own, and where the hyper-parameter says zero, there are as many as
    /// have tensors.
    KeptApart(&'static [&'static str]),
}

/// Extents in place of those of the checkpoint.
#[derive(Clone, Copy, Debug)]
pub enum Reshape {
    /// A vector becomes a matrix of one column.
    Column,
    /// A vector becomes a matrix of so many rows.
    Rows(fn(&Hparams) -> Result<u32, HparamError>),
}

/// What a tensor's values are multiplied with, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Those of all values.
    pub all: Vec<f32>,
    /// One more for the rows before each of these numbers that none of those before counts.
    pub rows: Vec<(u64, f32)>,
}

impl Factors {
    /// The values stay.
    pub const NONE: Factors = Factors { all: Vec::new(), rows: Vec::new() };

    /// The factors of a row's values.
    pub fn of_row(&self, row: u64) -> impl Iterator<Item = f32> {
        let more = self.rows.iter().find(|(end, _)| row < *end).map(|(_, factor)| *factor);
        self.all.iter().copied().chain(more)
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// Numbered tensors, one an expert or head, that become one with one more extent.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// What stands before the number; `{}` is the layer.
    pub before: &'static str,
    /// Names of the hyper-parameter that says how many there are.
    pub count: &'static [&'static str],
    /// What stands behind the number (but for `.weight`), and what becomes of it, in the order of the output. The layer's
    /// tensors come out together, once the last of them was read.
    pub members: &'static [(&'static str, Tensor)],
}

/// Tensors that the checkpoint does not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Computed {
    /// The frequency factors of Llama 3's rope, where the model has that. Its `factor`, where none is stated.
    Llama3 {
        /// `factor`, unless the configuration states it.
        factor: f64,
    },
    /// The long and short factors of Phi 3's rope, and the factor of its attention, which is metadata.
    LongRope,
    /// The long and short factors alone.
    RopeFactors,
    /// The same, of heads of which as many values turn as this hyper-parameter says.
    RopeFactorsFor(&'static str),
}

/// The tokenizer files that a family looks for, and the keys that go with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// `TextModel.set_vocab`: byte-level BPE.
    Gpt2,
    /// `LlamaModel.set_vocab`: SentencePiece, then a Llama tokenizer in `tokenizer.json`, then byte-level BPE; and
    /// `add_space_prefix` from `tokenizer_config.json`, CodeLlama's infill tokens, no BOS token for 49152 tokens.
    Llama,
    /// `_set_vocab_mistral`: Mistral's own `tekken.json`, and `chat_template.jinja` where there is one.
    Mistral,
    /// `Qwen2Model.set_vocab`: SentencePiece, then byte-level BPE.
    Qwen2,
    /// `GemmaModel.set_vocab`: SentencePiece, with CodeGemma's end of turn, and no space before the text.
    Gemma,
    /// `_set_vocab_sentencepiece`: SentencePiece and nothing else.
    SentencePiece,
    /// `Gemma2Model.set_vocab`: SentencePiece, and no space before the text.
    Gemma2,
    /// `Gemma3Model.set_vocab`: as Gemma 2's, or else byte-level BPE.
    Gemma3,
    /// `Gemma3NModel.set_vocab`: that of Gemma 3, of as many tokens as all kinds of inputs have.
    Gemma3n,
    /// `Phi3MiniModel.set_vocab`: SentencePiece with the added tokens of all files, unless the class is GPT-2's.
    Phi3,
    /// `StableLMModel.set_vocab`: byte-level BPE from `tokenizer.json` only.
    StableLm,
    /// `NemotronModel.set_vocab`: SentencePiece, and fixed tokens for padding and unknown.
    Nemotron,
    /// `Ernie4_5Model.set_vocab`: SentencePiece, and `add_space_prefix` from `tokenizer_config.json`.
    Ernie,
    /// `Glm4Model.set_vocab`: byte-level BPE, with special tokens by their names.
    Glm4,
    /// `_set_vocab_glm`: byte-level BPE, with special tokens by their names.
    Glm,
    /// `ChatGLMModel.set_vocab` but for that of ChatGLM 3: byte-level BPE, with special tokens by their names.
    ChatGlm,
    /// `InternLM2Model.set_vocab`: SentencePiece, with the added tokens of all files.
    InternLm2,
    /// `InternLM3Model.set_vocab`: SentencePiece, and the end of a turn as the end of the text.
    InternLm3,
    /// `JambaModel.set_vocab`: SentencePiece, or a Llama tokenizer in `tokenizer.json`.
    Jamba,
    /// `MambaModel.set_vocab`: byte-level BPE, then SentencePiece, of a multiple of eight tokens.
    Mamba,
    /// `Mamba2Model.set_vocab`: SentencePiece, then byte-level BPE, of a multiple of sixteen tokens.
    Mamba2,
    /// `NemotronHModel.set_vocab`: byte-level BPE, of a multiple of eight tokens.
    NemotronH,
    /// `QwenModel.set_vocab`: tiktoken's ranks.
    Qwen,
    /// `DeepseekV2Model.set_vocab`: byte-level BPE, or Kimi's ranks.
    DeepSeek2,
    /// `HunYuanMoEModel.set_vocab`: tiktoken's ranks.
    HunyuanMoe,
    /// `HunYuanModel.set_vocab`: byte-level BPE, or tiktoken's ranks, and the ends of text and turn from other files.
    Hunyuan,
    /// `BertModel.set_vocab`: WordPiece, with a space before each token that starts a word.
    Bert,
    /// `RobertaModel.set_vocab`: byte-level BPE from `tokenizer.json`, or else WordPiece.
    Roberta,
    /// `BertModel._xlmroberta_set_vocab`: Unigram, of `sentencepiece.bpe.model` or `tokenizer.json`.
    XlmRoberta,
    /// `JinaBertV2Model.set_vocab`: WordPiece or byte-level BPE, by the class of the tokenizer.
    JinaBert,
    /// `NomicBertModel.set_vocab`: WordPiece or Unigram, by the model in `tokenizer.json`.
    NomicBert,
    /// `ModernBertModel.set_vocab`: byte-level BPE, with the texts' ends marked.
    ModernBert,
    /// `EuroBertModel.set_vocab`: byte-level BPE, without a mark of the text's start.
    EuroBert,
    /// `T5Model.set_vocab`: Unigram, of `tokenizer.model` or `spiece.model`.
    T5,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_the_family_takes_off() {
        let family = Family {
            stripped: &["roberta.", "bert."],
            endings: &[(".gamma", ".weight"), (".beta", ".bias")],
            ..Family::PLAIN
        };
        let check = |name: &str, expected: &str| assert_eq!(family.bare(name), expected, "{name}");
        check("roberta.bert.a.weight", "a.weight");
        check("bert.bert.a.weight", "bert.a.weight");
        check("bert.roberta.a.gamma", "roberta.a.weight");
        check("a.beta", "a.bias");
        check("a.gamma.x", "a.gamma.x");
    }

    #[test]
    fn factors_of_rows_come_after_those_of_all() {
        let factors = Factors { all: vec![2.0, 3.0], rows: vec![(2, 5.0), (4, 7.0)] };
        let of = |row| factors.of_row(row).collect::<Vec<_>>();
        assert_eq!(of(1), [2.0, 3.0, 5.0]);
        assert_eq!(of(2), [2.0, 3.0, 7.0]);
        assert_eq!(of(4), [2.0, 3.0]);
        assert!(Factors::NONE.is_none() && !factors.is_none());
    }

    #[test]
    fn own_names_take_the_place_of_the_usual_ones() {
        let family = Family { names: &[(Tensor::Output, &["embed_out"])], ..Family::PLAIN };
        assert_eq!(family.names(Tensor::Output), ["embed_out"]);
        assert_eq!(family.names(Tensor::OutputNorm), Tensor::OutputNorm.aliases());
    }
}
