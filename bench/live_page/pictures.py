"""Pictures of the live page for the documents: a simulated feed turns unfair, until its alarms stand."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from PIL import Image

from bench.live_page.browser import Scheme, Size, Tab, chromium, tab
from bench.live_page.deployment import PageDeployment
from privacy.dispositions import Disposition
from secure_agg.keyring import load_governance
from streams.reviews import Reviews

_EXAMPLE = Path(__file__).parents[2] / "examples" / "simulated-feed" / "measurement.yaml"
_FAIR_WINDOWS = 10
_UNFAIR_WINDOWS = 14
_PATIENCE_SECONDS = 300.0
_ABOVE = 60
_COLOURS = 192


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        path: of the page; ``{review}`` and ``{window}`` stand for one of a review, and of a window with an alarm.
        height: pixels of the page that are shown, at most. begin: the first element that is; by default all is.
    """

    name: str
    path: str
    size: Size = "desktop"
    scheme: Scheme = "light"
    height: int = 1000
    begin: str = "body"


PICTURES = (
    Picture("overview", "/", height=1080),
    Picture("measurement", "/measurements/simulated-feed?level=5s", height=2300),
    Picture("measurement-dark", "/measurements/simulated-feed?level=5s", scheme="dark", height=1300, begin=".strip"),
    Picture("window", "{window}", height=1500),
    Picture("reviews", "/reviews", height=700),
    Picture("review", "{review}", height=1000),
    Picture("phone", "/", size="phone", height=1400),
    Picture(
        "phone-dark", "/measurements/simulated-feed?level=5s", size="phone", scheme="dark", height=1500, begin=".strip"
    ),
)


def run(say: Callable[[str], None], out: Path) -> list[Path]:
    """Play the run and write every picture; returns where they are."""
    with tempfile.TemporaryDirectory() as name:
        deployment = PageDeployment(Path(name), say, spec=_spec(), members=400_000, rate=2_000)
        try:
            _play(deployment, say)
            out.mkdir(parents=True, exist_ok=True)
            with chromium() as browser:
                made = []
                for picture in PICTURES:
                    with tab(
                        browser,
                        deployment.address,
                        size=picture.size,
                        scheme=picture.scheme,
                        still=True,
                        scale=2 if picture.size == "phone" else 1,
                    ) as opened:
                        made.append(_take(deployment, opened, picture, out))
                return made
        finally:
            deployment.close()


def _spec() -> str:
    """The example's measurement with windows half as long, so that a short run has many of them."""
    spec = yaml.safe_load(_EXAMPLE.read_text())
    spec["windows"] |= {"base": "5s"}
    spec["privacy"] |= {"level_shares": {"5s": 0.75, "1m": 0.25}}
    return yaml.safe_dump(spec)


def _play(deployment: PageDeployment, say: Callable[[str], None]) -> None:
    """Fair windows, among them one without traffic; then unfair ones until alarms stand, and one is decided about."""
    deployment.wait("fair windows", lambda: deployment.published() >= _FAIR_WINDOWS // 2, _PATIENCE_SECONDS)
    deployment.pause()
    deployment.wait("fair windows", lambda: deployment.published() >= _FAIR_WINDOWS, _PATIENCE_SECONDS)
    deployment.traffic.turn(unfair=True)
    say("traffic is unfair from now on")
    whole = _FAIR_WINDOWS + _UNFAIR_WINDOWS
    deployment.wait("unfair windows", lambda: deployment.published() >= whole, _PATIENCE_SECONDS)
    deployment.wait("an alarm stands", deployment.alarms, _PATIENCE_SECONDS)
    settings = deployment.trial.settings_of("governance")
    key = load_governance(settings.keys.dir / "governance" / "reviewer-2.key")
    alarm = str(deployment.alarms()[0]["id"])
    follow_up = "The feed's team takes the release back and reports on Monday."
    said = Disposition(alarm, "recommender", "change", follow_up, "The gap began with a release of the ranker.")
    Reviews(settings).decide(said, key, time.time_ns() // 1_000_000)
    deployment.wait("it is shown", lambda: "takes the release" in str(deployment.data(f"/reviews/{alarm}.json")), 30)


def _take(deployment: PageDeployment, opened: Tab, picture: Picture, out: Path) -> Path:
    windows = [w for w in deployment.windows() if w["alarm"] and w["status"] == "published"]
    opened.go(
        picture.path.format(
            review=f"/reviews/{deployment.alarms()[0]['id']}",
            window=f"/measurements/simulated-feed/5s/{windows[-1]['end_ms']}",
        )
    )
    opened.show_pictures()
    width, whole = opened.page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    box = opened.page.locator(picture.begin).first.bounding_box()
    top = max(0, box["y"] - _ABOVE) if box is not None else 0
    height = min(picture.height, whole - top)
    png = opened.page.screenshot(full_page=True, clip={"x": 0, "y": top, "width": width, "height": height})
    path = out / f"{picture.name}.png"
    # A page has few colours: a palette of them is a quarter of the size, and looks the same.
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path
