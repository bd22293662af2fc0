"""``package`` and ``evaluate`` on a tiny shop: real models, a real (small) OpenVINO encoder, real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.artifacts import file_sha256, read_json, read_table, write_arrays, write_json, write_table
from pipelines.errors import ConfigError, DataError, ModelError
from pipelines.metrics.calibration import check_relevance
from pipelines.models.base import Histories, Previous, Training
from pipelines.models.catalogue import Catalogue, NamedHistories
from pipelines.models.encoder import TextEncoder
from pipelines.models.features import feature_names
from pipelines.models.files import CHOSEN_FILE, NOT_CHOSEN
from pipelines.models.fused import Fused
from pipelines.models.judged_head import FEATURES, Evidence, JudgedHead
from pipelines.models.linear import Linear, LinearSettings
from pipelines.models.linear_blend import LinearBlend
from pipelines.models.manifest import verify, write_manifest
from pipelines.models.matrix_factorization import MatrixFactorization
from pipelines.models.popularity import Popularity
from pipelines.models.ranker import Ranker, training_rows
from pipelines.models.recommender import Recommender
from pipelines.models.relevance import RelevanceHead
from pipelines.models.repeat import RepeatSettings, RepeatTiming
from pipelines.models.signals import Signals
from pipelines.models.text import TextSimilarity
from pipelines.models.training import read_curves
from pipelines.params import GateParams, TrainBertParams
from pipelines.prepared import read_events, read_histories, read_space
from pipelines.registry import gate
from pipelines.stage_environment import side_folder
from pipelines.stages import evaluate, package, train
from pipelines.tables import JUDGEMENTS
from pipelines.validation import read_previous, read_training
from tests.tiny_models import BLEND, FACTORIZATION, FUSION

NUM_USERS, NUM_ITEMS, SIZE = 40, 60, 16
WORDS = ("milk", "bread", "cheese", "apple", "soap", "tea", "rice", "cold", "small", "large")
STARTS, VALIDATION, TEST, ENDS = 17_000.0, 17_060.0, 17_080.0, 17_100.0


def _prepared(folder: Path) -> None:
    """Users buy their favourites again and again; the last two items are first sold in the test window."""
    generator = np.random.default_rng(3)
    titles = [f"{WORDS[item % 7]} {WORDS[7 + item % 3]}" for item in range(NUM_ITEMS)]
    items = {
        "item": pa.array(range(NUM_ITEMS), pa.int32()),
        "item_id": [f"i{item:03}" for item in range(NUM_ITEMS)],
        "title": titles,
        "text": titles,
        "department": [WORDS[item % 2] for item in range(NUM_ITEMS)],
        "product_type": [WORDS[item % 7] for item in range(NUM_ITEMS)],
        "brand": ["own"] * NUM_ITEMS,
        "size": [None] * NUM_ITEMS,
        "category": [[WORDS[item % 2], WORDS[item % 7]] for item in range(NUM_ITEMS)],
        "price": [1.0 + item % 5 for item in range(NUM_ITEMS)],
        "attributes": pa.array([[("colour", "red")]] * NUM_ITEMS, pa.map_(pa.string(), pa.string())),
    }
    write_table(pa.table(items), folder / "items.parquet")
    user_ids = [f"u{user:02}" for user in range(NUM_USERS)]
    write_table(
        pa.table({"user": pa.array(range(NUM_USERS), pa.int32()), "user_id": user_ids}), folder / "users.parquet"
    )
    rows = []
    for user in range(NUM_USERS):
        liked = generator.choice(NUM_ITEMS - 2, 8, replace=False)
        for day in np.sort(generator.uniform(STARTS, ENDS, 45)):
            rows.append((user, int(generator.choice(liked)), day))
        rows.append((user, NUM_ITEMS - 1 - user % 2, TEST + 1.0))
    users, bought, days = (np.array(column) for column in zip(*rows, strict=True))
    bounds = {"history": (STARTS, VALIDATION), "validation": (VALIDATION, TEST), "test": (TEST, ENDS)}
    for name, (low, high) in bounds.items():
        keep = (days >= low) & (days < high)
        columns = {
            "user": pa.array(users[keep], pa.int32()),
            "item": pa.array(bought[keep], pa.int32()),
            "days": pa.array(days[keep], pa.float64()),
            "quantity": pa.array(np.ones(keep.sum()), pa.float32()),
        }
        write_table(pa.table(columns), folder / f"{name}.parquet")
    write_json({"validation_starts": VALIDATION, "test_starts": TEST, "test_ends": ENDS}, folder / "split.json")


def _encoder(directory: Path) -> None:
    """An encoder that averages one fixed vector a word."""
    import openvino
    from openvino import opset13 as ops
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    directory.mkdir(parents=True)
    vocabulary = {word: row for row, word in enumerate(("[PAD]", "[UNK]", *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.random.default_rng(1).standard_normal((len(vocabulary), SIZE)).astype(np.float32)
    tokens, mask = (ops.parameter([-1, -1], np.int32, name=name) for name in ("token_ids", "padding_mask"))
    weight = ops.unsqueeze(ops.convert(mask, "f32"), np.int64(2))
    total = ops.reduce_sum(ops.multiply(ops.gather(table, tokens, np.int64(0)), weight), np.array([1]), False)
    graph = openvino.Model([ops.normalize_l2(total, np.array([1]), 1e-12, "max")], [tokens, mask], "encoder")
    for parameter, name in ((tokens, "token_ids"), (mask, "padding_mask")):
        parameter.output(0).get_tensor().set_names({name})
    openvino.save_model(graph, directory / "encoder.xml", compress_to_fp16=False)
    files = {name: file_sha256(directory / name) for name in ("encoder.xml", "encoder.bin", "tokenizer.json")}
    about = {"format": "shoploom-encoder", "format_version": 1, "embedding_size": SIZE, "max_length": 16}
    write_json({**about, "precision": "f32", "files": files, "weights_sha256": ""}, directory / "encoder.json")


def _signals(histories: Histories, texts: TextSimilarity) -> Signals:
    training = Training(histories, texts.texts)
    small = FACTORIZATION.model_copy(update={"factors": 4, "iterations": 3})
    behaviour = MatrixFactorization.fit(training, small)
    fusion = FUSION.model_copy(update={"components": 4, "text_components": 4})
    with_factors = Training(histories, texts.texts, {behaviour.name: behaviour})
    chosen = {
        "fused": Fused.fit(with_factors, fusion),
        "linear": Linear.fit(training, LinearSettings(regularization=10.0, power=0.0)),
        "matrix_factorization": behaviour,
        "repeat": RepeatTiming.fit(training, RepeatSettings(horizon_days=20)),
        "text": texts,
    }
    return Signals(Popularity.of(histories), texts, chosen)


def _train(root: Path) -> None:
    """What the training stages leave behind."""
    data = root / "data"
    bert = data / "train_bert"
    _encoder(bert / "encoder")
    (bert / "relevance").mkdir()
    RelevanceHead(np.full(SIZE, 6.0, np.float32), -3.0).save(bert / "relevance")
    titles = read_table(data / "prepared/items.parquet")["title"].to_pylist()
    distinct = sorted(set(titles))
    vectors = TextEncoder.load(bert / "encoder").encode(distinct)
    index = np.array([distinct.index(title) for title in titles], np.int32)
    write_arrays({"embeddings": vectors, "text_index": index}, bert / "texts.safetensors")
    space = read_space(data / "prepared")
    texts = TextSimilarity(vectors, index)
    before = read_histories("validation", space, data / "prepared")
    signals = _signals(before, texts)
    purchases = read_events(["validation"], data / "prepared").keys(space)
    candidates = signals.popularity.candidates(2)
    rows = next(iter(training_rows(signals, before, candidates, purchases, 5)))
    blend = LinearBlend.fit(rows.rows, rows.bought, feature_names(signals), BLEND)
    final = _signals(read_histories("test", space, data / "prepared"), texts)
    for name in ("fused", "linear", "matrix_factorization", "repeat"):
        folder = data / str(final.chosen[name].stage) / "final"
        folder.mkdir(parents=True)
        final.chosen[name].save(folder)
    (data / "rank/ranker").mkdir(parents=True)
    Ranker(final, blend, per_signal=5, min_buyers=2).part.save(data / "rank/ranker")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worktree in which every stage before ``package`` has run, and then ``package``."""
    root = tmp_path_factory.mktemp("shop")
    _prepared(root / "data/prepared")
    _train(root)
    (root / "params.yaml").write_text(
        json.dumps(
            {
                "window": {"min_buyers": 2},
                "seed": {"value": 7},
                "package": {"shortlist": 20},
                "evaluate": {"resamples": 200, "example_queries": 1},
                "train_bert": {"min_types": 3, "queries_per_type": 6, "pairs_per_query": 3},
            }
        )
    )
    write_json({"version": None, "digest": None, "run": None}, root / "data/champion/champion.json")
    write_table(_no_judgements(), root / "data/accepted/judgements.parquet")
    for source in package.OPTIONAL.values():
        write_json(NOT_CHOSEN, root / source / CHOSEN_FILE)
    with chdir(root):
        package.main()
    return root


