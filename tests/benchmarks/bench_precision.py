"""What the encoder's precision costs: NDCG lost by 8 bits and bfloat16 against float32, in search and recommendation.

    .venv/bin/python tests/benchmarks/bench_precision.py [WORKTREE] [attributes] [judged] [recommendation]

WORKTREE holds the outputs of the stages before ``fuse``; without it the default data is landed and they run in a
temporary folder. Search: attribute queries for held-out product types of the default data over all its texts, by the
fine-tuned encoder; and the judged pairs of ``../shared/data/search_relevance`` (or SHOPLOOM_BENCH_DATA), by the encoder
as it comes. Recommendation: the texts encoded again in each precision, then ``fuse``, ``rank``, ``package`` and
``evaluate`` on these, 8 bits against float32, in folders of the worktree, so that it goes on where it was stopped.
Differences are paired, by query or user. 8 bits may be the default where no loss is significant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from bench_search_relevance import DATA, read_judgements
from numpy.typing import NDArray
from processor import processor
from worktree import ROOT, worktree

from dags.dvc_graph import read_graph
from pipelines.artifacts import file_sha256, read_json, read_table, write_arrays, write_json
from pipelines.metrics.encoder_gain import ndcg_at_10
from pipelines.metrics.significance import compare
from pipelines.models.encoder import IR_FILE, TextEncoder
from pipelines.models.quantised import quantised
from pipelines.models.text_pairs import TextTable, queries_by_type, split_by_type
from pipelines.models.texts import distinct_texts
from pipelines.params import TrainBertParams, load_params

PRECISIONS = ("f32", "bf16", "int8")
COMPARED = ("f32", "int8")
PARTS = ("attributes", "judged", "recommendation")
STAGES = ("fuse", "rank", "package", "evaluate")
METRICS = {
    "rank, all purchases": ("rank", "ndcg_at_10"),
    "rank, new to the user": ("rank", "ndcg_at_10_new"),
    "text alone, new to the user": ("text", "ndcg_at_10_new"),
}
SEED = 7
Values = NDArray[np.float64]


def in_precision(encoder: Path, directory: Path, precision: str) -> None:
    """Write the encoder of a folder, whose weights are not in 8 bits, in another precision."""
    import openvino

    shutil.copytree(encoder, directory, copy_function=shutil.copyfile)
    if precision == "int8":
        graph = quantised(openvino.Core().read_model(encoder / IR_FILE))
        openvino.save_model(graph, directory / IR_FILE, compress_to_fp16=True)
    about = read_json(directory / "encoder.json")
    files = {name: file_sha256(directory / name) for name in about["files"]}
    write_json({**about, "precision": precision, "files": files}, directory / "encoder.json")


def encoders(folder: str) -> dict[str, TextEncoder]:
    """The encoder of a stage's outputs, in every precision."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in PRECISIONS:
            directory = Path(scratch) / precision
            in_precision(Path(folder) / "encoder", directory, precision)
            found[precision] = TextEncoder.load(directory)
    return found


def search_by_attributes() -> dict[str, Values]:
    """NDCG@10 of each query for a held-out product type, by precision."""
    params = load_params(TrainBertParams, "train_bert")
    texts, text_index = distinct_texts(read_table(Path("data/prepared/items.parquet")))
    table = TextTable.of(read_table(Path("data/prepared/items.parquet")), texts, text_index)
    *_, held_out = split_by_type(table, params.held_out_types, params.calibration_types)
    queries = queries_by_type(table, held_out, params.queries_per_type, np.random.default_rng(SEED))
    found = {}
    for precision, encoder in encoders("data/train_bert").items():
        vectors = encoder.encode(texts)
        found[precision] = ndcg_at_10(table, queries, encoder.encode([query.words for query in queries]), vectors)
    return found


