"""The sentence encoder all-MiniLM-L6-v2 in torch, with weight-only int8 storage.

Used only to export and to check parity; the container runs the exported graph. Architecture: BERT (Devlin et
al. 2019, section 3) with 6 layers, 12 heads of 32 and 384 dimensions, mean pooling over the mask and L2
normalisation (Reimers and Gurevych 2019, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
VOCABULARY, POSITIONS = 30522, 512
NORM_EPSILON = 1e-12


class Linear(nn.Module):
    """Dense layer whose weight is float32 or, once `quantise` was called, int8 with one scale per output."""

    codes: Tensor
    scale: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.quantised = False

    def quantise(self) -> None:
        """Replace the weight by int8 codes and per-row scales; the forward pass stays float32."""
        codes, scale = quantise_rows(self.weight.detach())
        # Stored as the graph multiplies it, (inputs, outputs), so that no transpose of a constant is left
        # over.
        self.register_buffer("codes", codes.T.contiguous())
        self.register_buffer("scale", scale.T.contiguous())
        del self.weight
        self.quantised = True

    def forward(self, x: Tensor) -> Tensor:
        weight = self.codes.float() * self.scale if self.quantised else self.weight.T
        return x @ weight + self.bias


class Table(nn.Module):
    """Embedding table; after `quantise` rows are gathered as int8 and scaled afterwards."""

    codes: Tensor
    scale: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))
        self.quantised = False

    def quantise(self) -> None:
        """Replace the table by int8 codes and one scale per row."""
        codes, scale = quantise_rows(self.weight.detach())
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        del self.weight
        self.quantised = True

    def forward(self, ids: Tensor) -> Tensor:
        if not self.quantised:
            return functional.embedding(ids, self.weight)
        # Gathering first keeps the 47 MB float table from ever being built.
        return functional.embedding(ids, self.codes).float() * functional.embedding(ids, self.scale)


class Layer(nn.Module):
    """One post-norm transformer layer: self attention, then a GELU feed-forward block."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = Linear(WIDTH, INNER), Linear(INNER, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)
        self.output_norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B,L,384), bias (B,1,1,L) added to the attention logits; returns (B,L,384)."""

        def split(t: Tensor) -> Tensor:
            return t.reshape(t.shape[0], t.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        attention = torch.softmax(query @ key.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + bias, dim=-1)
        mixed = (attention @ value).transpose(1, 2).reshape(x.shape[0], x.shape[1], WIDTH)
        x = self.attention_norm(x + self.out(mixed))
        return self.output_norm(x + self.down(functional.gelu(self.up(x))))


class MiniLM(nn.Module):
    """Token ids and mask (B,L) int64 to unit vectors (B,384) float32; each row needs an unmasked token."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = Table(VOCABULARY, WIDTH), Table(POSITIONS, WIDTH)
        # Only the first token type occurs for single sentences.
        self.token_type = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.float()
        # cumsum instead of arange: the position index then follows the dynamic length without a shape
        # operator.
        positions = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1
        x = self.norm(self.words(input_ids) + self.positions(positions) + self.token_type)
        # -1e4 survives bf16 and fp16 and still empties the softmax.
        bias = ((1.0 - mask) * -1e4)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return pooled / pooled.pow(2).sum(1, keepdim=True).sqrt()

    def quantise(self) -> MiniLM:
        """Turn every large weight into int8 in place and return the model."""
        for module in list(self.modules()):
            if isinstance(module, Linear | Table):
                module.quantise()
        return self


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 codes (R,C) and scales (R,1) float32, codes * scale near weight; zero rows stay zero."""
    scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127.0
    return torch.round(weight / scale).to(torch.int8), scale


def from_published(tensors: dict[str, Tensor]) -> MiniLM:
    """Model filled from the published tensors (names of the `transformers` BertModel)."""
    names = {
        "words.weight": "embeddings.word_embeddings.weight",
        "positions.weight": "embeddings.position_embeddings.weight",
        "norm.weight": "embeddings.LayerNorm.weight",
        "norm.bias": "embeddings.LayerNorm.bias",
    }
    parts = {
        "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
        "out": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense", "down": "output.dense", "output_norm": "output.LayerNorm",
    }  # fmt: skip
    for i in range(LAYERS):
        for ours, theirs in parts.items():
            for leaf in ("weight", "bias"):
                names[f"layers.{i}.{ours}.{leaf}"] = f"encoder.layer.{i}.{theirs}.{leaf}"
    state = {ours: tensors[theirs] for ours, theirs in names.items()}
    state["token_type"] = tensors["embeddings.token_type_embeddings.weight"][0]
    model = MiniLM()
    model.load_state_dict(state)
    return model.eval()
