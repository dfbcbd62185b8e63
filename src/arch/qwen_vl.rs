//! The text models of Qwen's that see: 2-VL, 2.5-VL, 3-VL.

use super::key::count_if;
use super::qwen_moe::QWEN_MOE;
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS, ROUTED_EXPERTS};
use super::{Cut, Family, HparamError, Key, Model, Tensor, Vocabulary};
use crate::gguf::Value;

/// `Qwen2VLModel` in the reference's `conversion/qwenvl.py`.
pub(super) static QWEN2_VL: Family = Family {
    name: "qwen2vl",
    architectures: &["Qwen2VLModel", "Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"],
    stripped: &["thinker."],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    vocabulary: Vocabulary::Qwen2,
    ..Family::PLAIN
};

/// `Qwen3VLTextModel` in the reference's `conversion/qwen3vl.py`.
pub(super) static QWEN3_VL: Family = Family {
    name: "qwen3vl",
    architectures: &["Qwen3VLForConditionalGeneration"],
    renamed: &[("thinker.", "")],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, GATED_FFN],
    keys: &[Key::Common, Key::Pooling, Key::Ranking, DEEPSTACK],
    vocabulary: Vocabulary::Qwen2,
    rerankers: true,
    ..Family::PLAIN
};

/// `Qwen3VLMoeTextModel` in the reference's `conversion/qwen3vl.py`: its experts' matrices are stacked and transposed.
pub(super) static QWEN3_VL_MOE: Family = Family {
    name: "qwen3vlmoe",
    architectures: &["Qwen3VLMoeForConditionalGeneration"],
    renamed: &[("thinker.", "")],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, ROUTED_EXPERTS, &[Tensor::FfnNorm]],
    unsuffixed: &[],
    splits: &[],
    cuts: &[
        Cut::on_its_side(
            "model.layers.{}.mlp.experts.gate_up_proj",
            &[Tensor::FfnGateExps, Tensor::FfnUpExps],
        ),
        Cut::on_its_side("model.layers.{}.mlp.experts.down_proj", &[Tensor::FfnDownExps]),
    ],
    keys: &[
        Key::Common,
        count_if("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_if("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
        DEEPSTACK,
    ],
    ..QWEN_MOE
};

/// `{arch}.n_deepstack_layers`: layers of the picture's encoder whose output is added to the first layers of the text's.
const DEEPSTACK: Key = Key::Is("n_deepstack_layers", deepstack_layers);

fn deepstack_layers(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const INDEXES: &str = "deepstack_visual_indexes";
    let listed = m.hparams.get("vision_config").and_then(|vision| vision.get(INDEXES));
    let count = match listed {
        None => 0,
        Some(list) => {
            list.as_array().ok_or_else(|| HparamError::wrong(INDEXES, list, "a list of layers"))?.len()
        }
    };
    Ok(Some(u32::try_from(count).unwrap_or(u32::MAX).into()))
}

#[cfg(test)]
mod tests {
    use super::super::{Hparams, Rope};
    use super::*;

    #[test]
    fn deepstack_layers_are_counted() {
        let check = |json: &str, expected: Result<Option<Value>, ()>| {
            let h = Hparams::new(serde_json::from_str(json).unwrap());
            let rope = Rope::default();
            let model = Model { hparams: &h, rope: &rope, file: &h };
            assert_eq!(deepstack_layers(&model).map_err(|_| ()), expected, "{json}");
        };
        check(r#"{"vision_config": {"deepstack_visual_indexes": [5, 11]}}"#, Ok(Some(2u32.into())));
        check(r#"{"vision_config": {}}"#, Ok(Some(0u32.into())));
        check(r#"{"vision_config": {"deepstack_visual_indexes": 3}}"#, Err(()));
    }
}
