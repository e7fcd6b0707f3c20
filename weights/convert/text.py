"""The text encoder: tokenizer, bank of queries, graph for sentences that the bank does not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vesal.inference.data.errors import ProfileError
from vesal.inference.families.query_text import BATCH, WordPieces
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.networks.mpnet_text import MPNet, MPNetText
from vesal.weights.convert.errors import CheckpointError, TokenizerError
from vesal.weights.convert.graphs import trace

TOKENIZER, VOCABULARY = "tokenizer.json", "vocab.txt"
GRAPH, WEIGHTS, BANK = "text.onnx", "text.bin", "bank.npz"


def write_tokenizer(folder: Path, out: Path) -> WordPieces:
    """Put the tokenizer of a BioLORD folder into ``out`` as ``tokenizer.json``.

    The file is copied; where there is only ``vocab.txt``, MPNet's tokenizer is built from it: lower case,
    BERT's splitting, word pieces.

    Raises:
        TokenizerError: the folder has neither file, or one that cannot be used.
    """
    ready, words = folder / TOKENIZER, folder / VOCABULARY
    try:
        if ready.is_file():
            (out / TOKENIZER).write_bytes(ready.read_bytes())
        elif words.is_file():
            (out / TOKENIZER).write_text(_from_words(words.read_text(encoding="utf-8").splitlines()))
        else:
            raise TokenizerError(
                f"{folder} has neither {TOKENIZER} nor {VOCABULARY}; wanted is the folder BioLORD-2023-C "
                "that lies beside the checkpoints (or sentence-transformers' copy of it)."
            )
        return WordPieces(out / TOKENIZER)
    except (OSError, ProfileError) as error:
        raise TokenizerError(f"{folder}: {error}") from error


def _from_words(words: Sequence[str]) -> str:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    # Never cut into pieces (tokenizer_config.json of BioLORD-2023-C).
    tokenizer.add_special_tokens([w for w in ("<s>", "<pad>", "</s>", "[UNK]", "<mask>") if w in words])
    return str(tokenizer.to_str())


def bank_names(sentences: Sequence[str] = ()) -> list[str]:
    """What the bank holds: every target of the vocabulary, with its side if it has one, and ``sentences``."""
    return list(dict.fromkeys([*load_vocabulary().targets(), *sentences]))


def read_sentences(path: Path) -> list[str]:
    """All sentences of a JSON file: a list, or dicts of any depth like the challenge's own file of prompts.

    Raises:
        CheckpointError: the file cannot be read, or holds no sentence.
    """
    try:
        found = list(_texts(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as sentences ({error}); wanted is JSON: a list, or a dict of them."
        ) from error
    if not found:
        raise CheckpointError(f"{path} holds no sentence; wanted is JSON: a list, or a dict of them.")
    return list(dict.fromkeys(found))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


@torch.no_grad()
def encode(model: MPNetText, tokens: WordPieces, texts: Sequence[str]) -> np.ndarray:
    """Text parts of queries (N, E) float32, before the modality is added.

    Raises:
        TokenizerError: the tokenizer is not the encoder's: it has another number of tokens.
    """
    words = cast(MPNet, model.text_tower["biolord"]).embeddings.word_embeddings.num_embeddings
    if tokens.count != words:
        raise TokenizerError(
            f"The tokenizer has {tokens.count} tokens, the text encoder {words}. They do not belong "
            "together: give the tokenizer of BioLORD-2023-C."
        )
    found = []
    for first in range(0, len(texts), BATCH):
        ids, mask = tokens.batch(texts[first : first + BATCH])
        found.append(model.encode(torch.from_numpy(ids), torch.from_numpy(mask)).numpy())
    return np.concatenate(found)


def write_bank(path: Path, model: MPNetText, tokens: WordPieces, sentences: Sequence[str] = ()) -> np.ndarray:
    """Store the text parts (N, E) of all targets and ``sentences``, and what each modality adds (M, E).

    In fp32: they are 2 MB, and a rounded query would change all voxels of a class.

    Returns:
        the text parts (N, E) float32.
    """
    names = bank_names(sentences)
    vectors = encode(model, tokens, names)
    modality = model.modality_embed.weight.detach().numpy()
    np.savez_compressed(path, names=np.array(names), vectors=vectors, modality_vectors=modality)
    return vectors


class _TextGraph(nn.Module):
    """The encoder without the modality, as it is exported."""

    def __init__(self, model: MPNetText) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask (B, L) int64 -> embedding (B, E)."""
        return self.model.encode(ids, mask)


def text_graph(model: MPNetText, path: Path) -> onnx.ModelProto:
    """Export the encoder: ids, mask (B, L) int64 -> embedding (B, E); the file at ``path`` is overwritten."""
    ids = torch.tensor([[5, 6, 7, 0], [5, 6, 7, 8]])
    axes = {0: "batch", 1: "length"}
    dynamic = {"ids": axes, "mask": axes, "embedding": {0: "batch"}}
    inputs = [ids, (ids > 0).long()]
    return trace(_TextGraph(model).eval(), inputs, ["ids", "mask"], ["embedding"], dynamic, path)
