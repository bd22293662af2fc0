"""No dependency calls home: with every outbound socket refused and recorded, nothing is recorded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

USES = {
    "mlflow": """
import mlflow, pathlib
mlflow.set_tracking_uri(f"sqlite:///{pathlib.Path.cwd() / 'mlflow.db'}")
with mlflow.start_run():
    mlflow.log_metric("ndcg_at_10", 0.5)
""",
    "dvc": """
import subprocess
subprocess.run(["git", "init", "-q"], check=True)
from dvc.repo import Repo
from dvc.cli import main
Repo.init().close()
open("rows.csv", "w").write("a,b")
assert main(["add", "rows.csv"]) == 0
""",
    "great_expectations": """
import great_expectations as gx, pandas as pd
context = gx.get_context(mode="ephemeral")
batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
result = batch.get_batch({"dataframe": pd.DataFrame({"x": [1, 2]})}).validate(
    gx.expectations.ExpectColumnValuesToNotBeNull(column="x"))
assert result.success
""",
    "openvino": """
import numpy as np, openvino as ov
from openvino import opset13 as ops
x = ops.parameter([1], np.float32)
model = ov.Core().compile_model(ov.Model([ops.relu(x)], [x]), "CPU")
assert model(np.ones(1, np.float32))[0][0] == 1
""",
    "airflow": """
import subprocess, sys
subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
""",
}


def environment(tmp_path: Path) -> dict[str, str]:
    from pipelines.settings import NO_TELEMETRY

    return (
        os.environ
        | NO_TELEMETRY
        | {
            "PYTHONPATH": str(ROOT / "tests" / "offline"),
            "SHOPLOOM_TEST_ATTEMPTS": str(tmp_path / "attempts"),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
        }
    )


@pytest.mark.parametrize("library", USES)
def test_library_makes_no_outbound_connection(library: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", USES[library]], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert not (tmp_path / "attempts").exists(), (tmp_path / "attempts").read_text()


@pytest.mark.parametrize(
    "attempt",
    [
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 9))",
        "import socket; socket.getaddrinfo('192.0.2.1', 9)",
        "import socket; socket.gethostbyname('192.0.2.1')",
        "import socket; socket.gethostbyname_ex('192.0.2.1')",
    ],
)
def test_outbound_connection_is_caught_by_this_very_test(attempt: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", attempt], env=environment(tmp_path), cwd=tmp_path, capture_output=True
    )
    assert ended.returncode != 0
    assert "192.0.2.1" in (tmp_path / "attempts").read_text()


def test_connection_within_this_machine_is_let_through(tmp_path: Path) -> None:
    program = """
import socket
near, far = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
near.bind(("127.0.0.1", 0))
far.sendmsg([b"x"], [], 0, near.getsockname())
far.connect(near.getsockname())
far.sendmsg([b"x"])
for name in ("localhost", b"localhost", socket.gethostname()):
    socket.gethostbyname(name)
socket.getaddrinfo(None, 9)
"""
    ended = subprocess.run([sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "attempts").exists()
