"""The pages as files: what they hold, where they lead, and that nothing but the records decides them."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

import pytest

from ddbench.compute.environment import instant, now
from ddbench.errors import UserError
from ddbench.io.atomic import write_atomically
from ddbench.leaderboard import rows
from ddbench.leaderboard.columns import groups
from ddbench.leaderboard.cross_architecture import comparison_sections
from ddbench.records.cell import run_key
from ddbench.records.files import check_record, dump_record, read_record, read_records
from ddbench.records.schema import STATUSES, Record, Status
from ddbench.registry import METHODS, PROTOCOLS
from ddbench.site import MARK, write_site
from ddbench.site.content import read_content
from ddbench.site.docs import arguments
from ddbench.site.record_pages import SHOWN
from ddbench.site.reproduce import of_doubt
from ddbench.stats import interval
from factories import Call, contents

LEADERBOARDS = Path(__file__).resolve().parent.parent / "leaderboards"
LIMIT = 4800
"""bytes of all pages to a record or a finding, on average, without downloads: half of what 3 MB were to 306 records"""
LIMIT_OF_A_RECORD = 2400
"""bytes of the pages of cells to a record or a finding, on average"""
HEAVY = (".png", ".safetensors", ".json")
FORGED = "<script>alert(1)</script>"
FORGED_NAME = "x<script>alert(1)"
"""the most that a name may be"""


class Page(HTMLParser):
    """What a page links to, loads and says."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag == "a":
            self.links.append(str(found["href"]))
        elif tag in ("script", "img"):
            self.loaded.append(str(found["src"]))
        elif tag == "link":
            self.loaded.append(str(found["href"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(site: Path) -> list[Page]:
    return [Page(path) for path in sorted(site.rglob("*.html"))]


def page_of(record: Record, site: Path) -> Path:
    """The page that has a card for a record."""
    (found,) = [path for path in (site / "records" / record.board).glob("*.html") if record.key in Page(path).ids]
    return found


def forged(some_records: Path, change: Callable[[dict[str, Any]], None]) -> Record:
    """A valid record that says what its author likes."""
    path = next((some_records / "records" / "cpu" / "backprop").glob("*.json"))
    content = read_record(path).model_dump(mode="json")
    change(content)
    record = Record.model_validate(content)
    return record.model_copy(update={"key": run_key(record.result.cell, record.result.seed, record.method_source)})


# -- the same bytes from the same records -----------------------------------------------------------------------------


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_the_same_records_give_the_same_bytes(some_records: Path, site: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(some_records, tmp_path / "moved" / "records of mine")
    again = contents(write_site(elsewhere, tmp_path / "again").parent)
    assert again == contents(site)
    assert not [name for name, data in again.items() if str(tmp_path).encode() in data or b"/home/" in data]


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_record_is_there_to_download_and_to_doubt(some_records: Path, site: Path) -> None:
    records = [record for path in sorted((some_records / "records").rglob("*.json")) for record in [read_record(path)]]
    downloads = [check_record(path) for path in (site / "json").rglob("*.json")]
    assert not any(problems for _, problems in downloads)
    assert sorted(record.key for record, _ in downloads if record) == sorted(record.key for record in records)
    record = next(record for record in records if record.result.artifact)
    path = f"records/{record.board}/x/y.json"
    revision = "0123456789ab"
    record.measured.environment["git"] = revision
    assert of_doubt(record, path) == [
        f"ddbench verify leaderboards/{path}",
        f"git checkout {revision} -- ddbench methods",
    ]
    record.measured.environment["git"] = f"{revision}+"  # with changes that no commit has
    assert of_doubt(record, path) == [f"ddbench verify leaderboards/{path}"]
    assert of_doubt(record, "dm/run/record.json") == []


def test_pages_lead_to_documentation_beside_them(some_records: Path, tmp_path: Path) -> None:
    index = write_site(some_records, tmp_path / "site", "docs/index.html")
    assert "<a href=docs/index.html>Documentation</a>" in index.read_text()
    deeper = next((index.parent / "methods").glob("*.html"))
    assert "<a href=../docs/index.html>Documentation</a>" in deeper.read_text()


def test_a_changed_record_changes_its_page(some_records: Path, site: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(some_records, tmp_path / "leaderboards")
    path = next((folder / "records" / "cpu" / "herding").glob("*.json"))
    record = read_record(path)
    scores = [score.model_copy(update={"accuracy": 0.123}) for score in record.result.scores]
    changed = record.model_copy(update={"result": record.result.model_copy(update={"scores": scores})})
    write_atomically(path, dump_record(changed))
    page = page_of(record, site).relative_to(site).as_posix()
    before, after = contents(site), contents(write_site(folder, tmp_path / "site").parent)
    different = {name for name in before | after if before.get(name) != after.get(name)}
    own = {page, "index.html", "boards/cpu.html", "boards/cpu.csv", "methods/herding.html"}
    assert own | {f"answers/{record.result.cell.dataset}-{record.result.cell.ipc}.html"} <= different
    assert not {name for name in different if name.startswith("records/")} - {page}
    assert b"12.3 %" in after[page]


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_later_attempt_has_a_card_of_its_own(some_records: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(some_records, tmp_path / "leaderboards")
    path = next((folder / "records" / "cpu" / "herding").glob("*.json"))
    record = read_record(path)
    later = record.model_copy(update={"measured": record.measured.model_copy(update={"finished": now()})})
    write_atomically(path.with_name("later.json"), dump_record(later))
    site = write_site(folder, tmp_path / "site").parent
    page = page_of(record, site)
    attempts = [card for card in page.read_text().split("<article id=")[1:] if card.startswith(record.key)]
    assert [card.partition(">")[0] for card in attempts] == [f"{record.key}-2", record.key]
    assert ["The tables show a later attempt at this run." in card for card in attempts] == [False, True]
    method = Page(site / "methods/herding.html")
    assert f"../records/cpu/{page.name}#{record.key}-2" in method.links
    assert f"../records/cpu/{page.name}#{record.key}" not in method.links


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_the_seeds_of_a_cell_share_a_page(some_records: Path, site: Path) -> None:
    runs = [read_record(path) for path in (some_records / "records" / "cpu" / "herding").glob("*.json")]
    assert len(runs) > len({record.result.cell.model_dump_json() for record in runs})
    for path in (site / "records" / "cpu").glob("*.html"):
        page = Page(path)
        here = sorted((run for run in runs if run.key in page.ids), key=lambda run: run.result.seed)
        if not here:
            continue
        assert len({run.result.cell.model_dump_json() for run in here}) == 1
        assert [anchor for anchor in page.ids if anchor != "main"] == [run.key for run in here]
        mean = interval([run.accuracy for run in here if run.accuracy is not None])
        assert (f"{100 * mean.mean:.1f} ± {100 * (mean.half_width or 0):.1f} %" in page.text) == (len(here) > 1)


# -- links and structure ----------------------------------------------------------------------------------------------


def test_every_link_leads_somewhere_in_the_site(site: Path) -> None:
    made = {page.path: page for page in pages(site)}
    for page in made.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", f"{page.path}: {link}"
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            assert target.is_file(), f"{page.path}: {link}"
            assert target.is_relative_to(site), f"{page.path}: {link}"
            if parts.fragment:
                assert parts.fragment in made[target].ids, f"{page.path}: {link}"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        for source in page.loaded:
            assert source == "data:," or (page.path.parent / source).is_file(), f"{page.path}: {source}"
    for name in ("style.css", "script.js"):
        assert "//" not in (site / name).read_text().replace("// ", ""), f"{name} names another place"
        assert "url(" not in (site / name).read_text()


def test_each_page_is_well_built(site: Path) -> None:
    for page in pages(site):
        tags = [tag for tag, _ in page.tags]
        assert [tags.count(tag) for tag in ("main", "header", "nav", "footer", "h1")] == [1] * 5, page.path
        steps = zip(page.headings, page.headings[1:], strict=False)
        assert page.headings[0] == 1, page.path
        assert all(after <= before + 1 for before, after in steps), f"{page.path}: {page.headings}"
        assert len(page.ids) == len(set(page.ids)), page.path
        assert all("scope" in found for tag, found in page.tags if tag == "th"), page.path
        assert all(found.get("alt") for tag, found in page.tags if tag == "img"), page.path


def test_every_row_leads_to_its_method_and_its_records(site: Path) -> None:
    for path in (site / "boards").glob("*.html"):
        board = Page(path)
        anchors = [link for link in board.links if "#" in link and link.startswith("../methods/")]
        rows = [found for tag, found in board.tags if tag == "tr" and {"data-row", "class"} <= {*found}]
        assert len(anchors) == len(rows) > 0
        for link in anchors:
            card = (path.parent / link.partition("#")[0]).read_text()
            runs = card.partition(f"id={link.partition('#')[2]}>")[2].partition("</ul>")[0]
            assert "../records/" in runs, link


# -- what the cards say -----------------------------------------------------------------------------------------------


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_a_record_is_shown_whole(some_records: Path, site: Path) -> None:
    for path in (some_records / "records").rglob("*.json"):
        record = read_record(path)
        page = Page(page_of(record, site))
        card = page.path.read_text().partition(f"<article id={record.key}>")[2].partition("</article>")[0]
        head = page.path.read_text().partition("<article")[0]
        text = html.unescape(head + card) + shared_text(page)
        cell, result, measured = record.result.cell, record.result, record.measured
        said = [record.key, record.method_source, cell.dataset_digest, cell.protocol, str(cell.network), result.status]
        said += [result.artifact or "", path.relative_to(some_records).as_posix(), *cell.hyperparameters]
        said += [str(value) for value in measured.environment.values() if isinstance(value, str)]
        said += [f"{100 * score.accuracy:.2f}" for score in [*result.scores, *result.also]]
        said += [f"{100 * point.accuracy:.2f}" for point in result.curve]
        said += [f"{phase} {seconds:.2f}" for phase, seconds in measured.seconds.items() if seconds < 1000]
        assert not [each for each in said if each not in text], path
        assert card.count('viewBox="-2 -2 204 40"') == len(measured.log)


def shared_text(page: Page) -> str:
    """What the sections say that a record's page leads to, of what it shares with others."""
    anchors = [link.partition("#")[2] for link in page.links if "shared.html#" in link]
    found = re.findall(r"<section id=(\w+)>(.*?)</section>", (page.path.parents[2] / "shared.html").read_text(), re.S)
    assert {"c", "e"} <= {anchor[0] for anchor in anchors}, page.path
    return html.unescape(" ".join(text for anchor, text in found if anchor in anchors))


def test_a_field_that_a_record_gets_later_is_shown_too() -> None:
    for model, names in SHOWN.items():
        assert names <= set(model.model_fields), "a field that has a place of its own is gone"


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_artefacts_and_their_pictures_are_there(some_records: Path, site: Path) -> None:
    artefacts = {path.read_bytes() for path in (some_records / "artifacts").rglob("*.safetensors")}
    assert {path.read_bytes() for path in (site / "artifacts").rglob("*.safetensors")} == artefacts
    assert len(list((site / "pictures").rglob("*.png"))) == len(artefacts) > 0
    for path in (site / "artifacts").rglob("*.safetensors"):
        cards = [Page(page) for page in (site / "records" / path.parent.name).glob("*.html")]
        (card,) = [page for page in cards if path.stem in page.ids]
        assert path.relative_to(site).as_posix() in {link.removeprefix("../../") for link in card.links}


def test_every_method_has_a_card(site: Path) -> None:
    for name in METHODS:
        card = Page(site / f"methods/{name}.html")
        assert ("Differences:" in card.text) == ("Differences:" in str(METHODS.get(name).__doc__)), name
        assert METHODS.get(name).paper in card.links
        assert all(field.name in card.text for field in dataclasses.fields(METHODS.get(name))), name


def test_every_field_of_a_protocol_is_explained(site: Path) -> None:
    for name in PROTOCOLS:
        protocol, text = PROTOCOLS.get(name), Page(site / f"protocols/{name}.html").text
        fields = {field.name for field in dataclasses.fields(protocol)}
        assert set(arguments(type(protocol))) == fields
        assert protocol.source in text
        assert not [field for field in fields - {"name", "source"} if field not in text]


def test_every_status_is_explained(site: Path) -> None:
    assert list(STATUSES) == list(get_args(Status))
    text = Page(site / "methodology.html").text
    assert not [meaning for meaning in STATUSES.values() if meaning not in text]


def test_published_figures_stand_beside_ours(site: Path) -> None:
    board = Page(site / "boards/mnist.html")
    assert "../published.html#vico-readme" in board.links
    assert "convnetscored with alexnet" in Page(site / "published.html").text
    first = (site / "published.html").read_text().partition("<tbody>")[2].partition("<tr")[2].partition("<tr")[0]
    assert "gradient_matching" in first.replace("<wbr>", "")
    assert "91.7" in first


def test_a_board_shows_what_its_markdown_says_of_further_ways(tmp_path: Path) -> None:
    records = LEADERBOARDS / "records" / "protocols"
    for method in ("random_real", "backprop", "gradient_matching"):
        shutil.copytree(records / method, tmp_path / "some" / method)
    page = Page(write_site(tmp_path / "some", tmp_path / "site").parent / "boards/protocols.html")
    text = "".join(page.text.replace("\u2212", "-").split())

    def shown(*texts: str) -> bool:
        return "".join("".join(texts).split()) in text

    found = comparison_sections(groups(rows(read_records(tmp_path / "some"))))
    assert [view.title for view in found] == ["Across networks", "Under two protocols", "Peek gap"]
    for view in found:
        assert shown(view.title, view.note)
        for caption, lines in view.tables:
            assert shown(caption)
            assert all(shown(*texts.values()) for _, texts in lines), caption


# -- records of strangers ---------------------------------------------------------------------------------------------


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_what_strangers_write_stays_text(some_records: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        cell = content["result"]["cell"]
        cell |= {"method": f"x{FORGED_NAME}", "dataset": f"{FORGED_NAME}'\""}
        cell["hyperparameters"] |= {f"{FORGED}": FORGED, "note": "`$(touch gone)`\n--out /etc/passwd"}
        cell["network"] = {"name": FORGED_NAME, "parameters": {FORGED_NAME: FORGED_NAME}}
        content["result"] |= {"reason": FORGED, "status": "failed", "steps_done": {FORGED: 1}}
        content["measured"]["environment"] = {FORGED: [FORGED]}
        content["measured"]["log"] = {FORGED: [[0, 1.0], [1, 2.0]]}
        content["protocol"] = {"name": FORGED, "lr": FORGED}

    folder = shutil.copytree(some_records, tmp_path / "leaderboards")
    write_atomically(folder / "records" / "forged.json", dump_record(forged(some_records, change)))
    site = write_site(folder, tmp_path / "site").parent
    made = pages(site)
    assert not (tmp_path / "x").exists()
    assert all(path.resolve().is_relative_to(site) for path in site.rglob("*"))
    for page in made:
        scripts = [found for tag, found in page.tags if tag == "script"]
        assert [set(found) for found in scripts] == [{"src"}], page.path
        assert not [name for _, found in page.tags for name in found if name.startswith("on")], page.path
    assert any(FORGED in page.text for page in made)
    test_every_link_leads_somewhere_in_the_site(site)


def test_commands_quote_what_strangers_write(some_records: Path) -> None:
    from ddbench.site import reproduce

    def change(content: dict[str, Any]) -> None:
        content["result"]["cell"] |= {"method": "x; touch gone", "dataset": "x$(touch gone)"}

    record = forged(some_records, change)
    commands = "\n".join([*(reproduce.of_run(record) or []), reproduce.of_cell("a b; c", record.result.cell)])
    assert "'x; touch gone'" in commands
    assert "'x$(touch gone)'" in commands
    assert "'configs/a b; c.yaml'" in commands


def test_each_data_set_and_number_of_images_has_a_page_of_answers(some_records: Path, site: Path) -> None:
    content = read_content(some_records)
    scored = [row for board in content.boards for row in board.rows if row.split == "test" and row.cell.peek is None]
    wanted = {f"{row.dataset}-{row.ipc}.html" for row in scored}
    assert {path.name for path in (site / "answers").iterdir()} == wanted
    index = Page(site / "index.html")
    for name in wanted:
        page, (dataset, _, ipc) = Page(site / "answers" / name), name.removesuffix(".html").rpartition("-")
        own = [row for row in scored if f"{row.dataset}-{row.ipc}.html" == name]
        assert f"answers/{name}" in index.links
        assert sum("data-seeds" in attributes for _, attributes in page.tags) == len(own)
        figures = [each for each in content.published.entries if (each.dataset, str(each.ipc)) == (dataset, ipc)]
        marks = [
            attributes for tag, attributes in page.tags if tag == "b" and "published" in str(attributes.get("title"))
        ]
        assert {str(mark["title"]) for mark in marks} == {
            f"published: {figure.accuracy:.1f} %" for figure in figures if not figure.miscopied
        }


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # pages of every record; `.ci/run` carries it out beside the default run
def test_all_boards_are_light(tmp_path: Path) -> None:
    site = write_site(LEADERBOARDS, tmp_path / "site").parent
    records = read_records(LEADERBOARDS)
    assert sum(page.read_text().count("<article") for page in (site / "records").rglob("*.html")) == len(records)
    sizes = {name: len(data) for name, data in contents(site).items() if not name.endswith(HEAVY)}
    shown = len(records) + len(list((LEADERBOARDS / "analyses").rglob("*.json")))
    assert sum(sizes.values()) / shown < LIMIT
    assert sum(size for name, size in sizes.items() if name.startswith("records/")) / shown < LIMIT_OF_A_RECORD


@pytest.mark.slow  # pages of 5,000 records take most of a minute; `.ci/run` carries it out
def test_five_thousand_records_have_a_light_first_page(tmp_path: Path) -> None:
    many = itertools.islice(copies(read_records(LEADERBOARDS)), 5000)
    for number, record in enumerate(many):
        write_atomically(tmp_path / "many" / record.board / f"{number}.json", dump_record(record))
    site = write_site(tmp_path / "many", tmp_path / "site").parent
    assert (site / "index.html").stat().st_size < 300_000
    pages_of_answers = [path.stat().st_size for path in (site / "answers").iterdir()]
    assert max(pages_of_answers) < 300_000
    assert sum(page.read_text().count("<article") for page in (site / "records").rglob("*.html")) == 5000


def copies(records: list[Record]) -> Iterator[Record]:
    """Yield records over and over, each time as those of other seeds that ran a day earlier."""
    for copy in itertools.count():
        for record in records:
            times = record.measured.started, record.measured.finished
            started, finished = ((instant(time) - timedelta(days=copy)).isoformat() for time in times)
            result = record.result.model_copy(update={"seed": record.result.seed + 100 * copy})
            key = run_key(result.cell, result.seed, record.method_source)
            measured = record.measured.model_copy(update={"started": started, "finished": finished})
            yield record.model_copy(update={"key": key, "result": result, "measured": measured})


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_an_older_site_is_replaced_as_a_whole(some_records: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(some_records / "records" / "mnist", small / "records" / "mnist")
    write_site(some_records, tmp_path / "site")
    write_site(small, tmp_path / "site")
    assert contents(tmp_path / "site") == contents(write_site(small, tmp_path / "fresh").parent)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_of_something_else_is_left_alone(some_records: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds something that is no site; name a new or empty folder with --site$"):
        write_site(some_records, tmp_path)
    with pytest.raises(UserError, match=r"holds something that is no site"):
        write_site(some_records, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_no_records_no_site(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^no records below .*empty; run `ddbench evaluate` first"):
        write_site(tmp_path / "empty", tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.slow  # reads all committed records; `.ci/run` carries it out
def test_the_command_writes_the_site_and_no_table(some_records: Path, tmp_path: Path, call: Call) -> None:
    before = contents(some_records)
    assert call("leaderboard", some_records, "--site", tmp_path / "site") == (
        0,
        "",
        f"wrote {tmp_path / 'site' / 'index.html'}\n",
    )
    assert (tmp_path / "site" / MARK).is_file()
    assert contents(some_records) == before


def test_a_site_is_not_written_from_what_is_out_of_order(some_records: Path, tmp_path: Path, call: Call) -> None:
    code, _, said = call("leaderboard", some_records, "--check", "--site", tmp_path / "site")
    assert code == 1
    assert "cpu.md is missing" in said
    assert not (tmp_path / "site").exists()
