"""The model card: figures from the records, what they lack said to be missing, and no text of a shop as markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.lineage.audit import record
from pipelines.lineage.card import card_of, records_of
from pipelines.lineage.card_pages import markdown, page, publish_card
from pipelines.lineage.graph import out_md5
from pipelines.lineage.metric_changes import METRICS
from pipelines.registry.gate_verdict import VERDICT_FILE
from pipelines.registry.store import connect
from pipelines.registry.versions import registered_version
from pipelines.runs.run_commits import finish_run, read_lock
from pipelines.runs.start import start_run
from tests.lineage_shop import make_lineage_shop, register_run
from tests.toy_pipeline import Shop
from tests.unit.test_lineage_page import Tags

HOSTILE = "<script>alert(1)</script> | *x*"
STAGE = """\
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, data/total.txt]
    metrics: [data/evaluate/metrics.json]
"""
DOCUMENT = {
    "users": 1234,
    "candidates": 56,
    "protocol": {"test_starts": 17_500, "test_ends": 17_507, "gain": "binary"},
    "models": {
        "rank": {"kind": "model", "ndcg_at_10": 0.4217, "map_at_10": None},
        "own_counts": {"kind": "baseline", "ndcg_at_10": 0.4012},
    },
    "segments": {"light": {"rank": {"ndcg_at_10": 0.3111}}, "heavy": {"rank": {"ndcg_at_10": 0.5333}}},
    "segment_users": {"light": 700, "heavy": 534},
    "comparisons": {
        "own_counts": {
            "ndcg_at_10": {"users": 1234, "effect": 0.0205, "low": 0.0101, "high": 0.0309, "p_value": 0.0002},
            "ndcg_at_10_new": None,
        }
    },
    "warnings": [HOSTILE],
}


@pytest.fixture
def shop(tmp_path: Path, mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = make_lineage_shop(tmp_path, mlflow_home, monkeypatch)
    code = shop.settings.repository
    (code / "dvc.yaml").write_text((code / "dvc.yaml").read_text() + STAGE)
    written = "import pathlib\nwhere = pathlib.Path('data/evaluate')\nwhere.mkdir(parents=True)\n"
    written += f"(where / 'metrics.json').write_text({json.dumps(DOCUMENT)!r})\n"
    (code / "evaluate.py").write_text(written)
    shop.git.run("add", "--all")
    commit = shop.git.commit(shop.git.text("write-tree"), [shop.git.resolve("main")], "Evaluate", 1_500_000_002)
    shop.git.run("update-ref", "refs/heads/main", commit)
    shop.land(1, 2, 3)
    start, shop.entries = start_run(shop.settings, None), {}
    for stage in ("sizes", "total", "evaluate"):
        assert shop.stage(start, stage, "r1")["error"] is None
    version = register_run(shop, finish_run(shop.settings, start, shop.entries, "r1"), "r1", override=HOSTILE)
    verdict = {"decision": "promote", "why": HOSTILE, "guardrails": [{"name": "coverage", "standing": "held"}]}
    connect(shop.settings).log_dict(registered_version(shop.settings, version).mlflow_run, verdict, VERDICT_FILE)
    record(shop.settings, "approve", f"version {version}", approver="ann", reason=HOSTILE)
    return shop


def written(shop: Shop, version: str) -> tuple[str, str]:
    """Markdown and page."""
    sections = card_of(records_of(shop.settings, version))
    return markdown(version, sections), page(version, sections)


def test_card_s_figures_are_those_of_the_records(shop: Shop) -> None:
    text, _ = written(shop, "1")
    run = records_of(shop.settings, "1").lineage.run
    assert run is not None
    for told in (
        "| rank | model | 0.4217 | missing |",
        "| light | 700 | 0.3111 |",
        "| own\\_counts | ndcg\\_at\\_10 | +0.0205 | +0.0101 to +0.0309 | 0.0002 | 1,234 |",
        "| events | history | 1 | 2017-W01 | 3 | 1 |",
        "| events | price\\_is\\_positive | 3 |",
        "| coverage | held |",
        f"- **run commit**: {run.commit}",
        "- **training events**: 8, partitions 2017-W01 to 2017-W02",
        "- **test window**: 2017-11-30 00:00 UTC to 2017-12-07 00:00 UTC",
        "- **approved by**: ann, ",
        "approve | version 1 |",
        "### Article 12: record-keeping",
    ):
        assert told in text, told
    assert "compliant" not in text.lower()
    assert "complian" not in text.lower()


def test_card_s_pages_hold_no_markup_of_a_shop_and_load_nothing(shop: Shop) -> None:
    text, drawn = written(shop, "1")
    names = {name for name, _ in Tags(drawn).found}
    assert not names & {"script", "img", "link", "iframe", "a"}
    assert "http" not in drawn.replace("http-equiv", "")
    assert "<script>" not in text.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows
    assert all(line.endswith(" |") for line in rows)


def test_card_says_what_is_missing_and_the_command_ends_with_an_error(shop: Shop, tmp_path: Path) -> None:
    lock = read_lock(shop.settings, records_of(shop.settings, "1").lineage.run)  # type: ignore[arg-type]
    for place in ("cache", "remote"):
        for file in (shop.settings.home / place).rglob(out_md5(lock, METRICS)[2:]):
            file.unlink()
    older = register_run(shop, None)
    environment = {"SHOPLOOM_REPOSITORY": str(shop.settings.repository)}
    ended = CliRunner().invoke(main, ["card", "1"], env=environment)
    assert (ended.exit_code, METRICS in ended.stderr) == (1, True)
    assert "Missing: what evaluate measured is lost" in ended.stdout
    assert "0.42" not in ended.stdout
    text, _ = written(shop, older)
    for told in ("**run commit**: missing", "**machine**: missing", "older shoploom", "no entry of this version"):
        assert told in text, told
    file = tmp_path / "card.html"
    assert CliRunner().invoke(main, ["card", older, "--html", str(file)], env=environment).exit_code == 1
    Tags(file.read_text())


def test_card_is_kept_beside_the_version(shop: Shop, tmp_path: Path) -> None:
    publish_card(shop.settings, "1")
    client = connect(shop.settings)
    run = registered_version(shop.settings, "1").mlflow_run
    kept = {name: Path(client.download_artifacts(run, f"model_card.{name}", str(tmp_path))) for name in ("md", "html")}
    assert (kept["md"].read_text(), kept["html"].read_text()) == written(shop, "1")
