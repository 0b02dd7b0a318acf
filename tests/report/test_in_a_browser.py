"""The page in a real browser: no complaint, no figure missing, nothing wider than a telephone."""

import json
import re
import subprocess
from html import escape
from pathlib import Path

import pytest

from understudy.measure import Budget
from understudy.report import write_comparison, write_report

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
    "--window-size=1600,1000",
]

# The page stands in a frame of the wanted width, for a headless window cannot be as narrow as a telephone.
FRAMES = """<!doctype html><meta charset="utf-8"><body><pre id="told"></pre>{frames}<script>
const rows = page => [...page.querySelectorAll(".sortable tbody th")]
  .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
  .map(cell => cell.firstChild.textContent);
const inOrder = (page, key) => {{
  const radio = page.querySelector(`[value="${{key}}"]`);
  radio?.click();
  return rows(page);
}};
addEventListener("load", () => {{
  told.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, root = page.documentElement;
    const figures = [...page.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect());
    return {{
      inner: frame.contentWindow.innerWidth,
      scroll: root.scrollWidth,
      title: page.title,
      figures: figures.filter(box => box.width > 200 && box.height > 100).length,
      ink: getComputedStyle(page.querySelector("svg text")).fill,
      outcome: page.querySelector(".brought").getBoundingClientRect().bottom,
      verdict: page.querySelector(".verdicts").getBoundingClientRect().bottom,
      pictures: [...page.querySelectorAll("img")].filter(image => image.naturalWidth > 0).length,
      rows: rows(page),
      byLatency: inOrder(page, "latency"),
    }};
  }}));
}});
</script>"""


needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"needs Chromium at {CHROMIUM} (Debian's package 'chromium')"
)


def seen(page, folder):
    """What a telephone and a desktop make of a page; neither may complain."""
    frames = "".join(f'<iframe width="{w}" height="900" srcdoc="{escape(page)}"></iframe>' for w in (390, 1440))
    wrapper = folder / "frames.html"
    wrapper.write_text(FRAMES.format(frames=frames), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None
    narrow, wide = json.loads(told[1])
    assert narrow["inner"] <= 390
    assert wide["inner"] > 1400
    for look in (narrow, wide):
        assert look["scroll"] <= look["inner"]
        assert look["figures"] == page.count("<svg")
        assert look["pictures"] == page.count("<img")
        assert look["ink"].startswith("rgb(")
    assert wide["outcome"] < 900  # what distillation brought is seen without scrolling
    assert narrow["verdict"] < 844  # the screen of a telephone
    return narrow, wide


@needs_chromium
def test_a_run_at_the_width_of_a_telephone_and_of_a_desktop(finished, whole, tmp_path):
    for key in (whole["methods"], whole["similarity"]["methods"]):
        key["a-method-with-an-exceedingly-long-name-of-its-own"] = key.pop("kd")
    page = write_report(finished(whole)).read_text(encoding="utf-8")
    assert page.count("<img") == 2
    for look in seen(page, tmp_path):
        assert look["title"].startswith("The demo's student")


@needs_chromium
def test_several_runs_and_their_table_in_another_order(several, tmp_path):
    path, students, _ = write_comparison(several(), Budget(latency_ms=2.0))
    for look in seen(path.read_text(encoding="utf-8"), tmp_path):
        assert look["title"].startswith("12 students of 6 runs")
        assert look["rows"] == [student.name for student in students.sorted("value")]
        assert look["byLatency"] == [student.name for student in students.sorted("latency")]
