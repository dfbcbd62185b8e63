//! T5 and its kin: an encoder with relative positions, with or without a decoder.

use super::key::{count_if, count_of, single_of};
use super::{Family, Key, Tensor, Vocabulary};

/// `T5Model` in the reference's `conversion/t5.py`.
pub(super) static T5: Family = Family {
    name: "t5",
    architectures: &[
        "T5WithLMHeadModel",
        "T5ForConditionalGeneration",
        "MT5ForConditionalGeneration",
        "UMT5ForConditionalGeneration",
        "UMT5Model",
    ],
    tensors: &[
        EMBEDDINGS,
        ENCODER,
        &[
            Tensor::DecAttnNorm,
            Tensor::DecAttnQ,
            Tensor::DecAttnK,
            Tensor::DecAttnV,
            Tensor::DecAttnOut,
            Tensor::DecAttnRelB,
            Tensor::DecCrossAttnNorm,
            Tensor::DecCrossAttnQ,
            Tensor::DecCrossAttnK,
            Tensor::DecCrossAttnV,
            Tensor::DecCrossAttnOut,
            Tensor::DecCrossAttnRelB,
            Tensor::DecFfnNorm,
            Tensor::DecFfnGate,
            Tensor::DecFfnDown,
            Tensor::DecFfnUp,
            Tensor::DecOutputNorm,
        ],
    ],
    shared: &[Tensor::TokenEmbd],
    keys: &[
        CONTEXT,
        EMBEDDING,
        FEED_FORWARD,
        LAYERS,
        count_if("decoder_block_count", &["num_decoder_layers"]),
        HEADS,
        KEY,
        VALUE,
        EPSILON,
        BUCKETS,
        RMS_EPSILON,
        count_of("decoder_start_token_id", &["decoder_start_token_id"]),
        Key::FileType,
    ],
    vocabulary: Vocabulary::T5,
    ..Family::PLAIN
};

/// `T5EncoderModel` in the reference's `conversion/t5.py`.
pub(super) static T5_ENCODER: Family = Family {
    name: "t5encoder",
    architectures: &["T5EncoderModel"],
    tensors: &[EMBEDDINGS, ENCODER],
    shared: &[Tensor::TokenEmbd],
    keys: &[
        CONTEXT,
        EMBEDDING,
        FEED_FORWARD,
        LAYERS,
        HEADS,
        KEY,
        VALUE,
        EPSILON,
        BUCKETS,
        RMS_EPSILON,
        Key::FileType,
    ],
    vocabulary: Vocabulary::T5,
    ..Family::PLAIN
};

const EMBEDDINGS: &[Tensor] = &[Tensor::TokenEmbd, Tensor::Output];

const ENCODER: &[Tensor] = &[
    Tensor::EncAttnNorm,
    Tensor::EncAttnQ,
    Tensor::EncAttnK,
    Tensor::EncAttnV,
    Tensor::EncAttnOut,
    Tensor::EncAttnRelB,
    Tensor::EncFfnNorm,
    Tensor::EncFfnGate,
    Tensor::EncFfnDown,
    Tensor::EncFfnUp,
    Tensor::EncOutputNorm,
];

/// Configurations seldom tell how long a text may be.
const CONTEXT: Key =
    Key::Is("context_length", |m| Ok(Some(m.hparams.count(&["n_positions"])?.unwrap_or(512).into())));
const EMBEDDING: Key = count_of("embedding_length", &["d_model"]);
const FEED_FORWARD: Key = count_of("feed_forward_length", &["d_ff"]);
const LAYERS: Key = count_of("block_count", super::LAYERS);
const HEADS: Key = count_of("attention.head_count", &["num_heads"]);
const KEY: Key = count_of("attention.key_length", &["d_kv"]);
const VALUE: Key = count_of("attention.value_length", &["d_kv"]);
const EPSILON: Key = single_of("attention.layer_norm_epsilon", &["layer_norm_epsilon"]);
const BUCKETS: Key = count_of("attention.relative_buckets_count", &["relative_attention_num_buckets"]);
const RMS_EPSILON: Key = single_of("attention.layer_norm_rms_epsilon", &["layer_norm_epsilon"]);
