"""Imports every module of the packages named, and prints as JSON why each of the others cannot be: {module: package}.

A module that cannot be imported because a package is missing gives that package's name; any other failure ends this.
"""

import importlib
import json
import pkgutil
import sys

missing = {}
for package in sys.argv[1:]:
    names = [
        package,
        *(found.name for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")),
    ]
    for name in names:
        if name.endswith(".__main__") or name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing[name] = error.name
print(json.dumps(missing))
