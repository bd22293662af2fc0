"""Make the buckets that the DVC remote and MLflow write to: ``python -m infra.buckets NAME...``; existing ones stay."""

from __future__ import annotations

import sys
import time


def make_buckets(names: list[str], patience_seconds: float = 60.0) -> None:
    """Create each bucket that does not exist, waiting for the storage to come up.

    Raises:
        SystemExit: the storage did not answer within ``patience_seconds``.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("s3")
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for name in names:
                if name not in existing:
                    client.create_bucket(Bucket=name)
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                look = "docker compose --file infra/compose.yaml logs storage"
                raise SystemExit(f"the storage does not answer: {error}\n  -> {look}") from error
            time.sleep(1)


if __name__ == "__main__":
    make_buckets(sys.argv[1:])
