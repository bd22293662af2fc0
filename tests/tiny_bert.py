"""A random BERT of two layers as a Hugging Face directory: small enough to build in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

WIDTH, LAYERS, HEADS, POSITIONS = 16, 2, 2, 64
WORDS = ["red", "green", "apple", "pear", "milk", "bread", "soap", "large", "small", "oz", "private", "national"]


def tiny_bert(directory: Path, *, seed: int = 0, activation: str = "gelu") -> Path:
    """Write the model into ``directory`` and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: position for position, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(vocabulary),
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": activation,
    }
    (directory / "config.json").write_text(json.dumps(config))
    save_file(_weights(len(vocabulary), np.random.default_rng(seed)), directory / "model.safetensors")
    return directory


def _weights(vocabulary: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    def normal(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": normal(vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": normal(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": normal(2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    dense = {"pooler.dense": (WIDTH, WIDTH)}
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        dense |= {f"{layer}.attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        dense[f"{layer}.attention.output.dense"] = (WIDTH, WIDTH)
        dense[f"{layer}.intermediate.dense"] = (2 * WIDTH, WIDTH)
        dense[f"{layer}.output.dense"] = (WIDTH, 2 * WIDTH)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in dense.items():
        weights |= {f"{name}.weight": normal(*shape), f"{name}.bias": normal(shape[0])}
    for name in norms:
        weights |= {f"{name}.weight": 1 + normal(WIDTH), f"{name}.bias": normal(WIDTH)}
    return weights
