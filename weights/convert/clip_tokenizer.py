"""CLIP's tokenizer (Radford et al. 2021, section 2.4) as ``tokenizer.json``: copied, or built of two."""

from __future__ import annotations

import json
from pathlib import Path

from vesal.weights.convert.errors import TokenizerError
from vesal.weights.convert.pointer import pointer_told

TOKENIZER, VOCABULARY, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
FIRST, LAST = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What a sentence is cut into before byte pairs are joined."""
WANTED = (
    f"wanted is a folder of CLIP's tokenizer (openai/clip-vit-base-patch32): {TOKENIZER}, or {VOCABULARY} "
    f"and {MERGES}."
)


def write_clip_tokenizer(folder: Path, out: Path) -> int:
    """Put the tokenizer of ``folder`` into ``out`` as ``tokenizer.json``; returns how many tokens it has.

    Raises:
        TokenizerError: a file is not there, is a pointer of Git LFS, cannot be used, or is another tokenizer.
    """
    ready = folder / TOKENIZER
    if ready.is_file():
        text = _read(ready)
    elif (folder / VOCABULARY).is_file() and (folder / MERGES).is_file():
        text = _built(folder)
    else:
        raise TokenizerError(f"{folder} lacks the tokenizer; {WANTED}")
    count = _checked(folder, text)
    (out / TOKENIZER).write_text(text, encoding="utf-8")
    return count


def _read(path: Path) -> str:
    pointer = pointer_told(path)
    if pointer is not None:
        raise TokenizerError(pointer)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path} cannot be read ({error}); {WANTED}") from error


def _built(folder: Path) -> str:
    """The two files as one: lower case, words, then byte pairs whose last one ends a word."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import NFC, Lowercase, Replace, Sequence
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as Steps

    lines = _read(folder / MERGES).splitlines()
    try:
        pairs = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
        vocabulary = json.loads(_read(folder / VOCABULARY))
        tokenizer = Tokenizer(
            BPE(vocabulary, pairs, unk_token=LAST, end_of_word_suffix=END_OF_WORD, fuse_unk=False)
        )
    except Exception as error:  # the package raises a bare one
        raise TokenizerError(
            f"{folder}: {VOCABULARY} and {MERGES} make no tokenizer ({error}); {WANTED}"
        ) from error
    tokenizer.normalizer = Sequence([NFC(), Replace(Regex(r"\s+"), " "), Lowercase()])
    tokenizer.pre_tokenizer = Steps(
        [Split(Regex(WORDS), behavior="removed", invert=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens([mark for mark in (FIRST, LAST) if mark in vocabulary])
    return str(tokenizer.to_str())


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def _checked(folder: Path, text: str) -> int:
    """Tokens of a tokenizer that knows both marks."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the package raises a bare one
        raise TokenizerError(f"{folder / TOKENIZER} is no tokenizer ({error}); {WANTED}") from error
    lost = [mark for mark in (FIRST, LAST) if tokenizer.token_to_id(mark) is None]
    if lost:
        raise TokenizerError(f"{folder}: the tokenizer has no {' and no '.join(lost)}; {WANTED}")
    return int(tokenizer.get_vocab_size(with_added_tokens=True))
