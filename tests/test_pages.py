"""The report, a comparison and the live page in a real Chromium, on a phone and on a desk, by keyboard and by axe-core.

`make test-pages` fetches axe-core and runs these; Chromium is asked over a pipe, so nothing else is needed. With
QFLOCK_SCREENS=FOLDER they leave pictures to look at.
"""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipes.load import load
from server.compare import compare
from server.folder import as_yaml
from server.ledger import lines
from server.outcome import outcome
from server.report import report
from server.serve import server
from server.tables import show

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

AXE = Path(os.environ.get("QFLOCK_AXE", ".venv/axe/node_modules/axe-core/axe.min.js"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
FLAGS = ("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
WIDTHS = {"phone": (390, 844), "desk": (1440, 900), "paper": (718, 1047)}  # A4 within Chromium's margins
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}"
BROKEN = "r => r.violations.map(v => v.id + ': ' + v.help + ' ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 120)))"
FOCUSED = """(() => { const e = document.activeElement; const s = getComputedStyle(e);
return [e.tagName, e.getAttribute('aria-label') || e.textContent, s.outlineStyle, parseFloat(s.outlineWidth)] })()"""


class Browser:
    """One tab, over the DevTools protocol: lines of JSON that end with a zero, on descriptors 3 and 4."""

    def __init__(self, home):
        reads, self.write = os.pipe()
        self.read, writes = os.pipe()
        words = ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "-", CHROMIUM, *FLAGS, f"--user-data-dir={home}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*words, "about:blank"], pass_fds=(reads, writes), **quiet)
        os.close(reads)
        os.close(writes)
        self.rest, self.number, self.session = b"", 0, {}
        (page,) = (one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        self.ask("Page.enable")

    def ask(self, method, **params):
        """One command and its answer; what else Chromium tells is dropped."""
        self.number += 1
        said = {"id": self.number, "method": method, "params": params, **self.session}
        with os.fdopen(self.write, "wb", closefd=False) as file:
            file.write(json.dumps(said).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += (part := os.read(self.read, 1 << 20))
                assert part, "Chromium is gone"
            text, _, self.rest = self.rest.partition(b"\0")
            if (answer := json.loads(text)).get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def js(self, expression):
        said = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def open(self, address, width="desk", *, dark=False):
        wide, tall = WIDTHS[width]
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=wide, height=tall, deviceScaleFactor=1, mobile=width == "phone"
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=str(address))
        self.until("document.readyState === 'complete' && !!document.querySelector('main > section')")

    def until(self, claim, seconds=60):
        end = time.monotonic() + seconds
        while not (found := self.js(claim)):
            assert time.monotonic() < end, f"waited in vain for {claim}"
            time.sleep(0.1)
        return found

    def press(self, key, code):
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        if key == "Enter":
            self.ask("Input.dispatchKeyEvent", type="char", text="\r")

    def screen(self, name):
        if folder := os.environ.get("QFLOCK_SCREENS"):
            shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        os.close(self.read)
        os.close(self.write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def run(home, run_here, tmp_path):
    """A whole run of two rounds, which is made once."""
    if not (home / "run").exists():
        folder = run_here("whole", {"recipe": "smoke", "override": "rounds=2"}, 2)
        (folder / "recipe.yaml").write_text(as_yaml(load("smoke", ["rounds=2"])))
        shutil.copytree(folder, home / "run")
    return shutil.copytree(home / "run", tmp_path / "run")


@pytest.fixture
def pages(run, run_of, tmp_path):
    """Name → address of a page."""
    outcomes = []
    for reps in (1, 2):
        for seed in range(3):
            one = load("smoke", [f"student.reps={reps}", f"seed={seed}"])
            scores = {"student": 0.7 + reps / 100 + seed / 50, "twin": 0.7}
            outcomes.append(outcome(run_of(tmp_path / f"{reps}-{seed}", one, scores)))
    show(compare(outcomes), {"html": tmp_path / "compare.html"})
    return {"report": report(run).as_uri(), "compare": (tmp_path / "compare.html").as_uri()}


@contextmanager
def watched(folder):
    """The address of a live page."""
    with server(folder, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}/"
        finally:
            serving.shutdown()
            thread.join()


def checked(browser, name):
    """No rule of axe-core is broken, and nothing is wider than the window."""
    browser.js(AXE.read_text(encoding="utf-8") + ";0")
    assert browser.js(f"axe.run({RULES}).then({BROKEN})") == []
    assert browser.js("document.documentElement.scrollWidth - innerWidth") <= 0
    browser.screen(name)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_pages_break_no_rule_of_accessibility_and_fit_the_window(width, dark, browser, pages, run):
    for name, address in pages.items():
        browser.open(address, width, dark=dark)
        checked(browser, f"{name}-{width}{'-dark' * dark}")
    with watched(run) as address:
        browser.open(address, width, dark=dark)
        browser.until("document.getElementById('news').textContent.startsWith('Read at')")
        checked(browser, f"watch-{width}{'-dark' * dark}")


def test_nothing_is_wider_than_a_sheet_of_paper(browser, pages):
    for address in pages.values():
        browser.open(address, "paper")
        browser.ask("Emulation.setEmulatedMedia", media="print")
        assert browser.js("document.documentElement.scrollWidth - innerWidth") <= 0
        assert browser.js("[...document.querySelectorAll('details')].every(e => e.scrollHeight > 40)")


def test_the_checker_finds_what_is_broken(browser, pages):
    browser.open(pages["report"])
    browser.js("document.querySelector('figure svg').removeAttribute('aria-label')")
    browser.js(AXE.read_text(encoding="utf-8") + ";0")
    assert "svg-img-alt" in str(browser.js(f"axe.run({RULES}).then({BROKEN})"))


@pytest.mark.parametrize("width", WIDTHS)
def test_all_that_can_be_read_is_reached_by_keyboard_and_the_focus_is_seen(width, browser, pages):
    browser.open(pages["report"], width)
    wanted = browser.js("[...document.querySelectorAll('a,[tabindex]')].length")
    seen = []
    for _ in range(wanted):
        browser.press("Tab", 9)
        seen.append(browser.js(FOCUSED))
    assert all(style != "none" and thick >= 2 for _, _, style, thick in seen)
    assert len({tuple(one[:2]) for one in seen}) == wanted
    browser.open(pages["report"], width)
    browser.press("Tab", 9)
    browser.press("Tab", 9)
    target = browser.js("document.activeElement.getAttribute('href')")
    browser.press("Enter", 13)
    browser.until(f"location.hash === '{target}'")
    assert abs(browser.js(f"document.querySelector('{target}').getBoundingClientRect().top")) < 5


def test_a_wide_table_is_moved_by_arrow_keys_on_a_phone(browser, pages):
    browser.open(pages["report"], "phone")
    browser.js("document.querySelector('#rounds .scroll').focus()")
    for _ in range(3):
        browser.press("ArrowRight", 39)
    browser.until("document.querySelector('#rounds .scroll').scrollLeft > 0")


def test_the_live_page_follows_a_run_and_leaves_the_reader_where_he_is(browser, run):
    *before, score, end = lines(run)
    ledger = run / "rounds.jsonl"
    ledger.write_text("".join(json.dumps(line) + "\n" for line in before))
    with watched(run) as address:
        browser.open(address, "phone")
        browser.until("document.getElementById('news').textContent.startsWith('Read at')")
        assert browser.js("document.querySelector('#classes')") is None
        browser.js("document.querySelector('#rounds .scroll').focus(); window.scrollTo(0, 700)")
        was = browser.js(FOCUSED)
        place = browser.js("document.activeElement.getBoundingClientRect().top")
        with ledger.open("a") as file:
            file.write(json.dumps(score) + "\n" + json.dumps(end) + "\n")
        browser.until("document.querySelector('#classes') && document.body.innerText.includes('completed')")
        assert browser.js(FOCUSED)[:2] == was[:2]
        assert abs(browser.js("document.activeElement.getBoundingClientRect().top") - place) < 400
    browser.until("document.getElementById('news').textContent === 'no answer, asking again'")


def test_the_live_page_says_why_there_is_none_and_reads_on_when_there_is_one_again(browser, run, monkeypatch):
    def broken(known):
        raise ValueError("no <b>picture</b>")

    with watched(run) as address:
        browser.open(address)
        browser.until("document.getElementById('news').textContent.startsWith('Read at')")
        before = browser.js("document.getElementById('news').textContent")
        with monkeypatch.context() as patched:
            patched.setattr("server.serve.sheets", broken)
            os.utime(run / "rounds.jsonl", (0, 0))
            said = "no page can be made: ValueError: no <b>picture</b>; asking again"
            browser.until(f"document.getElementById('news').textContent === '{said}'")
        browser.until(f"document.getElementById('news').textContent === '{before}'")
