from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
from small_drawer import CONFIG, changed

from simedit.errors import SimeditError
from simedit.eval.caveats import Facts
from simedit.eval.shards import Shard
from simedit.eval.summary import status
from simedit.eval.trials import Trial, trials

WANTED = list(trials(CONFIG))
MARGINS: dict[str, Callable[[Trial], object]] = {
    "all": lambda t: 0,
    "policy": lambda t: t.policy,
    "domain": lambda t: t.domain,
    "style": lambda t: (t.domain, t.style),
    "policy, domain and style": lambda t: (t.policy, t.domain, t.style),
}


def shards(wanted: list[Trial], count: int) -> list[list[Trial]]:
    return [Shard(number, count).of(wanted) for number in range(1, count + 1)]


def check_even(wanted: list[Trial], parts: list[list[Trial]]) -> None:
    for name, key in MARGINS.items():
        for value in set(map(key, wanted)):
            held = [sum(key(trial) == value for trial in part) for part in parts]
            assert max(held) - min(held) <= 1, name


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "-1/3", "1/0", "1/3/5", "a/b", "1.5/2", "1/100000", " 1/2"]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(SimeditError, match="K/N with 1 <= K <= N"):
        Shard.parse(text)


def test_a_shard_is_read_as_it_is_written():
    assert Shard.parse("3/16") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, len(WANTED), 2 * len(WANTED)])
def test_each_trial_is_in_exactly_one_shard_and_shards_are_even(count):
    parts = shards(WANTED, count)
    assert sorted(str(trial) for part in parts for trial in part) == sorted(map(str, WANTED))
    for part in parts:
        assert part == [trial for trial in WANTED if trial in part]
    check_even(WANTED, parts)


@pytest.mark.parametrize("seed", range(12))
def test_uneven_studies_too_are_shared_out_evenly(seed):
    draw = random.Random(seed)
    places = [("raw", "", ""), *(("var", f"v{i}", "") for i in range(draw.randint(1, 4)))]
    places += [("edited", "", f"s{i}") for i in range(draw.randint(0, 4))]
    wanted = [
        Trial(f"p{policy}", task, f"b{scene}", domain, variant, style, 0)
        for policy in range(draw.randint(1, 6))
        for domain, variant, style in places
        for task in ("open", "close")
        for scene in range(draw.randint(1, 15))
    ]
    parts = shards(wanted, draw.randint(2, 40))
    assert Counter(str(trial) for part in parts for trial in part) == Counter(map(str, wanted))
    check_even(wanted, parts)


def test_the_split_is_the_same_in_any_order():
    mixed = WANTED.copy()
    random.Random(0).shuffle(mixed)
    for number in range(1, 6):
        assert set(Shard(number, 5).of(mixed)) == set(Shard(number, 5).of(WANTED))


def test_the_split_is_the_same_in_later_versions():
    wanted = [Trial("p", "open", f"b{scene}", "raw", "", "", 0) for scene in range(7)]
    assert [[t.scene for t in part] for part in shards(wanted, 3)] == [
        ["b0", "b1", "b2"],
        ["b3", "b4"],
        ["b5", "b6"],
    ]
    parts = [[str(trial) for trial in part] for part in shards(WANTED, 7)]
    assert zlib.crc32(repr(parts).encode()) == 3992891290


def test_a_shard_has_few_variants():
    wanted = [
        Trial(policy, "open", f"b{scene}", "varagg", f"v{variant}", "", 0)
        for variant in range(8)
        for policy in ("a", "b")
        for scene in range(6)
    ]
    for part in shards(wanted, 4):
        assert len({trial.variant for trial in part}) == 2


def test_status_of_a_shard_counts_its_trials():
    found = status(CONFIG, {}, Facts(shard="2/7"))
    part = Shard(2, 7).of(WANTED)
    assert found["wanted"] == found["missing"] == len(part)
    assert sum(group["wanted"] for group in found["groups"]) == len(part)


def test_a_study_smaller_than_its_shards_leaves_some_empty():
    few = list(trials(changed(CONFIG, policies={"able": CONFIG.policies["able"]}, domains=["raw"])))
    assert [len(part) for part in shards(few, len(few) + 2)] == [1] * len(few) + [0, 0]
