"""Texts to vectors: a BERT encoder run by OpenVINO on the CPU.

A text's vector depends on the text and the encoder alone. Three choices see to it: a text is padded to the
bucket of its own length, every call has the same number of rows, and every call runs on one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import file_sha256, read_json
from pipelines.errors import DataError, ModelError
from pipelines.models.scripts import Reader
from pipelines.progress import track

FORMAT_VERSION = 1
IR_FILE = "encoder.xml"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_SOURCE = "tokenizer.json"

BUCKET_TOKENS = 8
"""A text is padded to the next multiple of this many tokens."""
ROWS = 16
"""Rows of every call; a batch that is not full is filled with empty rows. A text takes 7% less time than with 8."""
GROUP = 64
"""Neighbouring numbers that share a range where an encoder computes in 8 bits; the cosine to float32 is 0.9994
on average over product texts; with 384 it is 0.9980."""


@dataclass(frozen=True)
class Batch:
    """One call's input.

    Args:
        rows: int64 [n], positions of the texts; n <= ROWS.
        token_ids: int32 [n or more, length], zero where padded; length is a multiple of BUCKET_TOKENS.
        padding_mask: of that shape, 1 on tokens.
    """

    rows: NDArray[np.int64]
    token_ids: NDArray[np.int32]
    padding_mask: NDArray[np.int32]


def length_batches(tokens: Sequence[NDArray[np.int32]], at_least: int = 1) -> Iterator[Batch]:
    """Group texts of the same length bucket into batches of at most ``ROWS`` rows, shortest first.

    Args:
        tokens: the token ids of each text, at least one each.
        at_least: rows of a batch; what is lacking is filled with empty rows.
    """
    buckets = np.array([-(-len(ids) // BUCKET_TOKENS) * BUCKET_TOKENS for ids in tokens], np.int64)
    for length in np.unique(buckets):
        members = np.flatnonzero(buckets == length)
        for start in range(0, len(members), ROWS):
            rows = members[start : start + ROWS]
            shape = max(len(rows), at_least), int(length)
            token_ids, padding_mask = np.zeros((2, *shape), np.int32)
            padding_mask[:, 0] = 1
            for place, row in enumerate(rows):
                token_ids[place, : len(tokens[row])] = tokens[row]
                padding_mask[place, : len(tokens[row])] = 1
            yield Batch(rows, token_ids, padding_mask)


class Running:
    """Calls of a compiled encoder, as many at once as it has streams.

    Args:
        compiled: an ``openvino.CompiledModel``.
        streams: of it.
        vectors: float32 [num_texts, embedding_size], where results are written.
    """

    def __init__(self, compiled: Any, streams: int, vectors: NDArray[np.float32]) -> None:
        self._compiled, self._streams, self._vectors = compiled, streams, vectors
        self._calls: list[tuple[Any, Batch]] = []

    def start(self, batch: Batch, inputs: dict[str, NDArray[Any]]) -> None:
        """Compute a batch, once there is room for it."""
        request = self._take() if len(self._calls) == self._streams else self._compiled.create_infer_request()
        request.start_async(inputs)
        self._calls.append((request, batch))

    def finish(self) -> None:
        """Wait for all."""
        while self._calls:
            self._take()

    def _take(self) -> Any:
        request, batch = self._calls.pop(0)
        request.wait()
        self._vectors[batch.rows] = request.get_output_tensor(0).data[: len(batch.rows)]
        return request


class TextEncoder:
    """A tokenizer and a compiled encoder. Made by :meth:`load`.

    OpenVINO's hints are fixed: as many streams as processors with one thread each (so the number of processors
    changes no bit), and no execution in another precision than ``encoder.json`` names: nothing is quantised that it
    does not say is. Where a processor lacks bfloat16 OpenVINO computes in float32, and :attr:`identity` says so.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        import openvino

        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "EXECUTION_MODE_HINT": "PERFORMANCE"}
        self._open(directory, manifest, ROWS, processors(), hints)
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        parts = (file_sha256(directory / "encoder.json"), used, openvino.__version__, ROWS, BUCKET_TOKENS, GROUP)
        self.identity = hashlib.sha256(repr(parts).encode()).hexdigest()
        """Equal for two encoders that give equal vectors: files, precision in use, OpenVINO's version, batch shape."""

    def _open(
        self,
        directory: Path,
        manifest: dict[str, Any],
        rows: int | None,
        streams: int,
        hints: dict[str, str] | None = None,
    ) -> None:
        """Read the tokenizer, and compile the graph for batches of ``rows``, or of any number where that is None, on as
        many streams of one thread each."""
        import openvino
        from tokenizers import Tokenizer

        self._rows, self._streams = rows, streams
        self.embedding_size = int(manifest["embedding_size"])
        self.max_length = int(manifest["max_length"])
        self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)
        graph = openvino.Core().read_model(directory / IR_FILE)
        graph.reshape({name: openvino.PartialShape([rows or -1, -1]) for name in ("token_ids", "padding_mask")})
        eight_bits = manifest["precision"] == "int8"
        self._compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                **(hints or {}),
                "NUM_STREAMS": str(streams),
                "INFERENCE_NUM_THREADS": str(streams),
                "INFERENCE_PRECISION_HINT": "f32" if eight_bits else str(manifest["precision"]),
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(GROUP if eight_bits else 0),
            },
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read and compile what ``export_encoder`` wrote.

        Raises:
            ModelError: a file is missing, changed or of another format version.
        """
        return cls(directory, _checked_manifest(directory))

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The token ids of each text, special tokens included, at most ``max_length``.

        Raises:
            DataError: an entry is not a string; the message names its position.
        """
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(
                    f"text {position} is {type(text).__name__}, not a string", mend="give every text as str"
                )
        return [np.array(encoding.ids, np.int32) for encoding in self._tokenizer.encode_batch(list(texts))]

    def knows(self, word: str) -> bool:
        """Whether a word, in lower case, is one token: common words are, misspelt ones are not."""
        return any(self._tokenizer.token_to_id(token) is not None for token in (word, f"\u2581{word}"))

    @cached_property
    def reader(self) -> Reader:
        """What tells which texts the vocabulary covers."""
        return Reader(self._tokenizer)

    def encode(self, texts: Sequence[str], description: str = "") -> NDArray[np.float32]:
        """Encode texts.

        Args:
            texts: any number; the empty text is allowed.
            description: shown with the progress bar; no bar when empty.

        Returns:
            float32 [num_texts, embedding_size], L2-normalised. A row is the same to the bit whatever the other
            texts are.
        """
        vectors = np.zeros((len(texts), self.embedding_size), np.float32)
        if not len(texts):
            return vectors
        batches = list(length_batches(self.tokenize(texts), self._rows or 1))
        running = Running(self._compiled, self._streams, vectors)
        for batch in track(batches, description) if description else batches:
            running.start(batch, {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask})
        running.finish()
        return normalised(vectors)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length one: bfloat16 leaves them off by up to 0.4%.

    Args:
        vectors: float32 [n, embedding_size].
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    scaled: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
    return scaled


def _checked_manifest(directory: Path) -> dict[str, Any]:
    mend = "shoploom run makes it again"
    try:
        manifest: dict[str, Any] = read_json(directory / "encoder.json")
    except DataError as error:
        raise ModelError(error.message, mend=mend) from error
    if manifest.get("format") != "shoploom-encoder" or manifest.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{directory} holds format {manifest.get('format')!r} version {manifest.get('format_version')!r}; "
            f"version {FORMAT_VERSION} of 'shoploom-encoder' is read",
            mend=mend,
        )
    for name, digest in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise ModelError(f"{path} does not exist", mend=mend)
        if file_sha256(path) != digest:
            raise ModelError(f"{path} is not the file that encoder.json names: its SHA-256 differs", mend=mend)
    return manifest
