"""Embedding throughput: this repository's encoder beside sentence-transformers, on torch and on OpenVINO.

    .venv/bin/python tests/benchmarks/bench_embedding.py

The same texts and weights everywhere. The other side lives in an environment of its own under ``.shoploom/bench``, made
by uv on first use, and runs as it comes: torch in float32, and OpenVINO in the precision that it chooses itself. Each
turn is a process that has the machine to itself; they take turns, and the best turn of each counts. Cosines are to
torch's float32. Asked: 2.5 times torch and 1.2 times its OpenVINO backend, at equal or better cosine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from processor import processor

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".shoploom" / "bench"
NUM_TEXTS = 2000
TURNS = 3
ASKED = {"torch": 2.5, "openvino": 1.2}
PRECISIONS = ("bf16", "int8", "f32")

OTHER_SIDE = """
import json, sys, time
from importlib.metadata import version
from pathlib import Path
import numpy as np, torch
from sentence_transformers import SentenceTransformer

backend, weights, texts, output = sys.argv[1:]
texts = json.load(open(texts))
if backend == "torch":
    model = SentenceTransformer(weights, device="cpu")
    precision = str(next(model.parameters()).dtype).removeprefix("torch.")
else:
    exported = Path(output).with_suffix("")
    if not exported.is_dir():
        SentenceTransformer(weights, backend="openvino", model_kwargs={"export": True}).save_pretrained(str(exported))
    model = SentenceTransformer(str(exported), backend="openvino")
model.encode(texts[:64])
if backend == "openvino":
    precision = model[0].auto_model.request.get_property("INFERENCE_PRECISION_HINT").get_type_name()
started = time.perf_counter()
vectors = model.encode(texts, normalize_embeddings=True)
seconds = time.perf_counter() - started
np.save(output, vectors)
names = ("sentence-transformers", "torch") if backend == "torch" else ("sentence-transformers", "openvino")
versions = ", ".join(f"{name} {version(name)}" for name in names)
print(json.dumps({"texts_per_second": len(texts) / seconds, "about": f"{versions}, {precision}"}))
"""

OUR_SIDE = """
import json, sys, time
from importlib.metadata import version
from pathlib import Path
import numpy as np
from pipelines.models.encoder import TextEncoder
from pipelines.serving.query_encoder import QueryEncoder

precision, encoder, texts, output = sys.argv[1:]
texts = json.load(open(texts))
model = TextEncoder.load(Path(encoder))
model.encode(texts[:64])
started = time.perf_counter()
vectors = model.encode(texts)
seconds = time.perf_counter() - started
np.save(output, vectors)
one = QueryEncoder.load(Path(encoder))
one.encode(texts[:20])
query = time.perf_counter()
one.encode(texts[:200])
query = (time.perf_counter() - query) / 200
about = f"openvino {version('openvino')}, {precision}, one query {1000 * query:.1f} ms"
print(json.dumps({"texts_per_second": len(texts) / seconds, "about": about}))
"""


def other_python() -> Path:
    """The interpreter of the environment with torch and sentence-transformers, which is made when missing."""
    environment = FOLDER / "sentence-transformers"
    python = environment / "bin" / "python"
    ready = environment / "ready"
    if not ready.is_file():
        uv = shutil.which("uv") or str(ROOT / ".shoploom" / "uv" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)], check=True)
        install = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(python),
            "sentence-transformers[openvino]>=5",
            "torch",
        ]
        # The nearest project's settings count, and this one's leave torch out.
        settings = (
            '[project]\nname = "bench"\nversion = "0"\n[tool.uv]\nexclude-dependencies = ["openvino-telemetry"]\n'
        )
        (FOLDER / "pyproject.toml").write_text(settings)
        if subprocess.run([*install, "--torch-backend", "cpu"], cwd=FOLDER).returncode:
            print("torch's CPU builds cannot be reached; installing the package index's build, which is larger")
            subprocess.run(install, cwd=FOLDER, check=True)
        ready.touch()
    return python


def product_texts() -> list[str]:
    """Distinct texts of the default shop's products, made as the stage ``prepare`` makes them; every n-th of them."""
    from pipelines.params import PrepareParams
    from pipelines.sources import load_source
    from pipelines.stages.prepare import _items

    items = _items(load_source("complete_journey").items(), PrepareParams())
    texts = sorted(set(items.column("text").to_pylist()))
    return texts[:: max(len(texts) // NUM_TEXTS, 1)][:NUM_TEXTS]


def export(directory: Path) -> Path:
    """Export the pre-trained encoder in each precision; the Hugging Face directory that it comes from."""
    from pipelines.models.bert import build_encoder, export_encoder, find_weights
    from pipelines.params import EmbedParams

    params = EmbedParams()
    source = find_weights(params.weights, params.weights_sha256)
    model = build_encoder(source)
    shutil.rmtree(directory, ignore_errors=True)
    for precision in PRECISIONS:
        (directory / precision).mkdir(parents=True)
        export_encoder(model, source, directory / precision, max_length=params.max_length, precision=precision)
    return source


def turn(python: Path, program: str, *arguments: object) -> dict[str, Any]:
    """Run one side once; what it printed."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT) if python == Path(sys.executable) else "",
    }
    command = [str(python), "-c", program, *map(str, arguments)]
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    import numpy as np

    sys.path.insert(0, str(ROOT))
    FOLDER.mkdir(parents=True, exist_ok=True)
    python = other_python()
    source = export(FOLDER / "encoder")
    texts = FOLDER / "texts.json"
    texts.write_text(json.dumps(product_texts()))
    sides: dict[str, list[dict[str, Any]]] = {}
    for _ in range(TURNS):
        for backend in ASKED:
            found = turn(python, OTHER_SIDE, backend, source, texts, FOLDER / f"{backend}.npy")
            sides.setdefault(backend, []).append(found)
        for precision in PRECISIONS:
            encoder = FOLDER / "encoder" / precision
            found = turn(Path(sys.executable), OUR_SIDE, precision, encoder, texts, FOLDER / f"{precision}.npy")
            sides.setdefault(precision, []).append(found)
    exact = np.load(FOLDER / "torch.npy")
    best = {name: max(turns, key=lambda result: result["texts_per_second"]) for name, turns in sides.items()}
    print(f"{len(exact):,} distinct texts, best of {TURNS} turns; {processor()}")
    print(f"{'':10s}{'texts/s':>8s}{'x torch':>9s}{'x openvino':>12s}{'cosine, worst':>15s}{'mean':>9s}")
    for name, found in best.items():
        speed = found["texts_per_second"]
        cosine = np.einsum("ij,ij->i", np.load(FOLDER / f"{name}.npy"), exact)
        ratios = [speed / best[other]["texts_per_second"] for other in ASKED]
        print(
            f"{name:10s}{speed:8.0f}{ratios[0]:9.2f}{ratios[1]:12.2f}{cosine.min():15.5f}{cosine.mean():9.5f}"
            f"   {'' if name in ASKED else 'shoploom, '}{found['about']}"
        )
    for other, asked in ASKED.items():
        ratio = best["bf16"]["texts_per_second"] / best[other]["texts_per_second"]
        print(f"bf16 over {other}: {ratio:.2f}  (asked: {asked})  {'reached' if ratio >= asked else 'NOT reached'}")


if __name__ == "__main__":
    main()
