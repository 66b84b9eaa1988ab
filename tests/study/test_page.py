"""A whole study is clicked through in a browser, from a file and over HTTP, and analysed."""

import base64
import json

import browser
import pytest

from sr_lab.study.ballots import read_answers
from sr_lab.study.drawing import hash32
from sr_lab.study.plan import Plan
from sr_lab.workflows import study

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")

WAIT = """new Promise((done, fail) => {
  let tries = 600;
  const look = () => {
    if (%s) return done(true);
    if (!tries--) return fail(new Error("waited in vain for " + %r));
    setTimeout(look, 20);
  };
  look();
})"""

RATE = """(async () => {
  const sleep = t => new Promise(done => setTimeout(done, t));
  const button = {ArrowLeft: "left", ArrowDown: "tie", ArrowRight: "right"};
  let shown = 0;
  while (document.getElementById("end").hidden) {
    if (left.disabled) { await sleep(20); continue; }
    shown += 1;
    const before = state.ballots.length;
    const [a, b] = [RANK[state.now.left], RANK[state.now.right]];
    const key = a === b ? "ArrowDown" : a < b ? "ArrowLeft" : "ArrowRight";
    if (shown % 2) document.dispatchEvent(new KeyboardEvent("keydown", {key}));
    else document.getElementById(button[key]).click();
    while (state.ballots.length === before) await sleep(20);
  }
  return shown;
})()"""


def wait(page, condition):
    assert page.evaluate(WAIT % (condition, condition))


def begin(page, code):
    page.evaluate(f"$('code').value = {code!r}; $('begin').click()")
    wait(page, "!$('run').hidden && state.ready")


def rate(page, plan, prefers):
    """Answers every pair by what is really shown, by keys and by buttons in turn."""
    shows = {name: picture.shows for name, picture in plan.pictures.items()}
    rank = {name: place for place, name in enumerate(prefers)}
    page.evaluate(f"window.RANK = {json.dumps({name: rank[what] for name, what in shows.items()})}")
    return page.evaluate(RATE)


def test_a_study_from_a_file(tmp_path, make_study):
    made = make_study(tmp_path / "study", show_original=True)
    source = made.page.read_text(encoding="utf-8")
    told = source.split('type="application/json">')[1].split("</script>")[0]
    for hidden in ("secret-net", "bicubic", made.plan.secret, *made.codes):
        assert hidden not in source, f"{hidden} stands in the page"
    for hidden in ("cat", "cup", "blur", "identical", "repeat", "original", "pair"):
        assert hidden not in told, f"{hidden} stands in the page's data"
    with browser.browser(tmp_path / "profile") as page:
        page.open(made.page.as_uri())
        assert page.evaluate("hash32('7:ä')") == hash32("7:ä")
        page.evaluate("$('code').value = 'nonsense'; $('begin').click()")
        assert "no code" in page.evaluate("$('startAlert').textContent")
        page("Emulation.setDeviceMetricsOverride", width=1000, height=800, deviceScaleFactor=1.1, mobile=False)
        page.evaluate(f"$('code').value = {made.codes[0]!r}; $('begin').click()")
        assert "zoomed to 110 %" in page.evaluate("$('startAlert').textContent")
        page("Emulation.setDeviceMetricsOverride", width=1000, height=800, deviceScaleFactor=2, mobile=False)
        begin(page, made.codes[0])
        assert page.evaluate("$('imageA').getBoundingClientRect().width * devicePixelRatio") == 64
        assert page.evaluate("getComputedStyle($('reference')).display") != "none"
        page.evaluate("answer('left')")
        assert page.evaluate("state.ballots.length") == 0, "answered before the least time"
        wait(page, "!left.disabled")
        page("Emulation.setDeviceMetricsOverride", width=1000, height=800, deviceScaleFactor=1.3, mobile=False)
        wait(page, "left.disabled && !$('alert').hidden")
        page("Emulation.clearDeviceMetricsOverride")
        wait(page, "!left.disabled")
        page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'f'}))")
        assert page.evaluate("[state.mode, getComputedStyle(document.querySelectorAll('.pair')[1]).display]") == [
            "flicker", "none",
        ]  # fmt: skip
        page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: ' '}))")
        assert page.evaluate("$('imageA').src === state.b && $('captionA').textContent") == "B"
        page.evaluate("toggle()")
        shot = base64.b64decode(page("Page.captureScreenshot", format="png")["data"])
        (tmp_path / "page.png").write_bytes(shot)
        wait(page, "!left.disabled")
        page.evaluate("answer('tie')")
        page.open("about:blank")
        page.open(f"{made.page.as_uri()}#code={made.codes[0]}")  # it goes on where it was
        page.evaluate("$('begin').click()")
        wait(page, "!$('run').hidden && state.ready")
        assert page.evaluate("[state.ballots.length, $('count').textContent]") == [1, f"1 of {made.trials}"]
        assert rate(page, made.plan, ("original", "secret-net", "bicubic", "blur")) == made.trials - 1
        assert "Save the answers" in page.evaluate("$('endText').textContent")
        answers = page.evaluate("answersFile()")
    (made.folder / "answers" / "anything.json").write_text(answers, encoding="utf-8")
    ballots, refused = read_answers(made.folder, made.plan)
    assert (len(ballots), refused) == (made.trials, [])
    found = study.analyse(made.folder, num_draws=50)
    assert [standing.name for standing in found.ranking.standings] == ["secret-net", "bicubic"]
    assert found.ranking.counted[0].points <= 1  # the tie above may have been a check


def test_a_study_over_http(tmp_path, make_study):
    from serving.conftest import answering, make

    from sr_lab.serving.studies import StudyDesk

    made = make_study(tmp_path / "study", display="side")
    parts, _ = make()
    parts.study = StudyDesk(made.folder)
    with answering(parts) as address:
        later = study.more(made.folder, raters=1)  # while it is served
        with browser.browser(tmp_path / "profile") as page:
            for code, order in ((made.codes[1], ("original", "secret-net", "bicubic", "blur")),
                                (later.codes[0], ("original", "bicubic", "secret-net", "blur"))):  # fmt: skip
                page.open(f"{address}/study/?again#code={code}")
                begin(page, code)
                assert rate(page, later.plan, order) == made.trials
                wait(page, "state.sent === state.ballots.length")
                assert "have arrived" in page.evaluate("$('endText').textContent")
                page.open("about:blank")
            page.open(f"{address}/study/")
            page.evaluate("$('code').value = '001-aaaaaa'; $('begin').click()")
            wait(page, "!$('startAlert').hidden")
            assert "does not know" in page.evaluate("$('startAlert').textContent")
    plan = Plan.read(made.folder)
    ballots, refused = read_answers(made.folder, plan)
    assert (len(ballots), refused) == (2 * made.trials, [])
    assert {ballot.rater for ballot in ballots} == {made.codes[1], later.codes[0]}
