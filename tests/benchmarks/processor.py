"""What a figure was measured on."""

from __future__ import annotations

import os
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def processor() -> str:
    """How many CPUs there are, their name, and which of the flags that matter here they have."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{os.cpu_count()} x unknown processor"
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {name.strip(): value.strip() for name, value in said.items()}
    flags = set(told.get("flags", "").split())
    return f"{os.cpu_count()} x {told.get('model name', '?')}: {' '.join(flag for flag in FLAGS if flag in flags)}"
