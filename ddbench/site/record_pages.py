"""The page of each cell, with a card for each of its records: everything that it does not share with others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ddbench.io.atomic import canonical_json
from ddbench.records.findings import AnalysisRecord
from ddbench.records.schema import Measured, Record, Result
from ddbench.records.states import state
from ddbench.site import reproduce
from ddbench.site.analysis_pages import findings_of
from ddbench.site.content import RecordEntry
from ddbench.site.format import Pairs, number, pairs, significant
from ddbench.site.method_pages import Shown
from ddbench.site.shared_page import Shared, shared_by
from ddbench.site.sparklines import sparklines
from ddbench.stats import interval

SHOWN = {
    Record: {"key", "board", "method_source", "protocol", "stored_bytes", "result", "measured", "schema_version",
        "also_protocols", "label_source"},
    Result: {
        "cell", "seed", "status", "reason", "steps_done", "steps_planned", "artifact", "scores", "curve", "also",
        "snapshots",
    },
    Measured: {
        "seconds", "uncharged_seconds", "curve_seconds", "peak_bytes", "flops_per_step", "started", "finished",
        "attempts", "log", "environment",
    },
}  # fmt: skip
"""fields that have a place of their own on the page; later records may have others"""
LEAST_SECONDS = 0.005
"""shortest duration of an uncharged phase that is named"""


def record_values(
    entries: Sequence[RecordEntry], shown: Mapping[str, Shown], findings: Sequence[AnalysisRecord] = ()
) -> Mapping[str, Any]:
    """Return the values that the template `records.html` shows.

    Args:
        entries: the records of a cell
        shown: pictures of artefacts, by the `place` of their record
        findings: those of the board
    """
    first = entries[0].record
    cell = first.result.cell
    shared = [list(shared_by(entry.record)) for entry in entries]
    common = [each for each in shared[0] if all(each in others for others in shared)]
    found = [entry.record.accuracy for entry in entries if entry.newest and entry.record.accuracy is not None]
    return {
        "title": f"{cell.method} on {cell.dataset}, {cell.ipc} a class",
        "board": first.board,
        "cell": cell,
        "shared": common,
        "settings": pairs(cell.hyperparameters),
        "accuracy": interval(found) if len(entries) > 1 and found else None,
        "runs": [
            _card(entry, shown.get(entry.place), [each for each in own if each not in common])
            | {"findings": findings_of(entry.record.result.artifact, findings)}
            for entry, own in zip(entries, shared, strict=True)
        ],
    }


def _card(entry: RecordEntry, shown: Shown | None, shared: Sequence[Shared]) -> dict[str, Any]:
    record, result, cell = entry.record, entry.record.result, entry.record.result.cell
    again = [_measured_again(other) for other in entry.agreeing]
    return {
        "entry": entry,
        "record": record,
        "result": result,
        "shown": shown,
        "file_name": f"{cell.method}-{cell.dataset}-ipc{cell.ipc}-seed{result.seed}.safetensors".replace("/", "-"),
        "commands": reproduce.of_run(record) or [reproduce.of_cell(record.board, cell)],
        "doubts": reproduce.of_doubt(record, entry.path) if entry.artifact else [],
        "shared": shared,
        "state": state(entry.agreeing),
        "sections": [(heading, found) for heading, found in [*sections(record), ("Measured again", again)] if found],
        "others": any(score.network != cell.network for score in result.scores),
        "metrics": sorted({name for score in result.scores for name in score.metrics}),
        "curve": list(zip(result.curve, record.measured.curve_seconds, strict=True)),
        "log": sparklines(record),
    }


def sections(record: Record) -> list[tuple[str, Pairs]]:
    """Return a record without its scores, snapshots, log and what it shares with others, as names and texts."""
    result, measured = record.result, record.measured
    return [
        ("Scored in further ways, %", _further_scores(result)),
        ("Snapshots by rule, %", _selected(result)),
        ("Run", [*_steps(result), *_cost(record), *_origin(record)]),
        ("Further", [pair for part in (record, result, measured) for pair in _further(part)]),
    ]


def _measured_again(other: Record) -> tuple[str, str]:
    """Return what a record that agrees has measured, and where and when."""
    measured = other.measured
    device = (measured.rescored_in or measured.environment).get("device", "unknown")
    what = "replay" if other.replays else "scores"
    same = ", equal to the bit" if other.same_bytes else ""
    return what, f"{number(100 * (other.accuracy or 0.0), 2)} % on {device}, {measured.finished[:10]}{same}"


def _cost(record: Record) -> Pairs:
    measured = record.measured
    uncharged = {phase: spent for phase, spent in measured.uncharged_seconds.items() if spent >= LEAST_SECONDS}
    seconds = [("seconds", _phases(measured.seconds)), ("not charged", _phases(uncharged))]
    memory = [("peak memory", f"{number(measured.peak_bytes / 1e6, 1)} MB")]
    if measured.flops_per_step is not None:
        memory.append(("operations a step", f"{significant(measured.flops_per_step / 1e9)} GFLOP"))
    stored = ", ".join(f"{part} {number(size)}" for part, size in record.stored_bytes.items() if size)
    return [(name, text) for name, text in [*seconds, *memory, ("bytes stored", stored)] if text]


def _phases(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{phase} {number(spent, 2)}" for phase, spent in seconds.items())


def _further_scores(result: Result) -> Pairs:
    """Return further scores by the network or protocol in which they differ from the headline."""
    own = str(result.cell.network), result.cell.protocol
    found: dict[str, list[str]] = {}
    for score in result.also:
        way = [name for name, known in zip((str(score.network), score.protocol), own, strict=True) if name != known]
        shares = {f"seed {score.seed}": score.accuracy} | score.metrics
        said = [f"{name} {number(100 * share, 2)}" for name, share in shares.items()]
        found.setdefault(", ".join(way), []).append(", ".join(said))
    return [(way, "; ".join(said)) for way, said in found.items()]


def _selected(result: Result) -> Pairs:
    shares = result.snapshots.model_dump() if result.snapshots else {}
    return [(rule, number(100 * share, 2)) for rule, share in shares.items()]


def _steps(result: Result) -> Pairs:
    done, planned = result.steps_done, result.steps_planned
    return [
        (f"steps of {loop}", f"{number(done.get(loop, 0))} of {number(planned.get(loop, 0))}")
        for loop in dict.fromkeys([*planned, *done])
    ]


def _origin(record: Record) -> Pairs:
    measured, artifact = record.measured, record.result.artifact
    moments = [(name, getattr(measured, name).replace("T", " ", 1)) for name in ("started", "finished")]
    attempts = [("attempts", str(measured.attempts))] if measured.attempts != 1 else []
    return [*moments, *attempts, *([("artefact", artifact)] if artifact else [])]


def _further(part: BaseModel) -> Iterable[tuple[str, str]]:
    """Yield fields that are newer than this page and are not at their default."""
    fields = type(part).model_fields
    for name in sorted(fields.keys() - SHOWN[type(part)]):
        value = getattr(part, name)
        if value != fields[name].get_default(call_default_factory=True):
            yield name, canonical_json(part.model_dump(mode="json")[name]).decode()
