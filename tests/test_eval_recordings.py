from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
import small_drawer

from simedit.eval.episodes import fitted, section, study_rows
from simedit.eval.recording import strip_path, video_path
from simedit.eval.recordings import NO_ROOM, Picture, embedded, figure, pictures
from simedit.eval.store import Store
from simedit.eval.trials import trials

ALL = list(trials(small_drawer.CONFIG))


@pytest.fixture
def media(tmp_path):
    (tmp_path / "media").mkdir()
    return tmp_path


def found(folder, **counts):
    return pictures(folder, ALL, stored=ALL, **{"strips": 0, "videos": 0, **counts})


def test_chosen_pictures_come_first_then_all_others_that_are_there(tmp_path):
    small_drawer.run(tmp_path)
    shown = found(tmp_path, strips=2, videos=1)
    assert [picture.path.suffix for picture in shown] == [".png", ".png", ".mp4"]
    # More than the study chooses, of an earlier command or put there by hand.
    video_path(tmp_path, ALL[0]).write_bytes(b"video")
    more = found(tmp_path, strips=2, videos=1)
    assert more[:3] == shown
    assert [picture.trial for picture in more[3:]] == [ALL[0]]
    assert pictures(tmp_path, ALL, stored={}, strips=2, videos=1) == []
    assert found(tmp_path / "media") == []


def test_a_page_takes_what_fits_and_says_what_it_leaves_out(media):
    for trial, size in zip(ALL[:3], (30_000, 300_000, 30_000), strict=True):
        video_path(media, trial).write_bytes(bytes(size))
    rows = []
    page = fitted(lambda shown: section(rows, shown), found(media), 120_000)
    assert len(page.encode()) < 120_000
    assert page.count("data:video/mp4") == 2
    assert "1 of 3 recordings are left out" in page
    assert "report.videos and report.strips" in page
    assert f"video not shown: {NO_ROOM} (media/{video_path(media, ALL[1]).name})" in page
    assert page.count('class="episode left"') == 1
    whole = fitted(lambda shown: section(rows, shown), found(media), 20_000_000)
    assert "left out" not in whole


def test_the_budget_holds_for_names_of_any_script(media):
    trial = replace(ALL[0], policy="\u754c" * 33)
    path = strip_path(media, trial)
    path.write_bytes(bytes(10))
    picture = Picture(path, trial)
    for room in range(0, 6000, 50):
        (shown,) = embedded([picture], room)
        assert shown.why or len(figure([shown], 0, "success").encode()) <= room
    assert not shown.why


def test_a_figure_has_the_video_first_and_names_its_sides(media):
    edited = next(trial for trial in ALL if trial.style)
    for path in (strip_path(media, edited), video_path(media, edited)):
        path.write_bytes(path.suffix.encode())
    both = [Picture(path(media, edited), edited) for path in (strip_path, video_path)]
    html = figure(embedded(both, 10**6), 3, "success")
    assert html.index("<video") < html.index("<img")
    assert 'data-row="3"' in html
    assert "<span>raw</span><span>edited</span>" in html
    assert base64.b64encode(b".mp4").decode() in html
    assert "autoplay" not in html
    raw = Picture(video_path(media, ALL[0]), ALL[0], data="eA==")
    assert "edited" not in re.sub("alt=.*?>", "", figure([raw], None, "failure"))


def test_a_run_folder_of_before_is_read(tmp_path):
    """Its pictures have other names, and nothing in its store is newer."""
    small_drawer.run(tmp_path)
    for path in (tmp_path / "media").iterdir():
        path.rename(path.with_name(re.sub("-[0-9a-f]{12}", "", path.name)))
    assert len(found(tmp_path)) == 3
    with Store(tmp_path, write=False) as store:
        rows = study_rows(small_drawer.CONFIG, store.results())
    assert len(rows) == 108
