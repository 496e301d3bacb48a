"""Adds `./conf` of the working directory to Hydra's search path, so that a user's own YAML extends every group."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class UserConfSearchPath(SearchPathPlugin):
    """Hydra calls it for every application; it acts only on those whose search path contains mlrun's conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends `./conf`, so that packaged files of the same name win."""
        from mlrun.config.compose import CONF, user_conf

        ours = str(CONF) in (element.path.removeprefix("file://") for element in search_path.get_path() if element.path)
        if ours and (conf := user_conf()) is not None:
            search_path.append(provider="mlrun-user", path=f"file://{conf}")
