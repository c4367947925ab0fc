"""Matrices: what a file may say, and which places it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.matrix.plan import ENDS, PRESETS, Matrix, MatrixError

MINE: dict[str, object] = {
    "rules": ["mean", {"name": "hedgerow", "views": "", "label": "no views"}],
    "attacks": ["label-flip", {"name": "label-flip+boosted", "factor": 9.0, "label": "boosted"}],
    "splits": [{"partition": "iid"}, {"alpha": 0.5}],
    "networks": [{"topology": "ring", "nodes": 6}],
    "attackers": [{"phi": 1.0}, {"share": 0.25}],
    "seeds": [3, 4],
    "scenario": {"task": "digits", "rounds": 2},
}


def test_matrix_is_a_full_cross_product_with_a_calm_place_for_each_split_and_network() -> None:
    places = Matrix.of(MINE).conditions()
    assert sum(not place.calm for place in places) == 2 * 2 * 1 * 2
    assert [(place.split, place.attackers) for place in places if place.calm] == [
        ("iid", "nobody"),
        ("dirichlet 0.5", "nobody"),
    ]
    assert {place.scenario.seeds for place in places} == {(3, 4)}


def test_every_place_has_both_ends_once() -> None:
    for place in Matrix.of(MINE | {"rules": ["mean", "alone"]}).conditions():
        names = [str(rule) for rule in place.scenario.rules]
        assert sorted(names) == sorted([*ENDS, "mean"])


def test_labels_name_rules_with_parameters() -> None:
    matrix = Matrix.of(MINE | {"rules": ["trimmed-mean(f=2)", {"name": "hedgerow", "views": "", "label": "no views"}]})
    names = [str(rule) for rule in matrix.conditions()[0].scenario.rules]
    assert [matrix.labels()[name] for name in names] == [*ENDS, "trimmed-mean(f=2)", "no views"]


def test_share_of_attackers_counts_among_all_nodes() -> None:
    hit = [place for place in Matrix.of(MINE).conditions() if place.attackers == "f/n 0.25"]
    assert {place.scenario.sybils for place in hit} == {2}  # of 6 + 2 nodes


def test_place_that_two_blocks_name_is_one_place_with_the_rules_of_both() -> None:
    blocks = [{"rules": ["mean"], "attacks": ["label-flip"]}, {"rules": ["median"], "attacks": ["label-flip"]}]
    places = Matrix.of(
        MINE | {"splits": [{"partition": "iid"}], "attackers": [{"phi": 1}], "blocks": blocks}
    ).conditions()
    assert [place.attack for place in places] == ["none", "label-flip"]
    assert [str(rule) for rule in places[1].scenario.rules] == [*ENDS, "mean", "median"]


def test_block_says_only_what_differs() -> None:
    matrix = Matrix.of(MINE | {"blocks": [{"seeds": [0], "scenario": {"rounds": 5}}]})
    assert {(place.scenario.seeds, place.scenario.rounds) for place in matrix.conditions()} == {((0,), 5)}


def test_settings_of_all_scenarios_can_be_changed() -> None:
    assert {place.scenario.rounds for place in Matrix.of(MINE).but(rounds=7).conditions()} == {7}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_together(preset: str) -> None:
    matrix = Matrix.load(preset)
    assert matrix.name == preset
    assert matrix.about


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"atacks": []}, "unknown key 'atacks': did you mean 'attacks'?"),
        ({"splits": [{"alfa": 1}]}, "unknown key 'alfa': did you mean 'alpha'?"),
        ({"blocks": [{"rule": ["mean"]}]}, "unknown key 'rule': did you mean 'rules'?"),
        ({"rules": ["meen"]}, "unknown rule 'meen': did you mean 'mean'?"),
        ({"attacks": [{"name": "label-flip", "frist": 1}]}, "did you mean 'first'?"),
        ({"scenario": {"round": 3}}, "unknown key 'round': did you mean 'rounds'?"),
        ({"scenario": {"alpha": 0.1}}, "'alpha' is a dimension of the matrix"),
        ({"attackers": [{"phi": 1.0, "sybils": 3}]}, "give one of share, sybils and phi"),
        ({"rounds": 3}, "key 'rounds' is a setting of every scenario: write it below [scenario]"),
        ({"rules": []}, "at least one rule is needed"),
        ({"rules": "mean"}, 'rules: wanted a list: rules = ["mean"]'),
        ({"attacks": [["label-flip"]]}, 'wanted "label-flip" or { name = "label-flip", ... }, not a list'),
        ({"networks": [{"topology": "rign"}]}, "did you mean 'ring'?"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(MatrixError) as refused:
        Matrix.of(MINE | change)
    assert sentence in str(refused.value)


def test_file_is_named_in_what_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('rules = ["mean"]\nattack = []\n')
    with pytest.raises(MatrixError, match=r"mine\.toml: unknown key 'attack': did you mean"):
        Matrix.load(file)
    file.write_text("rules = [\n")
    with pytest.raises(MatrixError, match=r"mine\.toml: not TOML"):
        Matrix.load(file)
    with pytest.raises(MatrixError, match="No such file"):
        Matrix.load(tmp_path / "other.toml")
    with pytest.raises(MatrixError, match="did you mean 'smoke'"):
        Matrix.load("smok")


def test_a_folder_of_that_name_does_not_hide_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Matrix.load("smoke").name == "smoke"
