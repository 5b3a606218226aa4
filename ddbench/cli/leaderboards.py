"""Commands on records: tables, and what goes into them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ddbench.cli.app import SOME_FAILED, Device, Json, messages, say
from ddbench.errors import UserError, suggestion

NetworkFile = Annotated[
    list[str] | None, typer.Option("--network", help="Where a network of a file lies: ./FILE.py:CLASS; repeatable.")
]
Tables = Annotated[Path, typer.Option("--to", help="The folder of records, artefacts and tables.")]


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="A folder of records, such as runs/quickstart.")] = Path(
        "leaderboards"
    ),
    out: Annotated[Path | None, typer.Option(help="Write BOARD.md, .csv and .png there.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check records and committed tables; write no table.")] = False,
    site: Annotated[Path | None, typer.Option(help="Write pages there that open from disk.")] = None,
    docs: Annotated[str, typer.Option(help="Path in --site of documentation that its pages lead to.")] = "",
    state: Annotated[str, typer.Option(help="Print the rows that are `verified` or `replayed` at least.")] = "claimed",
    as_json: Json = False,
) -> None:
    """Tables and pages from records. A folder that holds `records/BOARD/` has one table for each board.

    ddbench leaderboard runs/quickstart

    ddbench leaderboard leaderboards --state verified

    ddbench leaderboard leaderboards --check

    ddbench leaderboard leaderboards --site site

    With --json: an object of `boards`, `problems` (which --check finds, in words) and `wrote`. The object `boards` has
    the rows of each board by its name, with the fields of its CSV; accuracies are in [0, 1]. --check and --site give no
    rows.
    """
    from ddbench.boards.chosen import origins_beside
    from ddbench.cli.answers import answer, paths
    from ddbench.leaderboard import boards, check_tables, plain_rows, published_beside, rich_table, write_tables
    from ddbench.records.states import STATES

    least = next((known for known in STATES if known == state), None)
    if least is None:
        raise UserError(f"unknown state {state!r}; {suggestion(state, STATES)}")
    if out is not None and (check or site is not None):
        raise UserError("--out is where tables are written, and --check and --site write none; leave it out")
    if check and folder.is_dir() and not (folder / "records").is_dir():
        raise UserError(f"{folder} has no records/, so that no tables are kept in it; leave out --check")
    if docs and site is None:
        raise UserError(f"--docs {docs} is for pages; name their folder with --site")
    problems, written = list[str](), list[Path]()
    if check:
        problems = check_tables(folder, origins_beside(folder))
        for problem in problems:
            say(problem)
        if not problems:
            found = boards(folder)
            say(f"{sum(map(len, found.values()))} records and {len(found)} tables are in order")
    if site is not None and not problems:
        from ddbench.site import write_site

        written = [write_site(folder, site, docs)]
        say(f"wrote {written[0]}")
    if check or site is not None:
        if as_json:
            answer({"boards": {}, "problems": problems, "wrote": paths(written)})
        if problems:
            raise typer.Exit(SOME_FAILED)
        return
    found, output, published = boards(folder), Console(highlight=False), published_beside(folder)
    known = origins_beside(folder)
    for records in found.values():
        for table in [] if as_json else rich_table(records, published, least, known):
            output.print(table)
    if out is not None or (folder / "records").is_dir():
        written = write_tables(folder, out or folder, known)
        for path in written:
            say(f"wrote {path}")
        if not written:
            say(f"the files in {out or folder} are what the records give")
    if as_json:
        rows = {board: plain_rows(records, published, known, least) for board, records in found.items()}
        answer({"boards": rows, "problems": [], "wrote": paths(written)})


def results(
    folder: Annotated[Path, typer.Argument(help="A folder of records, such as runs/quickstart.")] = Path(
        "leaderboards"
    ),
    out: Annotated[Path, typer.Option(help="FILE.parquet or FILE.csv.")] = Path("results.parquet"),
    runs: Annotated[bool, typer.Option("--runs", help="A line for each run in place of each cell.")] = False,
    as_json: Json = False,
) -> None:
    """All results below a folder as one table, for pandas, R or a spreadsheet.

    ddbench results --out results.parquet

    ddbench results runs/cpu --runs --out cpu.csv

    A line for each cell of each board, with the columns of the boards' CSV files; accuracies are in [0, 1]. In Python,
    `ddbench.results()` is the same as a frame.

    With --json: an object of `wrote`.
    """
    from ddbench.boards.results import write_results
    from ddbench.cli.answers import answer, paths

    written = write_results(folder, out, runs=runs)
    say(f"wrote {written}")
    if as_json:
        answer({"wrote": paths([written])})


def snapshot(
    folder: Annotated[Path, typer.Argument(help="A folder of records and tables.")] = Path("leaderboards"),
    out: Annotated[Path | None, typer.Option(help="The archive [ddbench-leaderboard-DATE.zip].")] = None,
    as_json: Json = False,
) -> None:
    """One file of the leaderboard as it is, to cite and to deposit: records, findings, artefacts, tables.

    ddbench snapshot

    Equal folders give equal archives. It is named by the day of its newest record; its digest is that of its records,
    findings and published figures, and stands on the site's page of how to cite. Unpacked, `ddbench leaderboard` makes
    the same tables and pages of it.

    With --json: an object of `date`, `records`, `digest`, `bibtex` and `wrote`.
    """
    from ddbench.cli.answers import answer, paths
    from ddbench.leaderboard.snapshot import write_snapshot

    made, written = write_snapshot(folder, out)
    if as_json:
        found = {"date": made.date, "records": made.records, "digest": made.digest, "bibtex": made.bibtex}
        answer(found | {"wrote": paths([written])})
    else:
        typer.echo(made.bibtex)
    say(f"wrote {written}")


def submit(
    runs: Annotated[Path, typer.Argument(help="What `ddbench evaluate` or `study` wrote: runs/BOARD.")],
    to: Tables = Path("leaderboards"),
    source: Annotated[list[Path] | None, typer.Option(help="A method's file that is not in methods/.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Where a data set lies, when not under its name.")
    ] = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Check the records of a run, and copy them and an artefact a cell to where the tables are made from.

    Nothing is copied unless everything is in order. Records are never changed: submitting again does nothing, and a run
    made again is filed beside the earlier attempt.

        ddbench submit runs/cpu
        ddbench submit runs/our-board --source mine.py

    Exit code 0: in order; 1: something is wrong with the records, a sentence each; 2: bad usage or input.

    With --json: an object of `complaints` and `notes` (in words) and `wrote` (records, artefacts, sources and tables).
    """
    import ddbench
    from ddbench.cli.answers import answer, paths

    _remember(network)
    submission = ddbench.submit(runs, to, sources=source or [], datasets=dataset or [])
    for sentence in (*submission.complaints, *submission.notes):
        say(sentence)
    if as_json:
        wrote = paths((*submission.written, *submission.tables))
        answer({"complaints": submission.complaints, "notes": submission.notes, "wrote": wrote})
    if submission.complaints:
        raise typer.Exit(SOME_FAILED)
    for path in (*submission.written, *submission.tables):
        say(f"wrote {path}")
    say("ready for a pull request" if submission.written else f"all of it is in {to} already")


