import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from pipelines.cli import main
from pipelines.commands.frame import current_settings
from pipelines.orchestration import airflow
from pipelines.orchestration.run import _where_to_look
from pipelines.settings import Settings, child_environment

ROOT = Path(__file__).parents[2]
HEAVY = ("airflow", "dvc", "great_expectations", "keras", "mlflow", "numpy", "pandas", "pydantic", "tensorflow")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipelines.cli import main; main(['--help'], standalone_mode=False); "
        f"print('LOADED', [m for m in {HEAVY} if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "LOADED []" in printed


def test_every_command_is_documented_in_help_and_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, command in main.commands.items():
        assert command.help, name
        assert f"shoploom {name}" in readme, f"README does not mention `shoploom {name}`"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach", "x"], "no command 'serach'; did you mean 'search'"),
        (["run", "--until", "2017-13-03"], "'2017-13-03' is not a date; write it as 2017-12-03"),
        (["recommend"], "Missing argument 'USER'"),
        (["search", "pizza", "-k", "0"], "0 is not in the range 1<=x<=1000"),
        (["search", "\udcff"], r"'\udcff' is not UTF-8"),
        (["recommend", "\udcff"], r"'\udcff' is not UTF-8"),
    ],
)
def test_wrong_words_get_one_line_that_helps(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_wrong_setting_names_the_variable() -> None:
    result = CliRunner().invoke(main, ["status"], env={"SHOPLOOM_AIRFLOW_PORT": "99999"})
    assert result.exit_code == 1
    assert "SHOPLOOM_AIRFLOW_PORT" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["status", "run", "up"])
def test_a_state_folder_that_cannot_be_made_gets_one_clear_message(command: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    result = CliRunner().invoke(main, [command], env={"SHOPLOOM_HOME": str(home)})
    assert result.exit_code == 1
    assert result.output.startswith(f"shoploom: {home}/")
    assert "Not a directory\n  -> " in result.output
    assert "Traceback" not in result.output


def test_settings_leave_the_embedded_mlflow_to_its_own_default_when_no_server_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path))
    monkeypatch.delenv("SHOPLOOM_TRACKING_URL", raising=False)
    assert current_settings().tracking_url is None


def test_what_the_command_starts_asks_the_same_mlflow_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHOPLOOM_TRACKING_URL", raising=False)
    settings = Settings(SHOPLOOM_HOME=tmp_path)
    assert "SHOPLOOM_TRACKING_URL" not in child_environment(settings)
    served = settings.model_copy(update={"tracking_url": "http://127.0.0.1:5000"})
    assert child_environment(served)["SHOPLOOM_TRACKING_URL"] == "http://127.0.0.1:5000"


def test_airflow_waits_for_another_writer_in_sqlite_and_postgresql_opens_as_it_does(tmp_path: Path) -> None:
    names = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC")
    settings = Settings(SHOPLOOM_HOME=tmp_path)
    for name in names:
        module, _, value = airflow.environment(settings)[name].rpartition(".")
        assert getattr(import_module(module), value) == {"timeout": 60}
    elsewhere = settings.model_copy(update={"database_url": SecretStr("postgresql://shop:secret@db.example/shoploom")})
    assert not set(names) & airflow.environment(elsewhere).keys()


def test_what_the_command_starts_remembers_where_it_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SHOPLOOM_STATE_URL", raising=False)
    settings = Settings(SHOPLOOM_HOME=tmp_path, state_url="postgresql://shop:secret@db.example/state")
    assert child_environment(settings)["SHOPLOOM_STATE_URL"] == "postgresql://shop:secret@db.example/state"
    assert "SHOPLOOM_STATE_URL" not in child_environment(Settings(SHOPLOOM_HOME=tmp_path))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (Path("/tmp/a shop/é/report.html").as_uri(), "/tmp/a shop/é/report.html"),
        ("s3://bucket/a%20b/report.html", "s3://bucket/a%20b/report.html"),
    ],
)
def test_a_report_on_this_machine_is_shown_as_its_path(address: str, shown: str, tmp_path: Path) -> None:
    summary = {"run": {"report": address, "run_commit": "c", "start_commit": "s"}}
    assert _where_to_look(Settings(SHOPLOOM_HOME=tmp_path), summary)["report"] == shown


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_what_the_command_started(ending: signal.Signals, tmp_path: Path) -> None:
    code = """
import signal, subprocess, sys
from pipelines.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
@main.command()
def wait():
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        print(child.pid, flush=True)
        child.wait()
    finally:
        child.kill()
        child.wait()
main(["wait"])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(ending)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"shoploom: stopped" in errors
    assert not psutil.pid_exists(child)
