"""Maps the folder ``lib`` to the import name ``fpt``; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=["fpt"] + ["fpt." + name for name in find_packages("lib")],
    package_dir={"fpt": "lib"},
)
