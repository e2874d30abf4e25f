"""What a run was made with: versions, source revision, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("fpt", "torch", "torchvision", "numpy", "opencv-python-headless", "pycocotools", "hotcoco")


def describe_environment(command: Sequence[str]) -> dict[str, Any]:
    """Versions, git revision and command line as plain values; nothing that names the computer."""
    return {
        "command": shlex.join(command),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name in _PACKAGES if (version := package_version(name)) is not None},
        "git_revision": git_revision(Path(__file__).resolve().parent),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def package_version(name: str) -> str | None:
    """Version of an installed distribution, None when it is absent."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision(folder: Path) -> str | None:
    """Revision of the checkout that holds `folder`, with ``+changes`` when tracked files differ; None without one."""
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None or _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return revision + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
