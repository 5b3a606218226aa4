"""The `ddbench` command, thin over the package's public functions. A command imports what it needs when it runs."""

from __future__ import annotations

from ddbench.cli import (
    analyses,
    artifacts,
    bench,
    boards,
    distilling,
    hub,
    leaderboards,
    racing,
    registry,
    studies,
    tuning,
)
from ddbench.cli.app import app, main

__all__ = ["app", "main"]

for command in (
    boards.evaluate,
    boards.plan,
    tuning.tune,
    racing.race,
    distilling.distill,
    artifacts.score,
    analyses.analyze,
    studies.study,
    artifacts.show,
    artifacts.export,
    artifacts.convert,
    artifacts.card,
    hub.get,
    hub.push,
    leaderboards.leaderboard,
    leaderboards.results,
    leaderboards.snapshot,
    leaderboards.submit,
    leaderboards.verify,
    registry.list_,
    registry.check,
    registry.new,
    registry.prepare,
    bench.bench,
):
    app.command(command.__name__.removesuffix("_"))(command)
