"""The admin plane's pages in a real browser: they work, load nothing from elsewhere, and make no
markup of names."""

import base64
import json
import re

import pytest

import browser
import instance as stage

if browser.chromium() is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)

LIVE = "document.documentElement?.dataset.state === 'live'"
PHONE, DESK = (390, 844), (1280, 900)
EVIL = "<img src=x id=evil onerror=\"document.title='owned'\">"


class Browser(browser.Browser):
    """One that answers what a test says in an instance's place."""

    def answer(self, path, page):
        """From now on `path` gives `page`, as JSON."""
        self.page = page
        self.call("Fetch.enable", patterns=[{"urlPattern": f"*{path}*"}])

    def heard(self, event):
        if event["method"] == "Fetch.requestPaused":
            body = base64.b64encode(json.dumps(self.page).encode()).decode()
            self.send(
                "Fetch.fulfillRequest",
                requestId=event["params"]["requestId"],
                responseCode=200,
                body=body,
            )


@pytest.fixture
def page(tmp_path):
    one = Browser(tmp_path / "profile")
    yield one
    one.close()


def open_live(page, srp, path, size=DESK, dark=False):
    page.look_like(*size, dark=dark)
    page.open(srp.srpd.admin_url + path)
    page.wait(LIVE)


def text(page, selector):
    return page.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''")


def brightness(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_the_dashboard_shows_what_happened(page, srp, client):
    for _ in range(5):
        client.chat.completions.create(
            model="smart", messages=[{"role": "user", "content": "hi"}]
        )
    open_live(page, srp, "/dashboard")
    # A sample is taken every five seconds, and asked for as often.
    page.wait("document.querySelector('#calls path.series-1')?.getAttribute('d') > 'M'")
    assert page.evaluate("document.querySelectorAll('#calls path').length") == 4
    shown = text(page, "#providers")
    for name in ["aloomu", "vendor-us", "vendor-de", "fleet-per", "au, backstop"]:
        assert name in shown
    rows = [row.split() for row in text(page, "#endpoints tbody").splitlines()]
    assert ["vendor-us", f"{srp.us.url}/v1", "up", "–", "–", "5", "0"] in rows
    assert page.complaints() == []


def test_the_market_says_so_where_nothing_is_sold(page, srp):
    open_live(page, srp, "/market")
    assert "No provider has a capacity" in text(page, "#locations")
    assert "Nothing is reserved" in text(page, "#reservations")
    assert page.complaints() == []


def test_all_is_loaded_from_the_instance(page, srp):
    for path in ["/", "/dashboard", "/market"]:
        page.look_like(*DESK)
        page.open(srp.srpd.admin_url + path)
        page.wait("document.readyState === 'complete' && document.title.startsWith('srpd')")
        asked = page.requested()
        assert asked
        assert all(url.startswith(srp.srpd.admin_url) for url in asked), asked


@pytest.mark.parametrize("path", ["/dashboard", "/market"])
def test_pages_fit_a_phone_and_follow_the_colour_scheme(page, srp, path):
    open_live(page, srp, path, PHONE)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{wide} pixels too wide"
    assert brightness(page) > 600
    open_live(page, srp, path, PHONE, dark=True)
    assert brightness(page) < 150


def test_a_name_is_never_markup(page, srp):
    """Names in a configuration can't have such characters. What an endpoint says of itself can."""
    target = {"breaker": "closed", "successes": 1, "failures": 0, "gated_ms": None}
    trouble = {"ready": False, "trouble": EVIL, "waiting": None}
    endpoint = {"url": EVIL, "addresses": ["1"], "draining": False, "health": trouble, **target}
    provider = {"name": EVIL, "jurisdiction": EVIL, "backstop": True, "endpoints": [endpoint]}
    provider |= {"in_flight": 0, "capacity": None, "price": EVIL, "failovers": 0, **target}
    page.answer("/srp/v1/providers", {"providers": [provider]})
    open_live(page, srp, "/dashboard")
    assert EVIL in text(page, "#providers")
    assert EVIL in text(page, "#endpoints")
    assert page.evaluate("document.getElementById('evil')") is None
    assert page.evaluate("document.title") == "srpd: dashboard"


def test_a_script_that_got_in_would_not_run(page, srp):
    open_live(page, srp, "/dashboard")
    page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {EVIL!r})")
    script = "Object.assign(document.createElement('script'), {textContent: 'document.title = 1'})"
    page.evaluate(f"document.body.append({script})")

    def said():
        page.evaluate("1")
        broken = [it for it in page.complaints() if "Content Security Policy" in it]
        return len(broken) >= 2

    assert stage.eventually(said), page.complaints()
    assert page.evaluate("document.title") == "srpd: dashboard"


def test_an_instance_that_is_gone_is_said_to_be(page, start):
    srp = start()
    open_live(page, srp, "/dashboard")
    page.answer("/srp/v1/history", {})
    page.wait("document.documentElement.dataset.state === 'stale'")
    assert "no answer" in text(page, "#status")


def test_the_numbers_of_a_market_are_drawn(page, srp):
    def clearing(minute, price, curtailed):
        at = f"2026-11-26T10:{minute:02}:00Z"
        slots = {"offered": 8, "asked": 6, "sold": 5}
        return {"at": at, "price": price, "curtailed": curtailed, **slots}

    location = {
        "location": "au-syd",
        "price": "2.40",
        "supply": [{"price": "0.90", "slots": 4}, {"price": "2.40", "slots": 4}],
        "demand": [{"limit": "20.00", "slots": 3}, {"limit": "3.00", "slots": 2}],
        "curtailed": 1,
        "waiting": 4,
        "providers": [
            {"provider": "aloomu", "capacity": 10, "reserved": 6, "firm": 2, "floating": 5}
            | {"curtailed": 7}
        ],
        "history": [clearing(0, "0.90", 0), clearing(5, "2.40", 7)],
    }
    at = {"at": "2026-11-26T10:07:00Z", "currency": "AUD", "price_cap": "20.00"}
    page.answer("/srp/v1/market", {**at, "locations": [location], "reservations": []})
    open_live(page, srp, "/market")
    assert text(page, "h2") == "au-syd: 2.40 AUD per million tokens, 4 wait"
    # Two steps up, and two steps down to nothing.
    steps = page.evaluate(
        "[...document.querySelectorAll('#stack-0 path')].map(it => it.getAttribute('d').match(/L/g).length)"
    )
    assert steps == [3, 4]
    assert page.evaluate("document.querySelectorAll('#stack-0 circle').length") == 1
    row = text(page, "#slots-0 tbody tr").split()
    assert row == ["aloomu", "2", "5", "3", "10", "6", "7"]
    bar = page.evaluate("document.querySelectorAll('#slots-0 svg rect').length")
    assert bar == 3
    assert page.complaints() == []
