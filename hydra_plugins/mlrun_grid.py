"""`hydra/sweeper=grid`: every combination, as Hydra's own sweeper, but all jobs are composed and checked (once) before anything is made.

Through other launchers than the pool, mlrun's jobs are recorded and resumed in the same way.
"""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Its arguments are the keys of conf/hydra/sweeper/grid.yaml."""

    def __init__(self, max_batch_size=None, params=None, resume=False):
        super().__init__(max_batch_size, params)
        self.resume = resume

    def sweep(self, arguments):
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        jobs = [job for batch in self.split_arguments(overrides, self.max_batch_size) for job in batch]
        if hasattr(self.launcher, "prepare"):
            self.launcher.prepare(jobs, self.resume)
            return super().sweep(arguments)
        if "tracking" in self.config:
            from mlrun.sweep.remote import sweep

            return [sweep(self.launcher, self.hydra_context, self.config, jobs, self.resume)]
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch):
        if not hasattr(self.launcher, "prepare"):
            super().validate_batch_is_legal(batch)
