"""The options of the configuration groups: which files Hydra lists, and which values of ``group=option`` are refused.

Files whose name begins with an underscore are parts of other options.  Hydra would list them as options.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import resources

import yaml
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from typing_extensions import override

CONF = "lightrnn_pl.conf"


class OptionSource(ImportlibResourcesConfigSource):
    """A package of configuration files whose private files are not listed; other files can still include them."""

    @staticmethod
    @override
    def scheme() -> str:
        return "options"

    @override
    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [name for name in super().list(config_path, results_filter) if not name.startswith("_")]


class OptionSearchPath(SearchPathPlugin):
    """Hydra plugin that reads this package's configuration through :class:`OptionSource`."""

    @override
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        path = search_path.get_path()
        for number, element in enumerate(path):
            if element.path == f"pkg://{CONF}":
                path[number] = SearchPathElement(element.provider, f"{OptionSource.scheme()}://{CONF}")


def hide_private_options() -> None:
    """Register the classes above with Hydra."""
    for plugin in (OptionSource, OptionSearchPath):
        Plugins.instance().register(plugin)


def check_choices() -> None:
    """Check that no private file was selected on the command line.

    Raises:
        ValueError: Naming the option.
    """
    for group, option in HydraConfig.get().runtime.choices.items():
        if isinstance(option, str) and option.rpartition("/")[2].startswith("_"):
            raise ValueError(f"{group}={option} is a part of other options, not an option; --help lists them")


def check_added_keys(name: str) -> None:
    """Check that the keys which ``+key=value`` adds belong to a group or a mapping of ``conf/NAME.yaml``.

    Raises:
        ValueError: Naming the override.
    """
    content = yaml.safe_load(resources.files(CONF).joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    groups = [key for default in content["defaults"] if isinstance(default, dict) for key in default]
    for added in HydraConfig.get().overrides.task:
        key = added.lstrip("+").partition("=")[0].partition(".")[0].partition("/")[0]
        if added.startswith("+") and key not in content and key not in groups:
            raise ValueError(f"{added}: lightrnn-{name} has no key {key}; --help lists all keys")


def without_null_options(arguments: Sequence[str], unset: Collection[str]) -> list[str]:
    """The same arguments with ``group=null`` in the form that Hydra supports: ``~group``.

    Args:
        arguments: Command-line arguments.
        unset: The groups that need no option.

    Raises:
        ValueError: If ``null`` is passed for another group, or is one of several values of a sweep.
    """
    groups = resources.files(CONF)
    result = []
    for argument in arguments:
        group, equals, value = argument.partition("=")
        if equals and "null" in value.split(",") and groups.joinpath(group).is_dir():
            if group not in unset:
                raise ValueError(f"{argument}: {group} needs an option; --help lists them")
            if value != "null":
                raise ValueError(f"{argument}: a sweep cannot include null; run the jobs without {group} separately")
            argument = f"~{group}"
        result.append(argument)
    return result
