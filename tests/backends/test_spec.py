"""The notation of a backend with its options: what is read, what is written, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridq.backends import BackendSpec, resolve
from hybridq.backends.aer import Aer
from hybridq.errors import InvalidArgument

VALUES = st.text("abcXYZ019._-/+ ", min_size=0, max_size=8).map(str.strip)
OPTIONS = st.dictionaries(st.from_regex(r"\A[a-z_]{1,8}\Z"), VALUES, max_size=4)
NAMES = st.sampled_from(["aer", "ibm", "default.qubit", "lightning.gpu", "some.module:Class"])
POSITIONALS = st.from_regex(r"\A[a-z0-9_.:-]{1,12}\Z")
PRESETS = st.none() | st.from_regex(r"\A[a-z]{0,6}\Z")


@st.composite
def specs(draw: st.DrawFn) -> BackendSpec:
    positional = draw(st.none() | POSITIONALS)
    preset = None if positional is None else draw(PRESETS)
    return BackendSpec(draw(NAMES), positional, preset, tuple(draw(OPTIONS).items()))


@given(specs())
def test_what_is_written_is_read_again(spec: BackendSpec) -> None:
    assert BackendSpec.parse(str(spec)) == spec


@given(specs())
def test_blanks_do_not_matter(spec: BackendSpec) -> None:
    spaced = " " + str(spec).replace(",", " , ") + " "
    assert BackendSpec.parse(spaced) == spec


@given(specs(), st.none() | st.integers(1, 10**6))
def test_shots_are_replaced_or_added(spec: BackendSpec, shots: int | None) -> None:
    changed = spec.with_shots(shots)
    assert changed.option("shots") == str(shots)
    assert (changed.name, changed.positional, changed.preset) == (
        spec.name,
        spec.positional,
        spec.preset,
    )
    others = [(name, value) for name, value in spec.options if name != "shots"]
    assert [item for item in changed.options if item[0] != "shots"] == others
    assert BackendSpec.parse(str(changed)) == changed


@given(st.lists(specs(), min_size=1, max_size=4))
def test_a_list_is_its_parts(several: list[BackendSpec]) -> None:
    assert BackendSpec.parse_list(",".join(map(str, several))) == several


def test_parts_of_a_spec() -> None:
    spec = BackendSpec.parse("ibm:fake_torino+mitigated, seed = 1")
    assert spec == BackendSpec("ibm", "fake_torino", "mitigated", (("seed", "1"),))
    assert str(spec) == "ibm:fake_torino+mitigated,seed=1"
    assert str(BackendSpec.parse("ibm:fake_torino").with_shots(4096)) == (
        "ibm:fake_torino,shots=4096"
    )
    assert str(BackendSpec.parse("aer").with_shots(9).with_shots(7)) == "aer:shots=7"
    path = BackendSpec.parse("ibm:least_busy,journal=C:/jobs.sqlite,instance=crn:v1:x:y::")
    assert path.option("journal") == "C:/jobs.sqlite", "a value may have colons"
    assert path.option("seed") is None
    assert BackendSpec.parse("some.module:Class:rate=1") == (
        BackendSpec("some.module:Class", options=(("rate", "1"),))
    )


def test_a_spec_is_resolved() -> None:
    assert resolve(BackendSpec.parse("aer:seed=3").with_shots(100)) == Aer(shots=100, seed=3)
    assert resolve(BackendSpec.parse("aer:shots=9").with_shots(None)) == Aer()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aer:", r"^backend='aer:': write NAME, or NAME:option=value"),
        ("aer:shots=4:seed=5", r"^backend='aer:shots=4:seed=5': write NAME"),
        ("aer:seed=1,shots", r"^backend='shots': options of 'aer' are written option=value"),
        ("aer:=1", r"^backend='=1': options of 'aer' are written option=value"),
        ("aer:seed=1,seed=2", r"^seed='2': this option of backend 'aer' is given twice"),
        ("ibm:+mitigated", r"^preset='mitigated': write it after the option"),
    ],
)
def test_errors_name_argument_value_and_way_out(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        BackendSpec.parse(text)


@pytest.mark.parametrize("shots", [0, -1, 1.5, True, "9"])
def test_shots_that_are_none(shots: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^shots=.*positive integer"):
        BackendSpec("aer").with_shots(shots)  # type: ignore[arg-type]


def test_a_value_cannot_have_commas() -> None:
    with pytest.raises(InvalidArgument, match=r"^initial_layout='4,5': .*written 4-5-6"):
        BackendSpec("aer").with_option("initial_layout", "4,5")
