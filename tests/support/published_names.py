"""Write the public names of the installed package, by module, as JSON.

It is run by the Python of an environment with the published package.
"""

import importlib
import inspect
import json
import pkgutil
import sys

import model_hosting_container_standards as package

names: dict[str, list[str]] = {}
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if ".scripts" in module.name:
        continue
    loaded = importlib.import_module(module.name)
    public = {*getattr(loaded, "__all__", ())}
    for name, value in vars(loaded).items():
        is_own = getattr(value, "__module__", None) == module.name
        if is_own and not inspect.ismodule(value):
            public.add(name)
    names[module.name] = sorted(n for n in public if not n.startswith("_"))
sys.stdout.write(json.dumps(names))
