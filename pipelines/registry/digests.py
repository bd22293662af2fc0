"""One digest for a package: SHA-256 over its files' names and SHA-256s."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipelines.artifacts import files_sha256
from pipelines.errors import RegistryError


def package_digest(directory: Path) -> str:
    """Digest a folder.

    Args:
        directory: holds plain files and folders.

    Returns:
        64 hexadecimal digits: SHA-256 of the lines ``<sha256>  <relative path>``, sorted by path. Equal files at
        equal paths give equal digests wherever the folder lies.

    Raises:
        RegistryError: the folder is missing or empty, or holds a symbolic link or anything not a plain file.
    """
    if not directory.is_dir():
        raise RegistryError(f"{directory} is not a folder", mend="shoploom run packages the model")
    paths = plain_files(directory)
    lines = [
        f"{digest}  {path.relative_to(directory).as_posix()}\n"
        for path, digest in zip(paths, files_sha256(paths), strict=True)
    ]
    if not lines:
        raise RegistryError(f"{directory} is empty", mend="shoploom run packages the model")
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode()).hexdigest()


def plain_files(directory: Path) -> list[Path]:
    """Every file under ``directory``, sorted.

    Raises:
        RegistryError: there is a symbolic link or a special file; it is named.
    """
    files = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise RegistryError(f"{path} is a link or no plain file", mend="packages hold plain files only")
        if path.is_file():
            files.append(path)
    return files
