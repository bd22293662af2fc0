"""Embedding throughput: this repository's encoder against sentence-transformers on torch, the same texts and weights.

The other side lives in an environment of its own under ``.shoploom/bench``, made by uv on first use. Each side is a
process that has the machine to itself; they take turns, and the best turn of each counts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".shoploom" / "bench"
NUM_TEXTS = 2000
TURNS = 3

OTHER_SIDE = """
import json, sys, time
import numpy as np, torch
from sentence_transformers import SentenceTransformer

weights, texts, output = sys.argv[1:]
texts = json.load(open(texts))
model = SentenceTransformer(weights, device="cpu")
assert next(model.parameters()).dtype == torch.float32
model.encode(texts[:64])
started = time.perf_counter()
vectors = model.encode(texts, normalize_embeddings=True)
seconds = time.perf_counter() - started
np.save(output, vectors)
print(json.dumps({"texts_per_second": len(texts) / seconds, "threads": torch.get_num_threads()}))
"""

OUR_SIDE = """
import json, sys, time
from pathlib import Path
import numpy as np
from pipelines.models.encoder import TextEncoder

encoder, texts, output = sys.argv[1:]
texts = json.load(open(texts))
model = TextEncoder.load(Path(encoder))
model.encode(texts[:64])
started = time.perf_counter()
vectors = model.encode(texts)
seconds = time.perf_counter() - started
query = time.perf_counter()
for text in texts[:50]:
    model.encode([text])
query = (time.perf_counter() - query) / 50
np.save(output, vectors)
print(json.dumps({"texts_per_second": len(texts) / seconds, "threads": model.streams, "query_ms": 1000 * query}))
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
            "sentence-transformers>=5",
            "torch",
            "numpy",
        ]
        # The nearest project's settings count, and this one's leave torch out.
        (FOLDER / "pyproject.toml").write_text('[project]\nname = "bench"\nversion = "0"\n[tool.uv]\n')
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
    """Export the pre-trained encoder; the Hugging Face directory that it comes from."""
    from pipelines.models.bert import build_encoder, export_encoder, find_weights
    from pipelines.params import EmbedParams

    params = EmbedParams()
    source = find_weights(params.weights, params.weights_sha256)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    export_encoder(build_encoder(source), source, directory, max_length=params.max_length, precision=params.precision)
    return source


def turn(python: Path, program: str, *arguments: Path) -> dict[str, float]:
    """Run one side once; what it printed."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT) if python == Path(sys.executable) else "",
    }
    command = [str(python), "-c", program, *map(str, arguments)]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    import numpy as np

    sys.path.insert(0, str(ROOT))
    FOLDER.mkdir(parents=True, exist_ok=True)
    python = other_python()
    source = export(FOLDER / "encoder")
    texts = FOLDER / "texts.json"
    texts.write_text(json.dumps(product_texts()))
    ours, theirs = [], []
    for _ in range(TURNS):
        theirs.append(turn(python, OTHER_SIDE, source, texts, FOLDER / "theirs.npy"))
        ours.append(turn(Path(sys.executable), OUR_SIDE, FOLDER / "encoder", texts, FOLDER / "ours.npy"))
    cosine = np.einsum("ij,ij->i", np.load(FOLDER / "ours.npy"), np.load(FOLDER / "theirs.npy"))
    fast, slow = (max(side, key=lambda result: result["texts_per_second"]) for side in (ours, theirs))
    print(f"shoploom               {fast['texts_per_second']:7.0f} texts/s, one query {fast['query_ms']:.1f} ms")
    print(f"sentence-transformers  {slow['texts_per_second']:7.0f} texts/s (torch, fp32, {slow['threads']} threads)")
    ratio = fast["texts_per_second"] / slow["texts_per_second"]
    print(f"ratio                  {ratio:7.2f}  (asked: 2 or more)")
    print(f"cosine to fp32         {cosine.min():.5f} at worst  (asked: 0.999), {cosine.mean():.5f} on average")


if __name__ == "__main__":
    main()
