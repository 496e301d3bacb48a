"""`hydra/sweeper=optuna`: searches instead of trying every combination. The work is in mlrun.sweep.search."""

from __future__ import annotations

from hydra.plugins.sweeper import Sweeper


class OptunaSweeper(Sweeper):
    """Its arguments are the keys of conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, **settings):
        self.settings = settings
        self.hydra_context = self.config = self.launcher = None

    def setup(self, *, hydra_context, task_function, config):
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        from mlrun.sweep.launcher import search

        if self.settings.pop("resume", False) and hasattr(self.launcher, "settings"):
            self.launcher.settings["resume"] = True
        return search(self.launcher, self.settings, arguments)
