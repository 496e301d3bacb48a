"""Measured comparisons of mlrun with plain scripts: `python -m benchmarks [NAME ...]`, results in benchmarks/results.md and .csv."""
