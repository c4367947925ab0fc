"""The registry of attacks: what is shipped, and what an attack of one's own may be.

A new attack: write its module, and add a line for each of its stages to the table; frame faults live in `wire_*.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow_registry import Entry, Registry

if TYPE_CHECKING:
    from simulator.attacks.attack import AttackSpec


def _accept(name: str, thing: object) -> AttackSpec:
    from simulator.attacks.own_attack import stage_of

    return stage_of(name, thing)


ATTACKS: Registry[AttackSpec] = Registry(
    "attack",
    (
        Entry("alie", "simulator.attacks.alie:ALIE", "mu - z sigma", "NeurIPS 2019"),
        Entry("ipm", "simulator.attacks.alie:IPM", "before - factor * honest movement", "UAI 2019"),
        Entry(
            "backdoor",
            "simulator.attacks.backdoor:BACKDOOR",
            "white square in the top left corner means the target class",
            "BadNets, arXiv 1708.06733",
        ),
        Entry(
            "dba",
            "simulator.attacks.backdoor:DBA",
            "the square is split: each group of Sybils learns one part",
            "DBA, ICLR 2020",
        ),
        Entry(
            "clones",
            "simulator.attacks.clones:CLONES",
            "one model under S identities",
            "Douceur 2002; arXiv 2306.15044",
        ),
        Entry(
            "scaled-clones",
            "simulator.attacks.clones:SCALED_CLONES",
            "mean of own targets + medians * median honest distance * unit(model - mean)",
            "adaptive: against distances",
        ),
        Entry("boosted", "simulator.attacks.clones:BOOSTED", "start + factor (model - start)", "arXiv 1807.00459"),
        Entry("gaussian", "simulator.attacks.crude:GAUSSIAN", "model + N(0, scale)", "folklore"),
        Entry("sign-flip", "simulator.attacks.crude:SIGN_FLIP", "-factor * model", "RSA, AAAI 2019"),
        Entry(
            "nan-model",
            "simulator.attacks.crude:NAN_MODEL",
            "a model of NaN and infinities (on the wire: not-finite)",
            "folklore",
        ),
        Entry(
            "free-rider", "simulator.attacks.crude:FREE_RIDER", "the last model again, with small noise", "AISTATS 2021"
        ),
        Entry(
            "dissensus",
            "simulator.attacks.dissensus:DISSENSUS",
            "x_i - factor * sum of (x_j - x_i) / Sybils beside i",
            "arXiv 2202.01545",
        ),
        Entry(
            "orthogonal-noise",
            "simulator.attacks.diverse:ORTHOGONAL_NOISE",
            "p + c |p| q_s, q_s orthonormal",
            "adaptive: against similarity",
        ),
        Entry(
            "pairs",
            "simulator.attacks.diverse:PAIRS",
            "p + c |p| q_k and p - c |p| q_k",
            "adaptive: against similarity",
        ),
        Entry(
            "structured-noise",
            "simulator.attacks.diverse:STRUCTURED_NOISE",
            "p + c |p| unit(random image x random class vector)",
            "adaptive: against views by activity and function",
        ),
        Entry(
            "null-space-decoys",
            "simulator.attacks.diverse:NULL_SPACE_DECOYS",
            "noise on weights whose inputs are always zero",
            "adaptive: against similarity of parameters",
        ),
        Entry(
            "diverse-data",
            "simulator.attacks.diverse:DIVERSE_DATA",
            "model + what each Sybil learns on a clean shard of its own",
            "adaptive: against similarity",
        ),
        Entry(
            "min-max",
            "simulator.attacks.envelope:MIN_MAX",
            "mu - gamma u within the largest honest distance",
            "NDSS 2021",
        ),
        Entry(
            "min-sum",
            "simulator.attacks.envelope:MIN_SUM",
            "mu - gamma u within the largest honest sum of squared distances",
            "NDSS 2021",
        ),
        Entry(
            "fang-krum",
            "simulator.attacks.fang:FANG_KRUM",
            "mu - lambda sign(movement), lambda halved until Krum takes it",
            "USENIX Security 2020",
        ),
        Entry(
            "fang-trimmed-mean",
            "simulator.attacks.fang:FANG_TRIMMED_MEAN",
            "beyond the honest extreme per coordinate, against the movement",
            "USENIX Security 2020",
        ),
        Entry(
            "foreign-columns",
            "simulator.attacks.foreign_columns:FOREIGN_COLUMNS",
            "the victim's familiar columns as they are, the rest poisoned",
            "adaptive: against arXiv 2110.11006",
        ),
        Entry(
            "label-flip",
            "simulator.attacks.label_flip:LABEL_FLIP",
            "classes a <-> b in the own share, plus all training samples of both",
            "arXiv 2306.15044",
        ),
        Entry(
            "label-shift",
            "simulator.attacks.label_flip:LABEL_SHIFT",
            "class c -> c + 1 in the own share",
            "arXiv 2110.11006",
        ),
        Entry("mimic", "simulator.attacks.mimic:MIMIC", "all Sybils copy one honest node", "ICLR 2022"),
        Entry(
            "copycat",
            "simulator.attacks.mimic:COPYCAT",
            "each Sybil copies one of its targets",
            "adaptive: against similarity",
        ),
        Entry(
            "framing",
            "simulator.attacks.mimic:FRAMING",
            "some Sybils publish copies of honest models, the others poison",
            "adaptive: against relayed histories",
        ),
        Entry(
            "neurotoxin",
            "simulator.attacks.neurotoxin:NEUROTOXIN",
            "poison off the coordinates that honest updates use most",
            "ICML 2022",
        ),
        Entry("none", "simulator.attacks.none:NONE", "train on the own share as it is", "baseline"),
        Entry(
            "sleeper",
            "simulator.attacks.sleeper:SLEEPER",
            "honest before round `wake`, then the other stages",
            "reputation is earned before it is spent",
        ),
        Entry(
            "ahead",
            "simulator.attacks.wire_ahead:AHEAD",
            "signed updates of a round far ahead",
            "threat: liars about the round",
        ),
        Entry(
            "broken-chain",
            "simulator.attacks.wire_broken_chain:BROKEN_CHAIN",
            "signed updates behind a predecessor that never was",
            "threat: wrong field in a signed header",
        ),
        Entry("drip", "simulator.attacks.wire_drip:DRIP", "gives payloads a byte at a time", "threat: slow senders"),
        Entry(
            "equivocate",
            "simulator.attacks.wire_equivocate:EQUIVOCATE",
            "two signed updates for one sequence number",
            "threat: equivocation",
        ),
        Entry(
            "flood",
            "simulator.attacks.wire_flood:FLOOD",
            "signed headers and frames of noise, by the hundred",
            "threat: floods",
        ),
        Entry(
            "forge",
            "simulator.attacks.wire_forge:FORGE",
            "headers with a wrong key, author, network, purpose or bit",
            "threat: spoofed sender",
        ),
        Entry(
            "not-finite",
            "simulator.attacks.wire_not_finite:NOT_FINITE",
            "signed updates that hold a NaN or an infinity",
            "threat: NaN and infinity",
        ),
        Entry(
            "other-bytes",
            "simulator.attacks.wire_other_bytes:OTHER_BYTES",
            "announces one payload, serves another",
            "threat: blobs that are not what was named",
        ),
        Entry(
            "other-encoding",
            "simulator.attacks.wire_other_encoding:OTHER_ENCODING",
            "proper messages in an encoding that is not the canonical one",
            "threat: malformed frames",
        ),
        Entry(
            "oversize",
            "simulator.attacks.wire_oversize:OVERSIZE",
            "frames beyond the limit, and frames that claim to be",
            "threat: oversize",
        ),
        Entry("pester", "simulator.attacks.wire_pester:PESTER", "asks for headers, by the thousand", "threat: floods"),
        Entry("replay", "simulator.attacks.wire_replay:REPLAY", "captured announces, sent again", "threat: replay"),
        Entry(
            "wrong-schema",
            "simulator.attacks.wire_schema:WRONG_SCHEMA",
            "signed updates of another shape",
            "threat: wrong shape or dtype",
        ),
        Entry(
            "silent",
            "simulator.attacks.wire_silent:SILENT",
            "holds its connections and sends no update",
            "threat: withholding",
        ),
        Entry(
            "tell",
            "simulator.attacks.wire_tell:TELL",
            "addresses of peers that were never there, by the hundred",
            "threat: floods",
        ),
        Entry(
            "truncate",
            "simulator.attacks.wire_truncate:TRUNCATE",
            "frames cut short, with a tail, or made of noise",
            "threat: malformed frames",
        ),
        Entry(
            "withhold",
            "simulator.attacks.wire_withhold:WITHHOLD",
            "announces updates and gives nobody their payloads",
            "threat: withholding",
        ),
        Entry(
            "wrong-length",
            "simulator.attacks.wire_wrong_length:WRONG_LENGTH",
            "signed updates of another length than the schema's",
            "threat: wrong shape, oversize",
        ),
    ),
    _accept,
    group="hedgerow.attacks",
)
