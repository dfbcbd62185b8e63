"""What Hunyuan's own tokenizer does, as far as a conversion asks."""

import base64
import unicodedata

import tiktoken
from transformers import PreTrainedTokenizer

VOCAB_FILES_NAMES = {"vocab_file": "hy.tiktoken"}

PAT_STR = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
ENDOFTEXT = "<|endoftext|>"
STARTOFTEXT = "<|startoftext|>"
BOSTOKEN = "<|bos|>"
EOSTOKEN = "<|eos|>"
PADTOKEN = "<|pad|>"
EXTRAS = tuple((f"<|extra_{i}|>" for i in range(205)))
SPECIAL_START_ID = 1025
SPECIAL_TOKENS = tuple(
    enumerate(
        (
            (
                ENDOFTEXT,
                STARTOFTEXT,
                BOSTOKEN,
                EOSTOKEN,
                PADTOKEN,
            )
            + EXTRAS
        ),
        start=SPECIAL_START_ID,
    )
)


class HYTokenizer(PreTrainedTokenizer):
    vocab_files_names = VOCAB_FILES_NAMES

    def __init__(self, vocab_file, **kwargs):
        super().__init__(**kwargs)
        with open(vocab_file, "rb") as file:
            lines = [line.split() for line in file.read().splitlines() if line]
        self.mergeable_ranks = {base64.b64decode(token): rank for rank, (token, _) in enumerate(lines)}
        self.special_tokens = {token: index for index, token in SPECIAL_TOKENS}
        self.tokenizer = tiktoken.Encoding("cut", pat_str=PAT_STR, mergeable_ranks=self.mergeable_ranks, special_tokens=self.special_tokens)

    def _add_tokens(self, new_tokens, special_tokens=False):
        return 0

    def get_vocab(self):
        return self.mergeable_ranks

    @property
    def vocab_size(self):
        return self.tokenizer.n_vocab

    def tokenize(self, text, **kwargs):
        return self.tokenizer.encode(unicodedata.normalize("NFC", text), allowed_special="all")

    def convert_tokens_to_ids(self, tokens):
        return tokens
