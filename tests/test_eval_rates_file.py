from __future__ import annotations

import pytest

from simedit.envs.drawer.suite import DrawerSuite
from simedit.errors import SimeditError
from simedit.eval.config import RealConfig
from simedit.eval.published import load_real

SUITE = DrawerSuite()
YAML = """
source: us
policies:
  A: {open: {successes: 22, n: 27}, close: 0.5}
  B: {open: 22/27, close: 81.5%}
"""
JSON = """\ufeff{
\t"source": "us",
\t"policies": {
\t\t"A": {"open": {"successes": 22, "n": 27}, "close": 0.5},
\t\t"B": {"open": "22/27", "close": "81.5 %"}
\t}
}"""
TABLE = "\ufeffPolicy, open ,CLOSE\r\nA,22 / 27,.5\r\n\r\n B ,22/27,81.5 %\r\n"


def load(tmp_path, name, text, policies=("A", "B")):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_real(RealConfig(source=str(path)), SUITE, list(policies), ["open", "close"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("real.yaml", YAML),
        ("real.json", JSON),
        ("real.csv", TABLE),
        ("real.CSV", TABLE.replace(",", ";")),
        ("real.tsv", TABLE.replace(",", "\t")),
        ("real.csv", TABLE.replace("22 / 27", '"22 / 27"')),
    ],
)
def test_rates_of_ones_own_may_be_csv_yaml_or_json(tmp_path, name, text):
    real = load(tmp_path, name, text)
    assert not real.stand_in
    assert real.source in ("us", name)
    a, b = real.policies["A"], real.policies["B"]
    assert (a.rate("open"), a.rate("close"), b.rate("close")) == (22 / 27, 0.5, pytest.approx(0.815))
    assert (a.counts("open").n, b.counts("open").successes, a.counts("close")) == (27, 22, None)


def test_an_unknown_rate_may_stay_empty(tmp_path):
    path = tmp_path / "real.csv"
    path.write_text("policy,open,close\nA,0.5,\n")
    assert load_real(RealConfig(source=str(path)), SUITE, ["A"], ["open"]).policies["A"].rate("open") == 0.5
    with pytest.raises(SimeditError, match="no close rate for policy 'A'"):
        load(tmp_path, "real.csv", path.read_text(), ["A"])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("81.5", "81.5 is no rate .it looks like a percentage.: write 0.815"),
        ("100", "looks like a percentage"),
        ("101", "between 0 and 1"),
        ("9" * 400, "between 0 and 1"),
        ("1e400", "no rate"),
        ("-0.1", "between 0 and 1"),
        ("-1%", "between 0 and 1"),
        ("120%", "between 0 and 1"),
        ("nan", "no rate"),
        (".nan", "no rate"),
        ("inf", "no rate"),
        ("1e999", "no rate"),
        ("'0,815'", "no rate"),
        ("true", "no rate"),
        ("half", "no rate"),
        ("[0.5]", "no rate"),
        ("3/2", "3 successes in 2 trials"),
        ("0/0", "n must be from 1"),
        ("-1/2", "no rate"),
        ("1/999999999999", "n must be from 1"),
        ("1/2/3", "no rate"),
        ("{successes: 3, n: 2}", "3 successes in 2 trials"),
        ("{successes: -1, n: 2}", "successes below 0"),
        ("{successes: 1, n: 0}", "n must be from 1"),
        ("{successes: 1.5, n: 2}", "successes must be a whole number"),
        ("{successes: true, n: 2}", "successes must be a whole number"),
        ("{successes: 1}", "with these two keys"),
        ("{successes: 1, n: 2, rate: 0.5}", "with these two keys"),
        ("{}", "with these two keys"),
    ],
)
def test_what_is_no_rate_is_refused_in_a_sentence(tmp_path, value, said):
    with pytest.raises(SimeditError, match=said) as error:
        load(tmp_path, "real.yaml", f"source: us\npolicies: {{A: {{open: {value}, close: 0.5}}}}", ["A"])
    text = str(error.value)
    assert "policies.A.open" in text
    assert "laid out so. CSV" in text
    assert len(text) < 1000
    assert "errors.pydantic.dev" not in text
    assert "Counts" not in text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.csv", "", "it is empty"),
        ("r.csv", "\n , \n", "it is empty"),
        ("r.csv", "A,0.5,0.5\n", "its first line is 'A, 0.5, 0.5', not policy,TASK,TASK"),
        ("r.csv", "policy\nA\n", "its first line"),
        ("r.csv", "policy,open,open\nA,0.5,0.5\n", "its first line"),
        ("r.csv", "policy,open,close,n\nA,0.5,0.5,3\n", "policies.A.n: 3 is no rate"),
        ("r.csv", "policy,open,close\nA,0.5\n", "the line of 'A' has 2 entries, the first line 3"),
        ("r.csv", "policy,open,close\nA,0,815,0,5\n", "the line of 'A' has 5 entries"),
        ("r.csv", "policy,open,close\n,0.5,0.5\n", "names no policy"),
        ("r.csv", "policy,open,close\nA,0.5,0.5\nA,0.6,0.6\n", "policy 'A' stands in it twice"),
        ("r.csv", 'policy,open,close\nA,"0.5,0.5\n', "it is not CSV"),
        ("r.csv", "policy,open,close\nA,81.5,92.6\n", "81.5 is no rate"),
        ("r.csv", b"\xff\xfe\x00", "not text in UTF-8"),
        ("r.csv", b"policy,open,close\nA\x00,0.5,0.5\n", "unknown policy|not CSV"),
        ("r.json", "{", "it is not JSON"),
        ("r.json", "[1]", "holds no object, but list"),
        ("r.json", "[" * 100_000, "nested too deeply"),
        (
            "r.json",
            '{"source": "us", "policies": {"A": {"open": 0, "open": 1}}}',
            "'open' stands in it twice",
        ),
        ("r.json", '{"source": "us", "policies": {"A": {"open": NaN, "close": 1}}}', "no rate"),
        ("r.json", '{"source": "us", "policies": {"A": {"open": 1e400, "close": 1}}}', "no rate"),
        (
            "r.json",
            '{"source": "us", "policies": {"A": {"open": ' + "9" * 5000 + "}}}",
            "no rate|not JSON|digits",
        ),
        ("r.json", "{}", "source: this key is required"),
        ("r.yaml", "policy,open,close\nA,0.5,0.5\n", "must hold a mapping"),
        ("r.yaml", "- 1", "must hold a mapping"),
    ],
)
def test_files_of_another_kind_are_refused_with_the_layout(tmp_path, name, text, said):
    with pytest.raises(SimeditError, match=said) as error:
        load(tmp_path, name, text, ["A"])
    assert name in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["folder.csv", "folder.json", "folder.yaml"])
def test_a_folder_is_no_file_of_rates(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(SimeditError, match=name):
        load_real(RealConfig(source=str(tmp_path / name)), SUITE, ["A"], ["open"])


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "none/such.csv"])
def test_what_is_no_path_is_no_file(name):
    with pytest.raises(SimeditError, match="no file"):
        load_real(RealConfig(source=name), SUITE, ["A"], ["open"])
