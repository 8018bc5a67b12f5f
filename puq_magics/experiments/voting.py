"""Votes on answers of a comparison: of one session, and of a class by files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from puq_magics.core.errors import InputError
from puq_magics.core.files import expand_path, read_error, save_text
from puq_magics.experiments.statistics import (
    ALPHA,
    Interval,
    PairVote,
    bradley_terry,
    count_outcomes,
    mcnemar_p,
)

_MAX_VOTES = 100_000
TIE = "tie"


@dataclass(frozen=True)
class Vote:
    """One vote: the arms that were compared, and the best of them; ``tie`` for none."""

    id: str
    arms: tuple[str, ...]
    winner: str
    #: True if the names were hidden until the vote.
    blind: bool = False

    def pairs(self) -> Iterable[PairVote]:
        """Yield the pairs that the vote decides: the best wins against each other arm."""
        weight = 2 / len(self.arms)  # its pairs are one choice, and tell less than as many votes
        for a, b in combinations(self.arms, 2):
            if self.winner == TIE:
                yield PairVote(a, b, 0.5, weight)
            elif self.winner in (a, b):
                yield PairVote(a, b, float(self.winner == a), weight)


@dataclass(frozen=True)
class VoteSummary:
    """Standing of each arm after the votes."""

    votes: int
    #: Arm, wins, ties, losses in pairs.
    counts: Sequence[tuple[str, int, int, int]]
    #: Chance to win against an average arm, from three arms on.
    strengths: dict[str, Interval]

    def sentence(self) -> str:
        """Return the result of two arms in a sentence; empty for more."""
        if len(self.counts) != 2:
            return ""
        (a, wins, ties, losses), (b, *_) = self.counts
        p = mcnemar_p(wins, losses)
        better, worse = (a, b) if wins > losses else (b, a)
        said = f"{better} is preferred to {worse}" if p < ALPHA else f"cannot tell {a} and {b} apart"
        return f"{said}: {count_outcomes(max(wins, losses), ties, min(wins, losses))} (p = {p:.2g})."


def summarize_votes(votes: Sequence[Vote]) -> list[VoteSummary]:
    """Return the standing of each arm, the best first; apart for arms that were never compared with each other."""
    groups: list[tuple[set[str], list[Vote]]] = []
    for vote in votes:
        arms, members = set(vote.arms), [vote]
        for group in [group for group in groups if arms & group[0]]:
            groups.remove(group)
            arms, members = arms | group[0], group[1] + members
        groups.append((arms, members))
    return [_summarize(members) for _, members in groups]


def _summarize(votes: Sequence[Vote]) -> VoteSummary:
    pairs = [pair for vote in votes for pair in vote.pairs()]
    counts: dict[str, list[int]] = {}
    for a, b, share, _ in pairs:
        for arm, own in ((a, share), (b, 1 - share)):
            counts.setdefault(arm, [0, 0, 0])[0 if own == 1 else 1 if own == 0.5 else 2] += 1
    strengths = bradley_terry(pairs) if len(counts) > 2 else {}
    order = sorted(
        counts, key=lambda arm: strengths[arm].value if strengths else counts[arm][0], reverse=True
    )
    return VoteSummary(len(votes), [(arm, *counts[arm]) for arm in order], strengths)  # type: ignore[misc]


def save_votes(votes: Sequence[Vote], path: str | Path, *, force: bool = False) -> Path:
    """Save votes as JSON Lines, and return the path. Raises InputError."""
    lines = (json.dumps(asdict(vote), ensure_ascii=False) for vote in votes)
    return save_text("".join(f"{line}\n" for line in lines), path, force=force)


def load_votes(path: str | Path) -> list[Vote]:
    """Read votes that `save_votes` wrote. Raises InputError."""
    target = expand_path(path)
    try:
        records = [
            json.loads(line) for line in target.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
        votes = [
            Vote(str(each["id"]), tuple(map(str, each["arms"])), str(each["winner"]), bool(each["blind"]))
            for each in records
        ]
        if not votes or not all(
            len(set(vote.arms)) > 1 and vote.winner in (*vote.arms, TIE) for vote in votes
        ):
            raise TypeError("no vote, one without arms, or one for another arm")
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError):
        raise InputError(
            f"{target.name} holds no votes.", hint="Give a file of %puq_compare --export."
        ) from None
    except (OSError, UnicodeError) as error:
        raise read_error(target.name, error) from None
    if len(votes) > _MAX_VOTES:
        raise InputError(
            f"{target.name} holds more than {_MAX_VOTES:,} votes.", hint="Give the file of one class."
        )
    return votes


def merge_votes(votes: Sequence[Vote], others: Iterable[Vote]) -> list[Vote]:
    """Return all votes, each once, however often its file is merged."""
    return list({vote.id: vote for vote in (*votes, *others)}.values())
