"""A shop's files at an address: a real server on loopback, S3 and HTTP, landed as local ones are."""

from __future__ import annotations

import gzip
import http.server
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipelines.errors import ConfigError, DataError
from pipelines.sources import load_source
from pipelines.sources.landing import land
from pipelines.sources.raw_files import Origins, read_origins
from tests.processes import answering
from tests.tabular_shop import MAPPING, order_lines, write_shop
from tests.tiny_shop import KEYS

BUCKET = "s3://corner-shop"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that speaks S3, its address, and a till's folder whose files lie in its bucket, too."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    till = write_shop(tmp_path_factory.mktemp("s3") / "till", order_lines()[:200]).parent
    names = {"aws_access_key_id": "till", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    client = boto3.client("s3", endpoint_url=address, **names)
    client.create_bucket(Bucket="corner-shop", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for name in ("orders.csv.gz", "products.jsonl", "customers.tsv"):
        client.upload_file(str(till / name), "corner-shop", f"till/{name}")
    yield address, till
    server.stop()


@pytest.fixture
def s3(store: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The till's folder, with the environment of somebody who may read the bucket, and nothing else of AWS."""
    for name, value in {
        "AWS_ENDPOINT_URL": store[0],
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "till",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
    }.items():
        monkeypatch.setenv(name, value)
    return store[1]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file system that another test opened, and a state folder of its own."""
    import s3fs

    monkeypatch.setenv("SHOPLOOM_HOME", str(tmp_path / "home"))
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def remote(till: Path, prefix: str, query: str = "") -> str:
    """The source whose mapping reads each file from an address."""
    mapping = MAPPING
    for name in ("orders.csv.gz", "products.jsonl", "customers.tsv"):
        mapping = mapping.replace(f"files: {name}", f"files: '{prefix}/{name}{query}'")
    path = till / "remote.yaml"
    path.write_text(mapping)
    return f"tabular:{path}"


def landed(source: str, directory: Path) -> tuple[dict[str, bytes], Origins]:
    land(load_source(source), None, None, directory, KEYS)
    origins = read_origins(directory)
    assert origins is not None
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.parquet")}, origins


def test_files_in_a_bucket_land_as_local_ones_do(s3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLOOM_SOURCE_HOSTS", f"https://files.shop.example,{BUCKET}")
    here, own = landed(f"tabular:{s3 / 'shop.yaml'}", tmp_path / "here")
    there, origins = landed(remote(s3, f"{BUCKET}/till"), tmp_path / "there")
    assert there == here
    for name, files in origins.files.items():
        assert [raw.path for raw in files] == [f"{BUCKET}/till/{raw.path}" for raw in own.files[name]]
        assert [raw.sha256 for raw in files] == [raw.sha256 for raw in own.files[name]]
    assert landed(remote(s3, f"{BUCKET}/t*"), tmp_path / "by pattern") == (there, origins)


def test_a_bucket_that_is_not_listed_or_will_not_open_is_told_with_the_mend(
    s3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = remote(s3, f"{BUCKET}/till")
    for listed in ("", "s3://corner-shop-2", "s3://corner", "https://corner-shop"):
        monkeypatch.setenv("SHOPLOOM_SOURCE_HOSTS", listed)
        with pytest.raises(ConfigError, match=r"s3://corner-shop is not allowed\n  -> .*SHOPLOOM_SOURCE_HOSTS"):
            load_source(source).span()
    monkeypatch.setenv("SHOPLOOM_SOURCE_HOSTS", f"{BUCKET},s3://nobodys")
    for prefix, said in (
        (f"{BUCKET}/tills", r"s3://corner-shop/tills/orders.csv.gz cannot be fetched: .*\n  -> check the address"),
        ("s3://nobodys/till", r"orders.csv.gz cannot be fetched: The specified bucket does not exist"),
        (f"{BUCKET}/no*", r"nothing at s3://corner-shop/no\*/orders.csv.gz"),
    ):
        with pytest.raises((ConfigError, DataError), match=said):
            load_source(remote(s3, prefix)).span()
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(DataError, match=r"Unable to locate credentials\n  -> .*AWS_ACCESS_KEY_ID"):
        load_source(remote(s3, f"{BUCKET}/till")).span()


class Folder(http.server.SimpleHTTPRequestHandler):
    """Files of a folder to whoever has the token."""

    def do_GET(self) -> None:
        if not self.path.endswith("?token=secret"):
            self.send_error(403)
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """An HTTP server of the folder ``till`` on loopback."""
    (tmp_path / "till").mkdir()
    with answering(partial(Folder, directory=str(tmp_path / "till"))) as address:
        yield address


def test_files_of_a_web_server_land_as_local_ones_do_and_their_token_is_nowhere(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = write_shop(tmp_path / "till", [*order_lines()[:60], "9;0;ann;P1;1"]).parent
    here, own = landed(f"tabular:{till / 'shop.yaml'}", tmp_path / "here")
    monkeypatch.setenv("SHOPLOOM_SOURCE_HOSTS", web)
    there, origins = landed(remote(till, web, "?token=secret"), tmp_path / "there")
    names = {name for name in here if not name.startswith("unplaced")}
    assert {name: there[name] for name in names} == {name: here[name] for name in names}
    assert [raw.path for raw in origins.files["items/items.parquet"]] == [f"{web}/products.jsonl"]
    assert origins.files["items/items.parquet"][0].sha256 == own.files["items/items.parquet"][0].sha256
    assert not any(b"token" in path.read_bytes() for path in (tmp_path / "there").rglob("*.*"))
    with pytest.raises(DataError, match=r"orders.csv.gz cannot be fetched: .*403") as refused:
        load_source(remote(till, web, "?token=guess")).span()
    assert "guess" not in str(refused.value)
    assert "refuses these credentials" in refused.value.mend
    with pytest.raises(ConfigError, match=r"is a pattern\n  -> a web server lists no files"):
        load_source(remote(till, f"{web}/*", "?token=secret")).span()
    monkeypatch.setenv("SHOPLOOM_SOURCE_HOSTS", web.rpartition(":")[0])
    with pytest.raises(ConfigError, match=r"is not allowed"):
        load_source(remote(till, web, "?token=secret")).span()


def test_a_file_that_was_cut_on_its_way_is_refused(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    till = write_shop(tmp_path / "till", order_lines()[:200]).parent
    whole = (till / "orders.csv.gz").read_bytes()
    (till / "orders.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert gzip.decompress(whole)
    monkeypatch.setenv("SHOPLOOM_SOURCE_HOSTS", web)
    with pytest.raises(DataError, match=r"orders.csv.gz"):
        land(load_source(remote(till, web, "?token=secret")), None, None, tmp_path / "landing", KEYS)
    assert not (tmp_path / "landing").exists()
