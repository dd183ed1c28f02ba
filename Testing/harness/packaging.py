"""Stand-in for `slicer.packaging`: nothing is ever installed."""

import importlib.metadata
import logging

from packaging.requirements import Requirement


def load_requirements(path):
    with open(path, encoding="utf-8") as lines:
        return [Requirement(line) for line in (raw.split("#")[0].strip() for raw in lines) if line]


def pip_check(requirement):
    requirement = Requirement(str(requirement))
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_ensure(requirements, *, requester=None, skip_in_testing=True):
    import slicer

    missing = [str(requirement) for requirement in requirements if not pip_check(requirement)]
    if not missing:
        return
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("Testing mode is enabled: skipping pip_ensure for [%s]", ", ".join(missing))
        return
    raise RuntimeError(f"{requester} needs {', '.join(missing)}; the headless Slicer installs nothing.")
