"""Run as a script: what PlatformIO would have to download for a project, as one JSON object.

Asked without the network: PlatformIO itself would try its registry for a minute before it gave up.
Usage: probe.py PROJECT ENVIRONMENT [TARGET...]; the core directory comes from the environment.
"""

from __future__ import annotations

import json
import os
import sys


def missing_packages(environment: str, targets: list[str]) -> list[str]:
    """Names of the platform and tools that are not installed, for the project in `.`."""
    from platformio.dependencies import get_core_dependencies
    from platformio.package.manager.platform import PlatformPackageManager
    from platformio.package.manager.tool import ToolPackageManager
    from platformio.package.meta import PackageSpec
    from platformio.platform.factory import PlatformFactory
    from platformio.project.config import ProjectConfig

    missing = []
    scons = PackageSpec(
        owner="platformio",
        name="tool-scons",
        requirements=get_core_dependencies()["tool-scons"],
    )
    if not ToolPackageManager().get_package(scons):
        missing.append("tool-scons")
    platform_spec = ProjectConfig.get_instance().get(f"env:{environment}", "platform")
    if not PlatformPackageManager().get_package(platform_spec):
        return [*missing, str(platform_spec)]
    platform = PlatformFactory.from_env(environment, targets)
    for name, options in platform.packages.items():
        if not options.get("optional") and not platform.get_package(name):
            missing.append(name)
    return missing


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    print(json.dumps({"missing": missing_packages(sys.argv[2], sys.argv[3:])}))
