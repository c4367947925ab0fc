"""Names and what they stand for: tables that cost nothing to list, installed packages, modules of one's own."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggregation.registry import RULES
from hedgerow_registry import BadReference, Entry, NameFault, Registry, RegistryWarning, UnknownName
from node.learning.registry import MODELS, PARTITIONS, TASKS
from simulator.attacks.registry import ATTACKS
from simulator.study.registry import TOPOLOGIES

ROOT = Path(__file__).parents[2]
TABLES = (RULES, ATTACKS, TOPOLOGIES, PARTITIONS, TASKS, MODELS)


def number(name: str, thing: object) -> float:
    if not isinstance(thing, int | float):
        raise ValueError(f"a {type(thing).__name__}; wanted a number")
    return float(thing)


def registry(*entries: Entry, group: str = "") -> Registry[float]:
    return Registry("number", entries or (Entry("pi", "math:pi"), Entry("e", "math:e")), number, group=group)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Write a module into a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    yield write
    for name in [name for name in sys.modules if name.startswith("mine")]:
        del sys.modules[name]


def install(folder: Path, package: str, group: str, points: str) -> None:
    """An installed distribution as pip leaves it: a folder of metadata beside its module."""
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{points}\n")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_every_line_of_every_table_leads_somewhere_and_says_what_it_is(table: Registry[object]) -> None:
    for name, entry in table.entries.items():
        assert table[name] is table.find(name)
        assert entry.summary
        assert len(entry.summary) < 110, name


def test_listing_imports_nothing() -> None:
    code = (
        "import sys\n"
        "from aggregation.registry import RULES\nfrom node.learning.registry import TASKS, PARTITIONS\n"
        "from simulator.attacks.registry import ATTACKS\nfrom simulator.study.registry import TOPOLOGIES\n"
        "assert all(len(list(table)) > 3 for table in (RULES, TASKS, PARTITIONS, ATTACKS, TOPOLOGIES))\n"
        "assert all(entry.summary for entry in RULES.entries.values())\n"
        "print([name for name in ('torch', 'networkx', 'numpy', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_words_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown number 'pie': did you mean 'pi'\?"):
        registry().find("pie")
    with pytest.raises(UnknownName, match=r"known: e, pi\."):
        registry().find("~")
    with pytest.raises(KeyError):
        registry()["pie"]
    assert "pie" not in registry()
    assert registry().get("pie") is None


def test_a_module_alone_is_answered_with_how_to_write_a_name_in_it(module: Callable[[str, str], Path]) -> None:
    module("mine_alone", "three = 3\n")
    with pytest.raises(UnknownName, match="there is a module of this name: write mine_alone:NAME"):
        registry().find("mine_alone")
    assert registry().find("mine_alone:three") == 3.0


@pytest.mark.parametrize(
    ("text", "reference", "says"),
    [
        ("three = 3", "mine_bad:thre", "has no 'thre'; did you mean 'three'"),
        ("three = 'x'", "mine_bad:three", "number 'mine_bad:three' is a str; wanted a number"),
        ("x = 1\ny = x / 0", "mine_bad:x", r"fails \(.*mine_bad\.py, line 2\): ZeroDivisionError"),
        ("x = (", "mine_bad:x", r"fails \(.*mine_bad\.py, line 1\): SyntaxError"),
        ("import mine_absent", "mine_bad:x", "needs 'mine_absent', which is not installed"),
        ("", "mine_bad:", "wanted module:name"),
        ("", "mine_bad:a b", "wanted module:name"),
        ("", "mine_nowhere:x", "no module 'mine_nowhere'"),
    ],
)
def test_a_reference_that_leads_nowhere_says_where_it_went_wrong(
    module: Callable[[str, str], Path], text: str, reference: str, says: str
) -> None:
    module("mine_bad", text)
    with pytest.raises(BadReference, match=says):
        registry().find(reference)


def test_what_needs_an_extra_says_how_to_install_it() -> None:
    table = registry(Entry("far", "no_such_module_at_all:x", extra="ray"))
    with pytest.raises(BadReference, match=r"pip install 'hedgerow\[ray\]'"):
        table.find("far")


def test_installed_packages_bring_names_and_a_taken_one_is_refused(
    module: Callable[[str, str], Path], tmp_path: Path
) -> None:
    module("mine_numbers", "tau, pi = 6.28, 3.0\n")
    install(tmp_path, "numbers-of-mine", "hedgerow.numbers", "tau = mine_numbers:tau\npi = mine_numbers:pi")
    table = registry(Entry("pi", "math:pi"), group="hedgerow.numbers")
    with pytest.warns(RegistryWarning, match=r"numbers-of-mine 1\.2 brings a number called 'pi', which is taken"):
        assert list(table) == ["pi", "tau"]
    assert table["tau"] == 6.28
    assert table["pi"] > 3.1
    assert table.find("mine_numbers:pi") == 3.0
    assert table.entries["tau"].source == "package numbers-of-mine 1.2"


def test_what_is_shipped_is_found_without_a_look_at_installed_packages(
    module: Callable[[str, str], Path], tmp_path: Path
) -> None:
    install(tmp_path, "taker", "hedgerow.numbers", "pi = gone:pi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry(Entry("pi", "math:pi"), group="hedgerow.numbers").find("pi") > 3.1


def test_objects_are_lent_names_that_only_this_process_knows() -> None:
    table = registry()
    assert table.lend("four", 4) == "four"
    assert table.find("four") == 4.0
    assert table.is_lent("four")
    assert list(table) == ["pi", "e"]
    table.lend("four", 4.5)
    assert table.find("four") == 4.5
    with pytest.raises(NameFault, match="is hedgerow's own name"):
        table.lend("pi", 3)
    with pytest.raises(BadReference, match="number 'word' is a str; wanted a number"):
        table.lend("word", "x")


def test_a_fingerprint_changes_with_the_file_behind_a_name(module: Callable[[str, str], Path]) -> None:
    path = module("mine_print", "x = 1\n")
    table = registry()
    first = table.fingerprint("mine_print:x")
    assert table.fingerprint("pi") == ""
    assert len(first) == 64
    path.write_text("x = 2\n")
    assert table.fingerprint("mine_print:x") != first
