"""How fast this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddbench.cli.app import Device, Ipcs, Json, say, say_unit


def bench(
    case: Annotated[list[str] | None, typer.Option("--case", "-c", help="A row of the table; repeatable.")] = None,
    ipc: Ipcs = None,
    width: Annotated[list[int] | None, typer.Option(help="Of ConvNet-3; repeatable [32].")] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Of each side of a row, at least.")] = 5.0,
    threads: Annotated[int, typer.Option(min=1, help="On a CPU.")] = 1,
    device: Device = "auto",
    growth: Annotated[Path | None, typer.Option(help="Measure how steps grow instead, and draw it here.")] = None,
    as_json: Json = False,
) -> None:
    """How fast this machine runs what is repeated: the textbook's steps, ours, and the limit.

    The limit is a large matrix product in float32; the share counts the operations of the textbook's step.

    ddbench bench    # CIFAR-10's shapes, 32 wide, 1 and 10 images per class

    ddbench bench --case evaluation --width 128 --device cuda

    ddbench bench -c networks_in_turn -c networks_captured -c networks_together --device cuda    # 20 at once, or not

    ddbench bench --growth growth.png    # against ipc, classes, side, steps and networks

    With --json: an object of `device`, `rows` and `growth`. Each of `rows` has `case`, `ipc`, `width`,
    `textbook_seconds`, `ours_seconds` (medians of a step), `ratio`, `flops`, `limit` (operations a second),
    `textbook_bytes` and `ours_bytes`. Each of `growth`, with that option, has `axis`, `case`, `values`, `seconds`,
    `slope` and `expected_slope`.
    """
    from ddbench.bench import bench_table, draw_growth, growth_table, run_bench, run_growth, setups, title
    from ddbench.bench.plain import bench_json
    from ddbench.cli.answers import answer

    say_unit(device)
    if growth is not None:
        (setup,) = setups((ipc or [1])[:1], (width or [32])[:1], device)
        measured = list(run_growth(setup, seconds=seconds, threads=threads))
        draw_growth(measured, growth)
        if as_json:
            answer(bench_json(setup, [], measured))
        else:
            print(growth_table(measured))
        return
    rows = []
    for row in run_bench(case or [], setups(ipc or [1, 10], width or [32], device), seconds=seconds, threads=threads):
        say(f"{row.case}, ipc {row.setup.ipc}, {row.setup.width} wide: {row.ratio:.1f} times the textbook's speed")
        rows.append(row)
    if as_json:
        answer(bench_json(rows[0].setup, rows))
    else:
        print(f"{title(rows)}\n\n{bench_table(rows)}")
