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


def test_networks_say_who_is_known_and_heard_from_afar_and_attackers_whom_they_fool() -> None:
    networks = [{"nodes": 6, "known": 0.5, "far": 2}, {"nodes": 6, "label": "plain"}]
    attackers = [{"phi": 1}, {"phi": 1, "fooled": 0.1, "vouches": "clique"}]
    shared = MINE | {"splits": [{"partition": "iid"}], "scenario": {"vouches": "low", "task": "digits"}}
    places = Matrix.of(shared | {"networks": networks, "attackers": attackers, "attacks": ["label-flip"]}).conditions()
    said = {
        (each.network, each.attackers, each.scenario.known, each.scenario.far, each.scenario.fooled) for each in places
    }
    assert said == {
        ("random-geometric, 6 nodes, known 0.5, far 2", "nobody", 0.5, 2, 0.0),
        ("random-geometric, 6 nodes, known 0.5, far 2", "phi 1", 0.5, 2, 0.0),
        ("random-geometric, 6 nodes, known 0.5, far 2", "phi 1, fooled 0.1, vouches clique", 0.5, 2, 0.1),
        ("plain", "nobody", 0.0, 0, 0.0),
        ("plain", "phi 1", 0.0, 0, 0.0),
        ("plain", "phi 1, fooled 0.1, vouches clique", 0.0, 0, 0.1),
    }
    assert {each.scenario.vouches for each in places if each.scenario.fooled} == {"clique"}
    assert {each.scenario.vouches for each in places if not each.scenario.fooled} == {"low"}


def test_trust_crosses_names_far_peers_fooled_edges_and_what_sybils_vouch() -> None:
    places = [each.scenario for each in Matrix.load("trust").conditions() if not each.calm]
    assert {(each.known, each.far) for each in places} == {(p, far) for p in (0.25, 0.5, 0.75) for far in (0, 2, 4, 8)}
    fooled = [(0.0, "low"), *((q, vouches) for q in (0.03, 0.1) for vouches in ("low", "clique"))]
    assert {(each.fooled, each.vouches) for each in places} == set(fooled)


def test_every_place_of_a_preset_has_its_peace_to_be_compared_with() -> None:
    for preset in PRESETS:
        places = Matrix.load(preset).conditions()
        assert {each.panel[:2] for each in places} == {each.panel[:2] for each in places if each.calm}


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
        ({"scenario": {"fooled": 0.1}}, "'fooled' is a dimension of the matrix"),
        (
            {"networks": [{"far": 4}]},
            'far: who is far is known by vouches alone; set vouches = "low", or what Sybils do',
        ),
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
