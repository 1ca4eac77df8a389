from __future__ import annotations

import importlib
import re
import subprocess
import sys
from datetime import date

import pytest
from pydantic import TypeAdapter, ValidationError

from simedit.errors import SimeditError
from simedit.policies.kinds import AnyPolicy, PolicyKind

KINDS = TypeAdapter(AnyPolicy)


def of(**settings) -> PolicyKind:
    return KINDS.validate_python(settings)


@pytest.mark.parametrize(
    ("settings", "uses_images"),
    [
        ({"kind": "scripted", "noise": 0.1}, False),
        ({"kind": "rt1", "checkpoint": "absent"}, True),
        ({"kind": "cloned", "checkpoint": "lab:last"}, True),
    ],
)
def test_a_kind_knows_whether_it_looks_before_it_is_loaded(settings, uses_images):
    assert of(**settings).uses_images == uses_images


def test_kinds_bring_nothing_heavy():
    # Every command that reads a study imports them all.
    script = "import sys, simedit.policies.kinds; print({'torch', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_cloned_policy_of_the_lab_is_playable_and_one_that_is_absent_says_so(tmp_path):
    assert of(kind="cloned", checkpoint="lab:last").problems() == []
    (problem,) = of(kind="cloned", checkpoint=str(tmp_path)).problems()
    assert "it holds no config.json" in problem
    (problem,) = of(kind="cloned", checkpoint="lab:lst").problems()
    assert "did you mean 'last'" in problem


def test_what_rt1_lacks_is_told_all_at_once():
    found = " | ".join(of(kind="rt1", checkpoint="absent").problems())
    assert "simedit-eval checkpoints fetch" in found
    assert "needs embeddings" in found
    found = " | ".join(of(kind="rt1", checkpoint="absent", embeddings="table.json").problems())
    assert "no table of embeddings at" in found


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory whose modules are gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


OWN = """
import sys
import numpy as np

number = 3

class Still:
    uses_images = True

    def __init__(self, checkpoint="none"):
        self.checkpoint = checkpoint

    def reset(self, instruction, *, seed):
        pass

    def act(self, frame):
        return np.zeros((4, 7))

    @classmethod
    def make(cls):
        return cls("made")

class Blind(Still):
    uses_images = False

def raises():
    raise RuntimeError("no weights")

def leaves():
    sys.exit(3)

def anything(**args):
    return Still()
"""


def python(factory, **settings) -> PolicyKind:
    return of(kind="python", factory=factory, **settings)


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()


def state():
    raise AssertionError("nobody looks at it")


def test_a_factory_in_the_working_directory_makes_a_policy(here):
    write(here, "own_one.py", OWN)
    kind = python("own_one:Still", args={"checkpoint": "here"}, execute=2)
    assert (kind.problems(), kind.uses_images) == ([], True)
    policy = kind.load(state)
    policy.reset("open top drawer")
    assert policy.act(None).gripper == 0
    assert policy._policy.checkpoint == "here"
    assert python("own_one:Still.make").load(state)._policy.checkpoint == "made"
    assert python("own_one:anything", args={"a": [1, {"b": None}]}).problems() == []


def test_a_factory_in_a_package_and_in_a_folder(here):
    write(here, "own_pack/__init__.py", "from own_pack.inner import Still")
    write(here, "own_pack/inner.py", OWN)
    write(here, "own_folder/part.py", OWN)
    for factory in ("own_pack:Still", "own_pack.inner:Still", "own_folder.part:Still"):
        assert python(factory).problems() == []
        python(factory).load(state)


