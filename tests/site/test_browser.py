"""The page in a headless Chromium: real clicks and keys, from a file, without network."""

import shutil

import pytest
from pages import PAYLOADS, attacked, shown, usual
from record_factory import record, row

from bench.report.html import page as whole_page
from bench.report.text import printable
from bench.suite import load_suite

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]
SHOWN = "#board-0 tbody tr:not(.s):not(.more):not([hidden])"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("site") / "index.html"
    file.write_text(usual())
    return file


@pytest.fixture
def page(browser, path):
    yield from opened(browser, path)


def opened(browser, file, **options):
    """The page from a file; errors of its script and requests of any kind fail the test."""
    context = browser.new_context(offline=True, **options)
    made, wrong = context.new_page(), []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    made.on("request", lambda request: wrong.append(request.url) if not local(request.url) else None)
    made.goto(file.as_uri())
    made.wait_for_selector("html[data-ready]")
    yield made
    assert wrong == []
    context.close()


def local(url):
    return url.startswith(("file:", "data:"))


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def names(page):
    return texts(page, f"{SHOWN} th a")


def test_sorting_stays_inside_sections_and_says_so(page):
    before = names(page)
    head = page.locator("#board-0 thead th", has_text="method")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(page)[:3] == sorted(before[:3])
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page)[:3] == sorted(before[:3], reverse=True)
    assert sorted(names(page)) == sorted(before)


def test_numbers_sort_by_size_and_words_and_nothing_come_last(page):
    titles = texts(page, "#board-0 thead th")
    for title in ("work", "break-even", "latency"):
        page.locator("#groups").get_by_role("button", name="set-up").click()
        page.locator("#board-0 thead th", has_text=title).get_by_role("button").click()
        place = titles.index(title) + 1
        for body in range(1, page.locator("#board-0 tbody").count() + 1):
            cells = texts(page, f"#board-0 tbody:nth-of-type({body}) tr:not(.s) > :nth-child({place})")
            assert cells == sorted(cells, key=lambda text: (text == "", size(text)))


UNITS = {"k": 1e3, "M": 1e6, "": 1.0}


def size(text):
    """``1.5 M`` and ``4.21x`` as numbers; words are beyond all."""
    number, _, unit = text.removesuffix("x").partition(" ")
    return float(number) * UNITS[unit] if number[:1].isdigit() else float("inf")


def test_filters_choose_rows(page):
    page.locator("#nfe").get_by_role("button", name="2", exact=True).click()
    assert "sid" not in names(page) and "progressive" in names(page) and "real" in names(page)
    page.locator("#nfe").get_by_role("button", name="all").click()
    page.locator("#status").select_option("truncated")
    assert names(page) == ["lcm"]
    assert page.locator("#count").inner_text() == "2 of 26 rows"
    page.locator("#status").select_option("")
    page.locator("#verified").select_option("re-trained")
    assert names(page) == [] and page.locator("#count").inner_text() == "0 of 26 rows"
    page.locator("#verified").select_option("self-reported")
    page.locator("#find").fill("sId")
    assert names(page) == ["sid"]
    page.locator("#protocol").select_option("gmm2d-grid@1")
    assert not page.locator("#board-0").is_visible() and page.locator("#board-1").is_visible()


def test_groups_of_columns_are_shown_and_hidden(page):
    head = page.locator("#board-0 thead th", has_text="energy")
    assert not head.is_visible()
    page.locator("#groups").get_by_role("button", name="metrics").click()
    assert head.is_visible()
    page.locator("#groups").get_by_role("button", name="metrics").click()
    assert not head.is_visible()


