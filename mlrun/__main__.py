from __future__ import annotations

from mlrun.cli import main

main()
