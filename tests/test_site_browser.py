"""The pages in a browser: from disk, with the keyboard, on a phone, in the dark, and without JavaScript."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'", exc_type=ImportError
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
KINDS = [
    "index.html",
    "answers/mnist-1.html",
    "boards/cpu.html",
    "methods.html",
    "methods/backprop.html",
    "records",
    "protocols.html",
    "protocols/dsa-1000@1.html",
    "published.html",
    "methodology.html",
]
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
Open = Callable[..., Any]

pytestmark = pytest.mark.slow  # a browser's seconds; `.ci/run` carries them out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH; try `apt-get install chromium`")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any, site: Path) -> Iterator[Open]:
    """Opens a page of the site from disk; afterwards, nothing was complained of, and nothing was asked of a network."""
    complaints: list[str] = []
    contexts = []

    def request(asked: Any) -> None:
        if not asked.url.startswith(("file://", "data:")):
            complaints.append(f"request to {asked.url}")

    def opened(name: str, *, viewport: Any = DESKTOP, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", request)
        page.on("requestfailed", lambda asked: complaints.append(f"failed: {asked.url}") if lost(asked) else None)
        page.goto((site / (one_record(site) if name == "records" else name)).as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def lost(asked: Any) -> bool:
    """Whether a request failed that is no download, which ends the request that asked for it."""
    return asked.failure != "net::ERR_ABORTED"


def one_record(site: Path) -> str:
    """The page of the cell of a record with an artefact."""
    key = an_artefact(site).stem
    (page,) = [path for path in (site / "records" / "cpu").glob("*.html") if f"<article id={key}>" in path.read_text()]
    return f"records/cpu/{page.name}"


def an_artefact(site: Path) -> Path:
    return min((site / "artifacts" / "cpu").glob("*.safetensors"))


def column(page: Any, number: int, having: str = "") -> list[str]:
    """The texts of a column of the first table that has a heading."""
    cells = table(page, having).locator(f"tbody tr:not([hidden]) > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def table(page: Any, having: str) -> Any:
    """The first that has a heading."""
    return page.locator(f"table.sortable:has(thead:has-text('{having}'))").first


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split()[0].replace("\u2212", "-").replace("\u202f", "")) for text in texts]


# -- sorting ----------------------------------------------------------------------------------------------------------


def test_a_click_sorts_and_a_second_one_turns(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    header = page.locator("table.sortable thead th").nth(2)
    before = numbers(column(page, 3))
    assert header.get_attribute("aria-sort") is None
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert numbers(column(page, 3)) == sorted(before, reverse=True)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert numbers(column(page, 3)) == sorted(before)
    assert page.locator("p[aria-live]").first.inner_text() == "Sorted by Accuracy %, ascending"


def test_the_keyboard_sorts_words_and_one_column_at_a_time(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    headers = page.locator("table.sortable").first.locator("thead th")
    headers.nth(2).get_by_role("button").press("Enter")
    headers.nth(1).get_by_role("button").press("Space")
    assert column(page, 2) == sorted(column(page, 2))
    assert [headers.nth(i).get_attribute("aria-sort") for i in (1, 2)] == ["ascending", None]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Accuracy %"


def test_what_says_nothing_comes_last_either_way(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    headers = table(page, "vs random").locator("thead th")
    difference = next(index for index, name in enumerate(headers.all_inner_texts()) if name.startswith("vs random"))
    for _ in range(2):
        headers.nth(difference).get_by_role("button").click()
        dashes = [text == "\u2013" for text in column(page, difference + 1, "vs random")]
        assert any(dashes)
        assert not all(dashes)
        assert dashes == sorted(dashes)


# -- filtering --------------------------------------------------------------------------------------------------------


def test_filters_hide_rows_and_tables_and_say_so(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    rows, output = page.locator(".main tbody tr"), page.locator("output")
    every = rows.count()
    assert output.get_attribute("aria-live") == "polite"
    assert output.inner_text() == f"{every} of {every} rows"
    page.locator("[name=dataset]").select_option("fashion_mnist")
    page.locator("[name=ipc]").select_option("1")
    visible = page.locator(".group:visible")
    assert visible.locator("h2").all_inner_texts() == ["fashion_mnist, 1 image per class"]
    shown = visible.locator(".main tbody tr:visible").count()
    assert output.inner_text() == f"{shown} of {every} rows"
    page.get_by_label("Method or family").press_sequentially("Control")
    assert [text.splitlines()[0] for text in visible.locator(".main tbody tr:visible th").all_inner_texts()] == [
        "herding"
    ]
    page.get_by_label("Method or family").fill("no such method")
    assert page.locator(".group:visible").count() == 0
    assert output.inner_text() == f"0 of {every} rows"


def test_rows_are_filtered_by_their_state(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    rows, output, choice = page.locator(".main tbody tr"), page.locator("output"), page.locator("[name=state]")
    every = rows.count()
    assert choice.locator("option").all_inner_texts() == ["all", "verified or more", "replayed"]
    for index, state in enumerate(["verified", "replayed", "replayed"]):
        rows.nth(index).evaluate(f"row => {{ row.dataset.state = '{state}'; }}")
    for label, shown in (("verified or more", 3), ("replayed", 2), ("all", every)):
        choice.select_option(label=label)
        assert output.inner_text() == f"{shown} of {every} rows"


def test_figures_can_be_filtered_too(open_page: Open) -> None:
    page = open_page("published.html")
    page.locator("[name=ipc]").select_option("all images")
    assert {text.strip() for text in page.locator("tbody tr:visible td:nth-child(3)").all_inner_texts()} == {
        "all images"
    }


def test_what_things_cost_opens_below_a_table_and_sorts(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    cost = page.locator("details:has-text('Cost')").first
    assert cost.locator("table:visible").count() == 0
    cost.locator("summary").press("Enter")
    peak = cost.locator("th", has_text="Peak MB")
    peak.get_by_role("button").click()
    texts = cost.locator("tbody tr td:nth-child(4)").all_inner_texts()
    assert [float(text) for text in texts] == sorted(map(float, texts), reverse=True)


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_what_a_reader_asks_is_answered_in_two_actions_by_keyboard(open_page: Open, width: int, scheme: str) -> None:
    page = open_page("index.html", viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.get_by_role("link", name="mnist, 1 a class", exact=True).press("Enter")
    page.wait_for_url("**/answers/mnist-1.html")
    answer = page.locator(".answer:visible").first.inner_text()
    best, margin = re.search(
        r"(\w+) \d+\.\d ± \d+\.\d, (\d+\.\d ± \d+\.\d) above \w+ \((?:not )?significant\)", answer
    ).groups()
    assert best in {row.split("\n")[0].strip() for row in page.locator(".main tr[data-row] th").all_inner_texts()}
    assert margin
    assert re.search(r"best selected real images: .+ (below|above) it", answer)
    assert "quick-300@1" in answer
    heads = [text.strip() for text in page.locator(".main thead th").all_inner_texts()]
    assert {"Published %", "Seconds", "Budget"} <= {re.sub(r"\s+", " ", head) for head in heads}
    assert page.locator(".pictures img").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".main tr[data-row] a[href*='records/']").first.press("Enter")
    page.wait_for_url("**/records/**")
    told = page.locator("article:target").inner_text()
    assert {"Reproduce", "Doubt"} <= set(told.splitlines())
    assert "ddbench verify leaderboards/records/cpu/" in told


def test_a_choice_stays_in_the_address_and_filters_answers_rows_curves_and_pictures(open_page: Open) -> None:
    page = open_page("answers/mnist-1.html")
    rows = page.locator(".main tbody tr[data-row]:visible")
    every = rows.count()
    page.locator("[name=board]").select_option("cpu")
    page.get_by_label("Method or family").fill("herding")
    kept = [text.splitlines()[0] for text in rows.locator("th").all_inner_texts()]
    assert set(kept) == {"herding"}
    assert 0 < len(kept) < every
    assert page.locator(".answer:visible").count() == 1
    curves = page.locator(".line[data-row]:visible text").all_text_contents()
    assert {text.split()[0] for text in curves} == {"herding"}
    assert all("herding" in text for text in page.locator(".pictures figure:visible").all_inner_texts())
    page.reload()
    assert "board=cpu&text=herding" in page.url
    assert [text.splitlines()[0] for text in rows.locator("th").all_inner_texts()] == kept
    page.get_by_label("Method or family").fill("")
    page.locator("[name=board]").select_option("")
    assert rows.count() == every
    assert "?" not in page.url


@pytest.mark.parametrize("kind", ["answers/mnist-1.html", "boards/cpu.html"])
def test_columns_can_be_hidden_and_stay_so(open_page: Open, kind: str) -> None:
    page = open_page(kind)
    heads, output = page.locator(".main").first.locator("thead th:visible"), page.locator("output")
    before, rows = heads.all_inner_texts(), output.inner_text()
    page.locator(".choice summary").click()
    page.locator(".choice").get_by_label("Seconds", exact=True).uncheck()
    kept = [name for name in before if name.strip() != "Seconds"]
    assert heads.all_inner_texts() == kept
    assert len(kept) == len(before) - 1
    assert output.inner_text() == rows
    page.reload()
    assert heads.all_inner_texts() == kept
    page.locator(".choice summary").click()
    page.locator(".choice").get_by_label("Seconds", exact=True).check()
    assert heads.all_inner_texts() == before


def test_two_rows_are_compared_in_pairs_of_seeds(open_page: Open) -> None:
    page = open_page("answers/mnist-1.html")
    rows = page.locator(".main tr[data-seeds*=' 2:']")
    chosen = [rows.nth(index) for index in (0, 1)]
    names, told = ([row.get_attribute(name) for row in chosen] for name in ("data-row", "data-seeds"))
    for field, name in zip(("first", "second"), names, strict=True):
        page.locator(f"[name={field}]").select_option(name)
    assert page.locator(".main tr[data-row]:visible").count() == 2
    first, second = (dict(pair.split(":") for pair in str(text).split()) for text in told)
    found = [float(first[seed]) - float(second[seed]) for seed in first if seed in second]
    interval = stats.ttest_1samp(found, 0).confidence_interval()
    mean, half = sum(found) / len(found), (interval.high - interval.low) / 2
    sign = "\u2212" if mean < 0 else "+"
    assert page.locator("output").inner_text() == (
        f"First minus second: {sign}{abs(mean):.1f} ± {half:.1f} points over {len(found)} paired seeds"
    )


# -- curves -----------------------------------------------------------------------------------------------------------


def test_a_row_lights_up_its_curve_by_pointer_and_by_keyboard(open_page: Open) -> None:
    page = open_page("boards/cpu.html")
    group = page.locator(".group:has(.chart)").first
    row = group.locator(".main tbody tr").first
    method = row.locator("th a").inner_text()
    lit = group.locator(".line.lit")
    assert lit.count() == 0
    row.hover()
    assert lit.locator("text").text_content().startswith(method)
    page.mouse.move(0, 0)
    assert lit.count() == 0
    row.locator("th a").focus()
    assert lit.locator("text").text_content().startswith(method)


# -- links ------------------------------------------------------------------------------------------------------------


def test_from_a_number_to_its_record_and_artefact(open_page: Open, site: Path) -> None:
    page = open_page("index.html")
    page.locator("table").first.locator("a[href$='/distribution_matching.html']").click()
    assert page.locator("h1").inner_text().endswith("distribution_matching")
    page.get_by_role("link", name="cpu", exact=True).first.click()
    page.get_by_role("link", name="records of distribution_matching").first.click()
    assert "#cpu-" in page.url
    page.locator(":target").get_by_role("link").first.click()
    assert page.locator("article:target h2").inner_text().startswith("Seed 0")
    page.goto((site / one_record(site)).as_uri())
    with page.expect_download() as download:
        page.locator(f"article[id='{an_artefact(site).stem}']").get_by_role("link", name="artefact").click()
    assert Path(download.value.path()).read_bytes() == an_artefact(site).read_bytes()


def test_the_keyboard_skips_to_the_content(open_page: Open) -> None:
    page = open_page("index.html")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    assert skip.bounding_box()["width"] > 50
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


# -- wherever it is read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_scrolls_down_and_never_sideways(open_page: Open, kind: str) -> None:
    page = open_page(kind, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_names_stay_in_sight_on_a_phone(open_page: Open) -> None:
    page = open_page("boards/cpu.html", viewport=PHONE)
    scroller = page.locator(".group .scroll").first
    scroller.evaluate("element => element.scrollLeft = 300")
    assert page.locator(".group tbody th").first.bounding_box()["x"] == 0


def test_light_and_dark_follow_the_system_and_then_the_reader(open_page: Open) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (open_page("index.html", color_scheme=scheme) for scheme in ("light", "dark"))
    assert light.evaluate(ground) == "rgb(255, 255, 255)"
    assert dark.evaluate(ground) == "rgb(18, 20, 22)"
    light.get_by_role("button", name="Dark").click()
    assert light.evaluate(ground) == "rgb(18, 20, 22)"
    light.reload()
    assert light.evaluate(ground) == "rgb(18, 20, 22)"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_there_without_javascript(open_page: Open, kind: str) -> None:
    plain, scripted = (open_page(kind, java_script_enabled=enabled) for enabled in (False, True))
    assert plain.locator("form:visible").count() == plain.locator("button").count() == 0
    for summary in plain.locator("summary").all():
        summary.click()
    assert plain.locator("tr:visible").count() == scripted.locator("tr").count()
    assert plain.locator("a").count() == scripted.locator("a").count()


def test_a_printed_page_has_no_controls(open_page: Open) -> None:
    page = open_page("boards/cpu.html", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("form:visible").count() == 0
    assert page.locator("nav:visible").count() == 0
    assert page.locator("table:visible").count() > 0