@pytest.fixture
def inside(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shop as the current folder, left without a champion."""
    monkeypatch.chdir(shop)
    yield shop
    shutil.rmtree(shop / "data/champion")
    write_json({"version": None, "digest": None, "run": None}, shop / "data/champion/champion.json")


@pytest.fixture(scope="module")
def evaluated(shop: Path) -> dict[str, bytes]:
    """What ``evaluate`` writes while there is no champion, by file name."""
    with chdir(shop):
        evaluate.main()
    return {path.name: path.read_bytes() for path in (shop / "data/evaluate").iterdir()}


@pytest.fixture(scope="module")
def model(shop: Path) -> Recommender:
    return Recommender.load(shop / "data/package")


def _promote(shop: Path) -> None:
    shutil.rmtree(shop / "data/champion")
    shutil.copytree(shop / "data/package", shop / "data/champion")
    write_json({"version": "3", "digest": "d" * 64, "run": "run"}, shop / "data/champion/champion.json")


def test_package_is_the_same_bytes_when_made_again(inside: Path) -> None:
    before = (inside / "data/package/manifest.json").read_bytes()
    package.main()
    assert (inside / "data/package/manifest.json").read_bytes() == before
    assert verify(inside / "data/package").as_of == TEST


def test_package_without_an_intent_head_tells_no_intent(model: Recommender) -> None:
    assert model.intent("milk") is None
    assert not model.finder.is_foreign("牛奶")


def test_package_knows_prices_category_paths_and_attributes(model: Recommender) -> None:
    shop = model.catalogue
    assert shop.prices.tolist() == [1.0 + item % 5 for item in range(NUM_ITEMS)]
    assert shop.categories[3] == ("bread", "apple")
    assert shop.attributes == [{"colour": "red"}] * NUM_ITEMS


def test_catalogue_without_these_columns_loads_and_knows_nothing_of_them(model: Recommender, tmp_path: Path) -> None:
    shop = model.catalogue
    replace(shop, items=shop.items.drop_columns(["category", "price", "attributes"])).save(tmp_path)
    before = Catalogue.load(tmp_path)
    assert np.isnan(before.prices).all()
    assert before.categories[3] == ("bread", "apple")
    assert before.attributes == [{}] * NUM_ITEMS


def test_package_says_when_its_training_ended(shop: Path) -> None:
    last = read_table(shop / "data/prepared/validation.parquet")["days"].to_numpy().max()
    assert verify(shop / "data/package").trained_until == last
    with pytest.raises(DataError, match="into the test window"):
        package.trained_until(np.array([TEST]), TEST)


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "pickle", "link", "format"])
def test_recommender_refuses_a_damaged_package_by_name(shop: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "package"
    shutil.copytree(shop / "data/package", folder)
    target = folder / "ranker/blend/blend.json"
    named = "blend.json"
    if damage == "changed":
        target.write_text(target.read_text().replace("0", "1", 1))
    elif damage == "missing":
        target.unlink()
    elif damage == "link":
        target.rename(tmp_path / "elsewhere.json")
        target.symlink_to(tmp_path / "elsewhere.json")
    elif damage == "format":
        listed = read_json(folder / "manifest.json")
        write_json({**listed, "format": 99}, folder / "manifest.json")
        named = "format 99"
    else:
        named = "extra.pkl" if damage == "pickle" else "extra.json"
        (folder / named).write_text("{}")
    with pytest.raises(ModelError, match=named):
        Recommender.load(folder)


def test_manifest_refuses_a_file_that_may_hold_code(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.pkl"):
        write_manifest(tmp_path, verify(shop / "data/package"))


def test_recommend_gives_k_candidates_best_first_with_reasons(model: Recommender) -> None:
    results = model.recommend("u05", 10)
    assert len({result.item_id for result in results}) == 10
    assert [result.score for result in results] == sorted((result.score for result in results), reverse=True)
    assert {model.catalogue.item_rows[result.item_id] for result in results} <= set(model.candidates.tolist())
    assert results[0].reasons[0].startswith("bought")


def test_recommend_leaves_out_what_was_bought_when_only_new_is_asked(model: Recommender) -> None:
    bought = set(model.catalogue.history("u05").items.tolist())
    new = model.recommend("u05", NUM_ITEMS, new_only=True)
    assert new
    assert not bought & {model.catalogue.item_rows[result.item_id] for result in new}
    assert len(new) == len(set(model.candidates.tolist()) - bought)


def test_recommendations_say_what_each_feature_added(model: Recommender) -> None:
    history = model.catalogue.history("u05")
    explained = model.ranker.explained(history, model.candidates)
    np.testing.assert_array_equal(explained.scores, model.ranker.score(history, model.candidates)[0])
    for result in model.recommend("u05", 5):
        added = [abs(part.log_odds) for part in result.contributions]
        assert added == sorted(added, reverse=True)
        assert {part.feature for part in result.contributions} <= set(model.ranker.blend.feature_names)
        column = int(np.searchsorted(model.candidates, model.catalogue.item_rows[result.item_id]))
        row = explained.rows[int(np.searchsorted(explained.positions, column))][None, :]
        base = model.ranker.blend.contributions(row)[0, -1]
        total = base + sum(part.log_odds for part in result.contributions)
        assert 1 / (1 + np.exp(-total)) == pytest.approx(result.score, abs=1e-3)


def test_debiasing_gives_up_on_what_everybody_buys_and_diversity_on_what_is_alike(model: Recommender) -> None:
    def mean_buyers(debias: float) -> float:
        listed = [model.recommend(user, 5, popularity_debias=debias) for user in model.catalogue.user_ids[:10]]
        items = [model.catalogue.item_rows[one.item_id] for results in listed for one in results]
        return float(model.buyers[items].mean())

    def alikeness(diversity: float) -> float:
        items = [model.catalogue.item_rows[one.item_id] for one in model.recommend("u05", 5, diversity=diversity)]
        vectors = model.finder.embeddings[model.finder.text_index[items]]
        return float((vectors @ vectors.T)[np.triu_indices(len(items), 1)].mean())

    assert mean_buyers(1.0) < mean_buyers(0.0)
    assert alikeness(0.9) < alikeness(0.0)
    plain, diverse = ([one.item_id for one in model.recommend("u05", 5, diversity=value)] for value in (0.0, 0.9))
    assert plain[0] == diverse[0]
    assert len(model.recommend("u05", NUM_ITEMS, diversity=0.5)) == len(model.candidates)
    with pytest.raises(ModelError, match="diversity"):
        model.recommend("u05", 5, diversity=1.0)


def test_unknown_user_is_refused_and_no_id_is_told(model: Recommender) -> None:
    with pytest.raises(ModelError, match="this user is not known to the model") as caught:
        model.recommend("u055", 3)
    assert "u05" not in str(caught.value)
    with pytest.raises(ModelError, match="k must be"):
        model.recommend("u05", 0)


def test_search_finds_the_words_and_shows_each_text_once(model: Recommender) -> None:
    results = model.search("Apple large", 5)
    titles = [result.title for result in results]
    assert titles[0] == "apple large"
    assert len(set(titles)) == len(titles) == 5
    with pytest.raises(ModelError, match="blank"):
        model.search("  ", 3)


def test_search_prefers_the_users_own_item_of_a_text(model: Recommender) -> None:
    own = model.catalogue.history("u05").items
    item = int(own[0])
    found = model.search(model.catalogue.titles[item], 3, user_id="u05")[0]
    same = [other for other in own if model.catalogue.titles[other] == model.catalogue.titles[item]]
    assert model.catalogue.item_rows[found.item_id] in same


def test_score_by_name_equals_score_by_dense_id_and_marks_unknown_items(model: Recommender) -> None:
    histories = model.catalogue.histories.take(0, 4)
    named = model.catalogue.named(histories, TEST)
    order = np.array([3, 0, 2])
    ids = [*model.catalogue.item_ids[model.candidates[order]], "unheard of"]
    scores = model.score(named, ids)
    np.testing.assert_array_equal(scores[:, :3], model.ranker.score(histories, model.candidates[order]))
    assert np.isneginf(scores[:, 3]).all()


def test_score_leaves_out_purchases_of_unknown_items(model: Recommender) -> None:
    known = NamedHistories(np.array([0, 1]), np.array(["i001"]), np.array([TEST - 3]), np.ones(1, np.float32), TEST)
    more = NamedHistories(
        np.array([0, 2]), np.array(["i001", "x"]), np.array([TEST - 3, TEST - 1]), np.ones(2, np.float32), TEST
    )
    np.testing.assert_array_equal(model.score(known, ["i001", "i002"]), model.score(more, ["i001", "i002"]))


def test_evaluate_writes_every_figure_picture_and_page(evaluated: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path
    for name, content in evaluated.items():
        (folder / name).write_bytes(content)
    metrics = read_json(folder / "metrics.json")
    kinds = {name: row["kind"] for name, row in metrics["models"].items()}
    assert {name for name, kind in kinds.items() if kind == "baseline"} == set(evaluate.BASELINES)
    assert {"matrix_factorization", "linear", "text", "fused", "repeat", "rank"} <= set(kinds)
    expected = {f"{name}_at_10{new}" for name in ("ndcg", "recall", "map") for new in ("", "_new")}
    assert all(set(row) == expected | {"kind", "coverage_at_10"} for row in metrics["models"].values())
    assert metrics["champion"] == {
        "version": None, "digest": None, "run": None, "trained_until": None, "saw_test_window": False,
        "not_compared": "",
    }  # fmt: skip
    assert metrics["warnings"] == [f"{NUM_USERS} users decide: differences under some tenths of NDCG@10 cannot be told "
                                   "from chance."]  # fmt: skip
    assert metrics["cold_items"]["items"] >= 2
    assert metrics["cold_items"]["users"] == NUM_USERS
    cold = metrics["cold_items"]["models"]
    assert set(cold) == {*kinds, "category_popularity", "own_category"}
    assert all(set(row) == {"ndcg_at_50", "recall_at_50"} for row in cold.values())
    assert set(metrics["cold_items"]["times_category_popularity"]) == set(cold)
    per_user = read_table(folder / "per_user.parquet")
    assert per_user.num_rows == metrics["users"] * len(kinds)
    rank = per_user.filter(pa.compute.equal(per_user["model"], "rank"))
    assert rank["ndcg_at_10"].to_numpy().mean() == pytest.approx(metrics["models"]["rank"]["ndcg_at_10"], abs=1e-6)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http://" not in page
    assert "https://" not in page
    for picture in ("models", "curves", "segments", "differences"):
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_gives_the_same_bytes_again(evaluated: dict[str, bytes], inside: Path) -> None:
    evaluate.main()
    assert {path.name: path.read_bytes() for path in (inside / "data/evaluate").iterdir()} == evaluated


def test_champion_equal_to_the_candidate_scores_the_same(inside: Path) -> None:
    _promote(inside)
    evaluate.main()
    metrics = read_json(inside / "data/evaluate/metrics.json")
    champion, rank = metrics["models"]["champion"], metrics["models"]["rank"]
    assert champion == {**rank, "kind": "champion"}
    assert metrics["comparisons"]["champion"]["ndcg_at_10"]["p_value"] == 1.0
    assert metrics["champion"]["version"] == "3"
    assert metrics["champion"]["saw_test_window"] is False


def test_champion_trained_on_the_test_window_is_flagged(inside: Path) -> None:
    _promote(inside)
    facts = read_json(inside / "data/champion/manifest.json")
    facts["facts"]["trained_until"] = TEST
    write_json(facts, inside / "data/champion/manifest.json")
    evaluate.main()
    assert read_json(inside / "data/evaluate/metrics.json")["champion"]["saw_test_window"] is True
    assert "Inconclusive" in (inside / "data/evaluate/report.html").read_text()


def test_a_warm_start_finds_the_champions_model_and_its_items_by_name(inside: Path, tmp_path: Path) -> None:
    space = read_space()
    assert read_previous(MatrixFactorization, space, inside / "data/previous") is None
    package_folder = tmp_path / "previous"
    shutil.copytree(inside / "data/package", package_folder)
    found = read_previous(MatrixFactorization, space, package_folder)
    assert found is not None
    assert found.items.tolist() == list(range(NUM_ITEMS))
    assert len(MatrixFactorization.load(found.folder).vectors)
    earlier = replace(space, test_starts=space.test_starts - 30.0)
    assert read_previous(MatrixFactorization, earlier, package_folder) is None
    assert read_training(MatrixFactorization, "validation").previous is None


def _next_shop(prepared: Path, folder: Path) -> None:
    """The shop of a later run: a new item first, the others backwards, the first of them gone; a user more."""
    items, users = read_table(prepared / "items.parquet"), read_table(prepared / "users.parquet")
    kept = items.slice(1)
    backwards = kept.take(pa.array(range(kept.num_rows - 1, -1, -1)))
    fresh = kept.slice(0, 1).set_column(1, "item_id", pa.array(["new"]))
    catalogue = pa.concat_tables([fresh, backwards])
    numbers = pa.array(range(catalogue.num_rows), pa.int32())
    write_table(catalogue.set_column(0, "item", numbers), folder / "items.parquet")
    one = pa.table({"user": pa.array([NUM_USERS], pa.int32()), "user_id": ["unew"]})
    write_table(pa.concat_tables([users, one]), folder / "users.parquet")
    for name in ("history", "validation", "test"):
        events = read_table(prepared / f"{name}.parquet")
        events = events.filter(pa.compute.greater(events["item"], 0))
        theirs = pa.array((NUM_ITEMS - events["item"].to_numpy()).astype(np.int32))
        events = events.set_column(1, "item", theirs)
        more = events.slice(0, 3).set_column(1, "item", pa.array([0, 0, 5], pa.int32()))
        owners = [pa.array(column, pa.int32()) for column in ([NUM_USERS, 1, NUM_USERS], [NUM_USERS] * 3)]
        more = more.set_column(0, "user", owners[name == "test"])
        write_table(pa.concat_tables([events, more]), folder / f"{name}.parquet")
    shutil.copy(prepared / "split.json", folder)


def test_a_warm_run_goes_on_from_the_champion_with_new_users_and_items(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data/prepared").mkdir(parents=True)
    _next_shop(inside / "data/prepared", tmp_path / "data/prepared")
    shutil.copytree(inside / "data/package", tmp_path / "data/previous")
    settings = FACTORIZATION.model_copy(update={"factors": 4, "iterations": 3, "warm": True, "warm_iterations": 1})
    choices = {"models": {"matrix_factorization": True}, "train_mf": settings.model_dump()}
    (tmp_path / "params.yaml").write_text(json.dumps({"window": {"min_buyers": 2}, "seed": {"value": 7}, **choices}))
    monkeypatch.chdir(tmp_path)
    train.main(["matrix_factorization"])
    curves = {folder: read_curves(side_folder("train_mf") / folder) for folder in ("validation", "final")}
    assert {folder: len(points) for folder, points in curves.items()} == {"validation": 3, "final": 1}
    warm = MatrixFactorization.load(Path("data/train_mf/final"))
    rows = np.array([-1, *range(NUM_ITEMS - 1, 0, -1)], np.int32)
    histories = read_histories("test", read_space())
    given = Training(histories, previous=Previous(tmp_path / "data/previous/ranker/matrix_factorization", rows))
    np.testing.assert_array_equal(warm.vectors, MatrixFactorization.fit(given, settings).vectors)
    fresh = MatrixFactorization.fit(Training(histories), settings.model_copy(update={"iterations": 1}))
    assert curves["final"][0]["loss"] < curves["validation"][0]["loss"]
    assert np.abs(warm.vectors - fresh.vectors).max() > 1e-3
    assert np.linalg.norm(warm.item_vectors(np.array([0], np.int32))) > 1e-3, "a new item is learned from zero"
    newcomer = histories.take(NUM_USERS, NUM_USERS + 1)
    assert np.linalg.norm(warm.fold_in(newcomer)) > 1e-3, "a new user is folded in"
    assert np.isfinite(warm.score(histories, np.arange(NUM_ITEMS, dtype=np.int32))).all()


def _older(package: Path, change: str) -> None:
    """Make a package one that an older shoploom wrote: whole, and in a form that is no longer read."""
    manifest = read_json(package / "manifest.json")
    if change == "format":
        manifest["format"] = 1
    elif change == "facts":
        del manifest["facts"]["as_of"]
    else:
        path = package / "ranker/matrix_factorization/model.json"
        model = read_json(path)
        model["settings"] = {}
        write_json(model | {"format": 0}, path)
        manifest["files"][path.relative_to(package).as_posix()] = file_sha256(path)
    write_json(manifest, package / "manifest.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [("format", "has package format 1"), ("facts", "lacks a fact"), ("model", "not model 'matrix_factorization'")],
)
def test_a_champion_of_an_older_format_is_not_compared_and_the_gate_says_why(
    inside: Path, change: str, said: str
) -> None:
    _promote(inside)
    _older(inside / "data/champion", change)
    evaluate.main()
    metrics = read_json(inside / "data/evaluate/metrics.json")
    assert "champion" not in metrics["models"]
    assert metrics["champion"]["version"] == "3"
    assert said in metrics["champion"]["not_compared"]
    assert any("Champion version 3 cannot be scored" in line for line in metrics["warnings"])
    assert "Champion version 3 cannot be scored" in (inside / "data/evaluate/report.html").read_text()
    verdict = gate.decide(inside / "data/evaluate", GateParams())
    assert verdict.reference == metrics["best_baseline"]
    assert verdict.champion_version is None
    assert "champion version 3 cannot be compared: " in verdict.why
    (inside / "data/champion/catalogue/items.parquet").write_bytes(b"damaged")
    if change == "model":
        with pytest.raises(ModelError, match="is not what its manifest says"):
            evaluate.main()


def test_evaluate_writes_what_every_guardrail_is_tested_with(inside: Path) -> None:
    _promote(inside)
    evaluate.main()
    folder = inside / "data/evaluate"
    metrics, users = read_json(folder / "metrics.json"), read_table(folder / "per_user.parquet")
    columns = ("ndcg_at_10", "ndcg_at_10_newcomer", "alone_at_10")
    rank, champion = (
        [users.filter(pc.equal(users["model"], name))[column].to_pylist() for column in columns]
        for name in ("rank", "champion")
    )
    assert rank == champion, "the champion is the candidate's own package"
    assert rank[0] != rank[1], "somebody without a history gets another list"
    package = Recommender.load(inside / "data/package")
    nobody = package.catalogue.named(Histories.nobody(NUM_ITEMS), TEST)
    scores = package.score(nobody, package.catalogue.item_ids[package.candidates])
    first = package.candidates[np.lexsort((package.candidates, -scores[0]))[:10]]
    window = evaluate.read_window(Path("data/prepared"), min_buyers=2)
    relevant = set(window.test.items[window.test.users == 0]) & set(package.candidates)
    gains = sum(1 / np.log2(place + 2) for place, item in enumerate(first) if item in relevant)
    assert rank[1][0] == pytest.approx(gains / sum(1 / np.log2(place + 2) for place in range(min(10, len(relevant)))))
    verdict = gate.decide(folder, GateParams(resamples=500))
    standings = {rail.name: rail.standing for rail in verdict.guardrails}
    assert standings | {"latency": "unmeasured", "memory": "unmeasured"} == standings
    measured = [rail for rail in verdict.guardrails if rail.name not in ("latency", "memory")]
    assert {rail.change for rail in measured} == {0.0}
    assert {rail.standing for rail in measured} <= {"held", "undecided"}
    assert metrics["relevance"]["models"]["rank"] == metrics["relevance"]["models"]["champion"]
    assert verdict.decision == "inconclusive"


def _no_judgements() -> pa.Table:
    return pa.Table.from_pylist([], JUDGEMENTS.schema)


def _judged_colours() -> pa.Table:
    """Of 40 queries each says that the items of its own word answer it, and of the next word do not."""
    rows = [
        {"query": f"{WORDS[number % 7]} {number}", "item_id": f"i{item:03}", "grade": 4 * (item % 7 == number % 7)}
        for number in range(40)
        for item in range(NUM_ITEMS)
        if item % 7 in (number % 7, (number + 1) % 7)
    ]
    return pa.Table.from_pylist(rows, JUDGEMENTS.schema)


HEADS = TrainBertParams(min_types=3, queries_per_type=6, pairs_per_query=3)


def test_relevance_check_says_what_it_measured_and_what_it_cannot(inside: Path, model: Recommender) -> None:
    items = read_table(inside / "data/prepared/items.parquet")
    checked = check_relevance(items, _no_judgements(), {"rank": model}, HEADS, 1)
    facts = checked.facts["models"]["rank"]
    assert (facts["head"], checked.facts["judged"]) == ("vectors", False)
    assert 0 < facts["brier"] < 1
    assert facts["brier"] == pytest.approx(np.mean(checked.per_query["brier"].to_pylist()), abs=0.05)
    few = check_relevance(items, _no_judgements(), {"rank": model}, TrainBertParams(min_types=50), 1)
    assert few.facts["not_measured"] == "7 product types, and a head is trained from 50"
    assert few.per_query.num_rows == 0


def test_relevance_check_asks_only_about_products_that_every_package_holds(inside: Path, model: Recommender) -> None:
    items = read_table(inside / "data/prepared/items.parquet")
    renamed = [f"new{row}" if row % 3 else name for row, name in enumerate(items["item_id"].to_pylist())]
    others = items.set_column(items.schema.get_field_index("item_id"), "item_id", pa.array(renamed))
    every = check_relevance(items, _no_judgements(), {"rank": model}, HEADS, 1)
    some = check_relevance(others, _no_judgements(), {"rank": model}, HEADS, 1)
    assert 0 < some.facts["pairs"] < every.facts["pairs"]
    none = items.set_column(items.schema.get_field_index("item_id"), "item_id", pa.array(["?"] * items.num_rows))
    assert "not_measured" in check_relevance(none, _no_judgements(), {"rank": model}, HEADS, 1).facts


def test_relevance_check_holds_to_account_the_head_that_search_serves(inside: Path, model: Recommender) -> None:
    weights = np.zeros(len(FEATURES), np.float32)
    weights[FEATURES.index("title_words")] = 8
    served = Recommender.load(inside / "data/package")
    finder = served.finder
    finder.judged = JudgedHead(weights, -2.0)
    finder.evidence = Evidence.of_titles(finder.lexical, finder.titles_of_texts, finder.encoder.encode)
    items = read_table(inside / "data/prepared/items.parquet")
    both = {"rank": served, "champion": model}
    checked = check_relevance(items, _judged_colours(), both, HEADS, 1)
    models = checked.facts["models"]
    assert checked.facts["judged"]
    assert {name: facts["head"] for name, facts in models.items()} == {"rank": "judgements", "champion": "vectors"}
    # Of the two words of a query one is in the titles that answer it, none in the others: 8 / 2 - 2, and -2.
    assert models["rank"]["brier"] == pytest.approx((1 / (1 + np.exp(2.0))) ** 2, abs=1e-4)
    assert models["rank"]["brier"] != models["champion"]["brier"]
    word = WORDS[2]
    found = served.finder.match(f"{word} 2", 20)
    best = found.texts[found.relevance > 0.5]
    assert found.judged
    assert {served.finder.titles_of_texts[text].split()[0] for text in best} == {word}


@pytest.mark.parametrize("change", ["format", "facts", "model"])
def test_no_warm_start_from_a_champion_of_an_older_format(
    inside: Path, tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(inside / "data/package", tmp_path / "previous")
    _older(tmp_path / "previous", change)
    assert read_previous(MatrixFactorization, read_space(), tmp_path / "previous") is None
    assert "no warm start" in capsys.readouterr().out


def test_champion_named_without_its_package_is_refused(inside: Path) -> None:
    write_json({"version": "3", "digest": "d" * 64, "run": "run"}, inside / "data/champion/champion.json")
    with pytest.raises(ModelError, match="not a package"):
        evaluate.main()


def test_evaluate_refuses_a_package_of_other_events(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    window = evaluate.read_window(Path("data/prepared"), min_buyers=NUM_USERS)
    champion = evaluate.Champion.read(Path("data/champion"))
    params = evaluate.load_params(evaluate.EvaluateParams, "evaluate")
    with pytest.raises(DataError, match="other training events"):
        evaluate.evaluate(window, Recommender.load(Path("data/package")), champion, params, seed=1)


def test_read_window_names_the_bound_that_the_split_lacks(inside: Path, tmp_path: Path) -> None:
    shutil.copytree(inside / "data/prepared", tmp_path, dirs_exist_ok=True)
    write_json({"validation_starts": VALIDATION, "test_starts": TEST}, tmp_path / "split.json")
    with pytest.raises(DataError, match="lacks 'test_ends'") as caught:
        evaluate.read_window(tmp_path, min_buyers=2)
    assert "shoploom run" in caught.value.mend


def test_evaluate_names_the_section_it_misses(inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: {value: 1}\n")
    with pytest.raises(ConfigError, match="evaluate"):
        evaluate.main()