def verify(
    record: Annotated[Path, typer.Argument(help="A record: leaderboards/records/... or a run's record.json.")],
    artifact: Annotated[Path | None, typer.Option(help="Its artefact, where it lies elsewhere.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where its data set lies.")] = None,
    network: NetworkFile = None,
    count: Annotated[int | None, typer.Option(min=1, help="Networks to train [as many as the record has].")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Run its method again, for as many steps.")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="Replay where test data are noise.")] = False,
    method: Annotated[str | None, typer.Option("--method", "-m", help="Replay with this .py file.")] = None,
    device: Device = "auto",
    file: Annotated[bool, typer.Option("--record", help="File what was measured as a new record.")] = False,
    to: Tables = Path("leaderboards"),
    as_json: Json = False,
) -> None:
    """Train networks on a record's artefact, as the record says, and accept or refuse its scores.

    Refused is a mean that lies above the one measured here by more than half a point, and by more than rounding
    explains at 99 % confidence. With a `--count` of five or more above the record's, networks that it does not have
    are compared too. This shows that the artefact gives the accuracy, not that the method makes such an artefact:
    --replay runs its steps again, and compares what comes out by the spread of its networks. With --noise the method
    finds noise for test data wherever it looks; an honest one makes the same bytes as without.

        ddbench verify leaderboards/records/quickstart/backprop/digits-ipc1-seed1-61e5a91650182b29.json
        ddbench verify runs/cpu/herding/mnist-ipc1-seed0-0123456789abcdef/record.json --count 15
        ddbench verify runs/cpu/herding/mnist-ipc1-seed0-0123456789abcdef/record.json --replay --noise
        ddbench verify runs/mine/dm/digits-ipc1-seed0-0123456789abcdef/record.json --network ./net.py:Small

    Exit code 0: accepted; 1: refused; 2: bad usage or input.

    With --json: an object of `accepted`, `complaints` (in words), `comparisons`, `same_bytes`, `elsewhere`,
    `scores` and `filed`.
    Each of `comparisons` has `quantity`, `seeds`, `claimed`, `remeasured`, `bound`, `difference` and `accepted`.
    """
    import ddbench
    from ddbench.cli.answers import answer
    from ddbench.cli.progress import Display, Gauge

    _remember(network)
    if replay and count is not None:
        raise UserError(f"--count {count} with --replay, which trains five networks or the record's; leave it out")
    if (noise or method) and not replay:
        raise UserError(f"{'--noise' if noise else '--method'} is for a replay; add --replay")
    display, gauge = Display(messages), Gauge(messages)
    measure = (
        partial(ddbench.replay, method=method, noise=noise, on_start=display.todo, on_event=display.event)
        if replay
        else partial(ddbench.verify, count=count, report=gauge)
    )
    with display if replay else gauge:
        found = measure(
            record,
            artifact=artifact,
            dataset=dataset,
            device=device,
            to=to if file else None,
            on_score=lambda score: say(f"{score.network}, seed {score.seed}: {100 * score.accuracy:.2f} %"),
        )
    for sentence in found.complaints:
        say(sentence)
    lines = [str(comparison) for comparison in found.comparisons]
    if found.same_bytes is not None:
        why = f"; the record's surroundings differ: {'; '.join(found.elsewhere)}" if found.elsewhere else ""
        lines.append(f"the replay holds {'the same bytes' if found.same_bytes else 'other bytes'}{why}")
    lines.append("accepted" if found.accepted else "refused")
    if as_json:
        answer(found.summary())
    else:
        typer.echo("\n".join(lines))
    for path in found.filed:
        say(f"wrote {path}")
    if not found.accepted:
        raise typer.Exit(SOME_FAILED)


def _remember(networks: list[str] | None) -> None:
    """Note where the files of networks lie that records name by their digest."""
    from ddbench.records.notation import make_network

    for named in networks or []:
        make_network(named)