@pytest.mark.parametrize(
    ("factory", "settings", "message"),
    [
        ("own_thre:Still", {}, "unknown module 'own_thre': did you mean 'own_three'.* looked for in"),
        ("own_three.x:Still", {}, "own_three: unknown module 'x'"),
        ("xml.dom.minidm:x", {}, "xml.dom: unknown module 'minidm': did you mean 'minidom'"),
        ("own_three:Stil", {}, "own_three.py: unknown name 'Stil': did you mean 'Still'"),
        ("own_three:Still.mke", {}, "unknown name 'mke': did you mean 'make'"),
        ("own_three:number", {}, "is no function or class, but 3"),
        ("sys:exit", {}, "sys is no Python file"),
        ("own_lacks:make", {}, "cannot import own_lacks: .*'flax_nope' .own_lacks.py, line 2"),
        ("own_broken:make", {}, "cannot import own_broken: SyntaxError: .*own_broken.py, line 1"),
        ("own_leaves:make", {}, "cannot import own_leaves: SystemExit: no licence .own_leaves.py, line 1"),
        ("own_three:Still", {"args": {"chekpoint": 1}}, "argument .* 'chekpoint': did you mean 'checkpoint'"),
        ("own_wants:make", {}, "own_wants:make: missing a required argument: 'checkpoint'"),
    ],
)
def test_what_keeps_a_factory_from_being_called(here, factory, settings, message):
    write(here, "own_three.py", OWN)
    write(here, "own_lacks.py", "\nimport flax_nope")
    write(here, "own_broken.py", "def make(:")
    write(here, "own_leaves.py", "import sys; sys.exit('no licence')")
    write(here, "own_wants.py", "def make(checkpoint): pass")
    (problem,) = python(factory, **settings).problems()
    assert re.search(message, problem), problem


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("own_four:raises", r"own_four:raises raised RuntimeError: no weights \(own_four.py, line \d+\)"),
        ("own_four:leaves", r"own_four:leaves raised SystemExit: 3 \(own_four.py, line \d+\)"),
        ("own_four:print", "unknown name 'print'"),
        ("builtins:print", "builtins is no Python file"),
        ("own_four:Blind", "set blind: true"),
        ("shutil:which", "'cmd'"),
        ("os:getcwd", r"a str is no policy, for it has no reset\(\)"),
    ],
)
def test_a_factory_that_makes_no_policy_is_refused(here, factory, message):
    write(here, "own_four.py", OWN)
    with pytest.raises(SimeditError, match=message):
        python(factory).load(state)
    assert python("own_four:Blind", blind=True).load(state).uses_images is False


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("own.py:make", "not its file"),
        ("folder/own:make", "not its file"),
        ("own.make", 'must read "package.module:callable"'),
        ("own:", "must read"),
        (":make", "must read"),
        ("own:make()", "must read"),
    ],
)
def test_a_factory_is_named_as_python_names_it(factory, message):
    with pytest.raises(ValidationError, match=message):
        python(factory)


def test_a_file_that_another_of_its_name_hides_is_refused(here):
    write(here, "shutil.py", OWN)
    (problem,) = python("shutil:which", args={"cmd": "ls"}).problems()
    assert "shutil.py is hidden by" in problem


def test_a_changed_factory_is_another_and_so_are_changed_files_that_it_is_given(here):
    write(here, "own_five.py", OWN)
    write(here, "own_five_else.py", OWN)
    write(here, "weights/one.bin", "one")
    write(here, "table.json", "one")
    kind = python("own_five:anything", args={"a": "weights", "b": [{"c": "table.json"}], "d": 1})
    before = kind.meaning()
    assert set(before["files"]) == {"weights", "table.json"}
    write(here, "own_five_else.py", "changed")
    assert kind.meaning() == before
    for file, key in (("own_five.py", "factories"), ("weights/one.bin", "files"), ("table.json", "files")):
        text = (here / file).read_text()
        write(here, file, text + "# changed")
        now = kind.meaning()
        assert {each for each in before if now[each] != before[each]} == {key}
        write(here, file, text)
    assert kind.meaning() == before


def test_all_files_of_a_package_count(here):
    write(here, "own_six/__init__.py", "")
    write(here, "own_six/inner.py", OWN)
    write(here, "own_six/net/model.py", "")
    kinds = [python("own_six.inner:Still")]
    before = [kind.meaning() for kind in kinds]
    write(here, "own_six/notes.txt", "not code")
    assert [kind.meaning() for kind in kinds] == before
    write(here, "own_six/net/model.py", "changed")
    assert kinds[0].meaning() != before[0]


def test_words_that_name_no_file_of_the_policy_are_words(here):
    write(here, "own_seven.py", OWN)
    words = [".", "/", str(here), "", "cuda", "a\0b", "x" * 5000, "~nobody/x", "/dev/null", 3, None, True]
    kind = python("own_seven:anything", args={"words": words})
    assert set(kind.meaning()) == {"factories"}


def test_arguments_are_what_json_holds():
    with pytest.raises(ValidationError, match="args"):
        python("own:make", args={"day": date(2026, 1, 1)})
