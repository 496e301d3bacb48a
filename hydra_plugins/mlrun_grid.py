"""`hydra/sweeper=grid`: every combination, as Hydra's own sweeper, but all jobs are composed and checked (once) before anything is made."""

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    def sweep(self, arguments):
        from hydra.core.override_parser.overrides_parser import OverridesParser

        if hasattr(self.launcher, "prepare"):
            parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
            overrides = parser.parse_overrides([*self._parse_config(), *arguments])
            batches = self.split_arguments(overrides, self.max_batch_size)
            self.launcher.prepare([job for batch in batches for job in batch])
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch):
        if not hasattr(self.launcher, "prepare"):
            super().validate_batch_is_legal(batch)
