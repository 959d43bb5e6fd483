"""The page as a reader uses it: sorted, filtered, marked, a question opened, on a narrow screen."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compact_bench.analysis.results import read
from compact_bench.report import leaderboard
from compact_bench.report.page import build
from tests import synthetic
from tests.synthetic import Made

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
EVIL = "<script>alert(1)</script> 3 + 4 = 7. The answer is 7"
LABELS = ("base", "average", "full", "static")

# Opens the page in frames of two widths, does what a reader does and writes down what is there.
READER = """<!DOCTYPE html><meta charset="utf-8"><pre id="found"></pre><script>
const frame = (width, page) => new Promise((done) => {
  const made = Object.assign(document.createElement("iframe"), {width, height: 800, src: page});
  const ready = () => {
    const browser = made.contentDocument.getElementById("browser");
    if (browser?.hidden) setTimeout(ready, 20); else done(made.contentWindow);
  };
  made.onload = ready;
  document.body.append(made);
});
const texts = (list) => [...list].map((one) => one.textContent.trim());
const read = async () => {
  const found = {};
  const address = "#q=full,static&row=full&sort.table-main=1.descending";
  const view = await frame(1280, `report.html${address}`);
  const page = view.document, find = (selector) => page.querySelector(selector);
  const all = (selector, within = page) => [...within.querySelectorAll(selector)];
  const rows = () => all("#table-main tbody tr").filter((row) => !row.hidden);
  found.filtered = rows().map((row) => row.cells[0].textContent);
  found.chosen = texts(all("#table-main tr.chosen th"));
  const drawn = all(".drawing").map((host) => host.shadowRoot);
  const marked = drawn.flatMap((one) => all(".chosen[data-row]", one));
  found.marked = marked.map((part) => part.dataset.row);
  found.drawings = drawn.length;
  found.images = page.images.length;
  const filter = find("#row-filter");
  filter.value = "";
  filter.oninput({target: filter});
  const press = () => find("#table-main thead th:nth-child(2) button").click();
  const column = () => rows().map((row) => row.cells[1].textContent);
  found.descending = column();
  press();
  found.ascending = column();
  press();
  found.unsorted = rows().map((row) => row.cells[0].textContent);
  find("#table-main .columns input").click();
  found.hidden = all("#table-main tr").every((row) => row.cells[1].hidden);
  const pick = (key, value) => {
    const box = find(`#pick-${key}`);
    box.value = value;
    box.onchange();
  };
  pick("of", "in_domain"); pick("right", "full"); pick("wrong", "average");
  found.solved = texts(all("#questions button"));
  found.answers = texts(all("#question tbody th"));
  found.output = find("#question td pre").textContent;
  found.address = view.location.hash;
  pick("right", ""); pick("wrong", ""); pick("of", ""); pick("fault", "slip");
  found.faulty = all("#questions button").length;
  find("#questions li:last-child button").click();
  found.last = find("#questions [aria-current]").textContent;
  found.rationales = texts(all(".rationales .verdict"));
  found.weights = texts(all("#question tbody tr"));
  found.scripts = all("script").length;
  const ids = all("[id]").map((one) => one.id);
  found.twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  found.requests = view.performance.getEntriesByType("resource").map((one) => one.name);
  for (const name of ["report.html", "index.html"]) {
    const narrow = (await frame(390, name)).document.documentElement;
    found[name] = [narrow.scrollWidth, narrow.clientWidth];
  }
  return found;
};
onload = () => read().catch((error) => ({failed: `${error.stack}`})).then((found) => {
  document.getElementById("found").textContent = JSON.stringify(found);
  document.querySelectorAll("iframe").forEach((one) => one.remove());
});
</script>"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=LABELS, items=30, seeds=(0, 1, 2), scored=True, output=EVIL)
    folder = synthetic.make(tmp_path_factory.mktemp("results"), made)
    build(folder, table_formats=("md",))
    leaderboard.build(folder)
    return folder


@pytest.fixture(scope="module")
def found(root: Path) -> dict[str, Any]:
    """What the reader saw; the browser has nothing to say to the console."""
    if CHROMIUM is None:
        if os.environ.get("COMPACT_REQUIRE_CHROMIUM"):
            pytest.fail("there is no Chromium, and COMPACT_REQUIRE_CHROMIUM asks for it")
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    reader = root / "reader.html"
    reader.write_text(READER, encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files"),
        *("--enable-logging=stderr", f"--user-data-dir={root / 'chromium'}"),
        *("--virtual-time-budget=30000", "--dump-dom", reader.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    assert ":CONSOLE" not in done.stderr, done.stderr
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, done.stdout[-500:] + done.stderr[-500:]
    content = text[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    seen: dict[str, Any] = json.loads(content)
    assert "failed" not in seen, seen
    return seen


def test_the_address_says_what_is_sorted_filtered_and_marked(root: Path, found: dict[str, Any]):
    results = read(root)
    measure = results.headlines("reasoning")[0]
    means = {row.label: row.summary(measure).mean for row in results.rows}
    assert found["filtered"] == sorted(("full", "static"), key=lambda label: -means[label])
    assert found["chosen"] == ["full"]
    assert found["images"] == 0 and found["drawings"] == 3
    assert set(found["marked"]) == {"full"}
    by_mean = sorted(means.values())
    assert [float(text.split(" ")[0]) for text in found["ascending"]] == pytest.approx(
        [100 * mean for mean in by_mean], abs=0.051
    )
    assert found["descending"] == found["ascending"][::-1]
    assert found["unsorted"] == [*LABELS]
    assert found["hidden"] is True


def test_questions_that_one_row_solves_and_another_does_not(root: Path, found: dict[str, Any]):
    rows = {row.label: row.items["in_domain", "right"].mean() for row in read(root).rows}
    wanted = {key for key in rows["full"].index if rows["full"][key] > 0.5 > rows["average"][key]}
    assert wanted and len(found["solved"]) == len(wanted)
    assert found["answers"] == ["full", "average", "base", "static"]
    assert "right=full" in found["address"] and "wrong=average" in found["address"]
    assert found["output"].replace("\n", " ") == EVIL  # as text, each sentence on a line
    assert found["scripts"] == 2  # ours and the data


def test_rationales_of_a_fault(root: Path, found: dict[str, Any]):
    assert found["faulty"] > 0 and found["last"].startswith("Secret stem")
    assert len(found["rationales"]) == len(synthetic.TEACHERS)
    assert any("fault: slip" in text for text in found["rationales"])
    assert any(
        text.startswith("fullweight") and text.count("→") == 2 * 4 for text in found["weights"]
    )


def test_nothing_is_asked_of_anybody_and_no_id_stands_twice(found: dict[str, Any]):
    assert found["requests"] == [] and found["twice"] == []


@pytest.mark.parametrize("name", ["report.html", "index.html"])
def test_a_narrow_screen_scrolls_down_and_not_sideways(found: dict[str, Any], name: str):
    width, room = found[name]
    assert room <= 390 and width <= room
