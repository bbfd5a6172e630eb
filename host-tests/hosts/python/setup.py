"""Checks what the package must contain, before setuptools builds it. The rest: `pyproject.toml`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDER = Path(__file__).resolve().parent
COMPONENT = FOLDER / "src" / "clawdb_session" / "session-sync.wasm"
LICENSE = FOLDER / "LICENSE"
ROOT_LICENSE = FOLDER.joinpath("..", "..", "..", "LICENSE")


class BuildPy(build_py):
    """Builds the package only if the component is there, which is not in the repository."""

    def run(self) -> None:
        if not COMPONENT.is_file():
            raise SystemExit(f"{COMPONENT} does not exist: build it with run-tests")
        super().run()


# A source distribution, which has this file, contains its own copy.
if not (FOLDER / "PKG-INFO").is_file():
    if not ROOT_LICENSE.is_file():
        raise SystemExit(f"{ROOT_LICENSE} does not exist")
    shutil.copyfile(ROOT_LICENSE, LICENSE)

setup(cmdclass={"build_py": BuildPy})
