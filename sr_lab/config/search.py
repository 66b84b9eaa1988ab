"""Hydra looks for options in the user's own configuration trees too."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from sr_lab.config.tree import own_dirs


class OwnTrees(SearchPathPlugin):  # type: ignore[misc]
    """Appends the folders of ``SRLAB_CONF`` to the search path of every composition."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra for each composition."""
        for folder in own_dirs():
            search_path.append("SRLAB_CONF", f"file://{folder}")


def join_own_trees() -> None:
    """Makes the user's trees known to Hydra; it does no harm to call it again."""
    Plugins.instance().register(OwnTrees)