def test_a_record_opens_closes_and_gives_the_focus_back(page):
    link = page.locator("#board-0").get_by_role("link", name="sid", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog")
    assert sheet.is_visible() and sheet.get_by_role("heading", level=2).inner_text() == "sid"
    text = sheet.inner_text()
    for part in (
        "gmm2d@1.0/sid/quick/nfe1:",
        "bench run --suite gmm2d --method sid",
        "@misc{zhou2024sid",
        "3 trainings",
    ):
        assert part in text
    assert sheet.locator("svg").count() == 1
    page.keyboard.press("Escape")
    assert not sheet.is_visible()
    assert page.evaluate("document.activeElement.textContent") == "sid"


def test_an_address_with_a_row_opens_its_record(browser, path):
    for page in opened(browser, path):
        link = page.locator("#board-1").get_by_role("link", name="dmd", exact=True).get_attribute("href")
        page.goto(path.as_uri() + link)
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert "gmm2d-grid@1.0/dmd/" in page.get_by_role("dialog").inner_text()
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        assert not page.get_by_role("dialog").is_visible()


def test_copies_what_it_shows(browser, path):
    for page in opened(browser, path, permissions=["clipboard-read", "clipboard-write"]):
        page.locator("#board-0").get_by_role("link", name="sid", exact=True).click()
        page.get_by_role("button", name="Copy the command").click()
        page.get_by_text("Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == "bench run --suite gmm2d --method sid"


def test_charts_tell_what_is_under_the_pointer(page):
    chart = page.locator("#board-0 .plots svg").last
    chart.scroll_into_view_if_needed()
    mark = chart.locator(".mark").first
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "evaluation" in page.locator("#tip").inner_text()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.get_by_role("dialog").is_visible()


def test_a_name_in_the_key_dims_the_others(page):
    plots = page.locator("#board-0 .plots")
    plots.scroll_into_view_if_needed()
    plots.locator(".key").get_by_role("button", name="sid").click()
    assert plots.locator("path.line.dim").count() > 0
    assert plots.locator('path.line[data-m="sid"].dim').count() == 0


def test_filters_choose_what_is_drawn(page):
    plots = page.locator("#board-0 .plots")
    plots.scroll_into_view_if_needed()
    page.locator("#find").fill("progressive")
    playwright.expect(plots.locator(".key button")).to_have_count(1)
    assert texts(page, "#board-0 .key button") == ["progressive"]


def test_profiles_of_two_suites_are_drawn(page):
    assert page.locator("#profiles svg path.line").count() == 3


def test_colours_follow_the_system_and_the_button(browser, path):
    for scheme, dark in (("light", False), ("dark", True)):
        for page in opened(browser, path, color_scheme=scheme):
            assert darkness(page) is dark
            for name, expected in (("light", False), ("dark", True)):
                page.locator("#theme").click()
                assert name in page.locator("#theme").inner_text() and darkness(page) is expected


def darkness(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.strip("rgb()").split(",")) < 3 * 128


def test_everything_is_reached_by_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "find", "protocol", "status", "verified", "BUTTON", "SUMMARY", "A", "DIV"} <= reached
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_a_phone_scrolls_tables_and_not_the_page(browser, path):
    for page in opened(browser, path, viewport={"width": 390, "height": 844}):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 390
        page.locator("#board-0").get_by_role("link", name="sid", exact=True).click()
        assert page.get_by_role("dialog").bounding_box()["width"] <= 390


def test_hostile_names_do_nothing(browser, tmp_path):
    file = tmp_path / "index.html"
    file.write_text(attacked())
    for page in opened(browser, file):
        assert set(names(page)) >= {printable(bad) for bad in PAYLOADS}
        page.locator("#board-0 .plots").scroll_into_view_if_needed()
        for link in page.locator(f"{SHOWN} th a").all()[: len(PAYLOADS)]:
            link.click()
            page.keyboard.press("Escape")
        assert page.evaluate("window.hit") is None
        assert page.locator("main iframe, main img, dialog iframe, dialog img").count() == 0


def test_a_long_section_shows_its_first_rows_until_asked(browser, tmp_path):
    rows = [record(f"m{i}", [row(1, 5.0 + i)]) for i in range(60)]
    file = tmp_path / "index.html"
    file.write_text(whole_page([shown(rows, load_suite("gmm2d"))], tmp_path))
    for page in opened(browser, file):
        assert len(names(page)) == 20 and page.locator("#count").inner_text() == "60 rows"
        page.locator("#board-0 thead th", has_text="SWD").get_by_role("button").dblclick()
        assert names(page)[0] == "m59"
        page.get_by_role("button", name="Show all 60 rows").click()
        assert len(names(page)) == 60 and page.locator("tr.more").count() == 0


LAID_OUT = "node => node.checkVisibility({contentVisibilityAuto: true})"


def test_what_is_out_of_sight_is_neither_laid_out_nor_drawn(browser, tmp_path):
    """Work before the first interaction does not grow with the boards below."""
    boards = []
    for name in ("gmm2d", "gmm2d-grid"):
        suite = load_suite(name)
        rows = [
            record(f"m{i}", [row(n, 9 + i / 10) for n in (1, 2, 4)], suite=name, protocol=suite.protocol.id)
            for i in range(100)
        ]
        boards.append(shown(rows, suite))
    (tmp_path / "index.html").write_text(whole_page(boards, tmp_path))
    for page in opened(browser, tmp_path / "index.html"):
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        elements = page.evaluate("document.querySelectorAll('*').length")
        assert page.locator("tbody tr:not(.s):not(.more)").count() == 600, "all rows are in the page"
        assert found["LayoutObjects"] < elements / 3
        below = page.locator("#board-1 tbody tr:not(.s)").first
        assert not below.evaluate(LAID_OUT) and page.locator("#board-1 svg").count() == 0
        page.locator("#board-1 .plots").scroll_into_view_if_needed()
        page.wait_for_selector("#board-1 svg", state="attached")
        below.scroll_into_view_if_needed()
        assert below.evaluate(LAID_OUT)
