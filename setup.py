"""Maps ``lib`` to the import name ``fpt``, with ``configs`` as its data; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=["fpt", *(f"fpt.{name}" for name in find_packages("lib")), "fpt.configs"],
    package_dir={"fpt": "lib", "fpt.configs": "configs"},
    package_data={"fpt.configs": ["**/*.yaml"]},
    include_package_data=False,
)