def search_by_judgements() -> dict[str, Values]:
    """NDCG@10 of each judged query, by precision."""
    judged, texts, _ = read_judgements()
    found = {}
    for precision, encoder in encoders("data/embed").items():
        queries, vectors = encoder.encode(judged.queries), encoder.encode(texts)
        values = judged.ndcg((queries[judged.query_index] * vectors[judged.texts]).sum(1))
        found[precision] = values[np.isfinite(values)]
    return found


def prepare(folder: Path, precision: str) -> None:
    """Make a worktree like this one before ``fuse``, its texts encoded in a precision."""
    later = {*STAGES, "champion"}
    shutil.copytree("data", folder / "data", copy_function=os.link, ignore=lambda _, names: later & {*names})
    shutil.copy(ROOT / "params.yaml", folder)
    write_json({"version": None, "digest": None, "run": None}, folder / "data/champion/champion.json")
    bert = folder / "data/train_bert"
    shutil.rmtree(bert / "encoder")
    in_precision(Path("data/train_bert/encoder"), bert / "encoder", precision)
    texts, text_index = distinct_texts(read_table(Path("data/prepared/items.parquet")))
    vectors = TextEncoder.load(bert / "encoder").encode(texts)
    (bert / "texts.safetensors").unlink()
    write_arrays({"embeddings": vectors, "text_index": text_index}, bert / "texts.safetensors")


def recommendation(precision: str) -> dict[str, Values]:
    """NDCG@10 of each user by the blend over all models and by text alone, texts encoded in a precision."""
    folder = Path(f"precision-{precision}")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
            prepare(Path(scratch) / "worktree", precision)
            (Path(scratch) / "worktree").rename(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SHOPLOOM_NO_CACHE": "1"}
    for stage in (stage for stage in STAGES if not (folder / "data" / stage).is_dir()):
        subprocess.run(
            [sys.executable, "-m", f"pipelines.stages.{stage}"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    users = read_table(folder / "data/evaluate/per_user.parquet")
    return {
        what: users.filter(pc.equal(users["model"], model))[column].to_numpy().astype(np.float64)
        for what, (model, column) in METRICS.items()
    }


def tell(what: str, found: dict[str, Values]) -> None:
    """Print what each precision reaches, and what it loses against float32."""
    exact = found["f32"]
    for precision, values in found.items():
        told = np.isfinite(values) & np.isfinite(exact)
        line = f"{what:43s} {precision:5s} NDCG@10 {values[told].mean():.4f}"
        if precision != "f32":
            tested = compare(values[told], exact[told], seed=SEED)
            line += f"  {tested.effect:+.5f} ({tested.low:+.5f} to {tested.high:+.5f}), p {tested.p_value:.4f}"
            lost = tested.significant and tested.effect < 0
            line += f"  {'a significant loss' if lost else 'no significant loss'}"
        print(line, flush=True)


def main() -> None:
    """Measure all, or what was named."""
    chosen = [argument for argument in sys.argv[1:] if argument in PARTS]
    sys.argv = [argument for argument in sys.argv if argument not in chosen]
    with worktree([stage.name for stage in read_graph(ROOT / "dvc.yaml") if stage.name not in STAGES]):
        print(processor(), flush=True)
        if not chosen or "attributes" in chosen:
            tell("search, attribute queries", search_by_attributes())
        if not chosen or "judged" in chosen:
            if (DATA / "search_relevance").is_dir():
                tell("search, judged queries", search_by_judgements())
            else:
                print(f"search, judged queries: skipped, {DATA / 'search_relevance'} does not exist")
        if not chosen or "recommendation" in chosen:
            users: dict[str, dict[str, Values]] = {}
            for precision in COMPARED:
                started = time.perf_counter()
                users[precision] = recommendation(precision)
                print(f"{precision}: fused, ranked and evaluated in {time.perf_counter() - started:.0f} s", flush=True)
            for what in METRICS:
                tell(f"recommendation, {what}", {precision: users[precision][what] for precision in COMPARED})


if __name__ == "__main__":
    main()
