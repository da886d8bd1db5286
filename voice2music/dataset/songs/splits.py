"""Which songs are learned from and which are kept: by artist and song, evenly over the genres."""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from voice2music.dataset.shards import Row
from voice2music.errors import BadManifest

Split = Literal["train", "valid", "test"]
_TOGETHER = re.compile(r"\s*(?:[;/&,]|\b(?:feat|ft|featuring|with|vs)\b\.?)\s*", re.IGNORECASE)
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Songs:
    """What a split depends on.

    Args:
        artist: "" where unknown; the song then stands for itself.
        title: the same title by two artists (a cover) stays in one split.
        kind: genre and language.
        seconds: of its chunks.
    """

    id: str
    artist: str
    title: str
    kind: tuple[str, str]
    seconds: float


def splits(songs: Sequence[Songs], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Split by song id. All songs of an artist, and all songs of one name, go together.

    Groups are dealt out, the longest first, to the split that has least of its share of the group's
    kinds of music, and has room for it; what is equal is settled by the seed. Of three groups or
    more, `valid` and `test` get one each in any case.

    Args:
        shares: of the seconds, adding up to 1.
    """
    groups = sorted(_groups(songs), key=lambda group: (-_seconds(group), _draw(group, seed)))
    total = sum(map(_seconds, groups))
    room = {split: shares[split] * total for split in SPLITS}
    kinds: dict[tuple[str, str], float] = defaultdict(float)
    for song in songs:
        kinds[song.kind] += song.seconds
    held: dict[Split, dict[tuple[str, str], float]] = {s: defaultdict(float) for s in SPLITS}
    out: dict[str, Split] = {}
    for place, group in enumerate(groups):
        size = _seconds(group)
        fitting: list[Split] = [
            s for s in SPLITS if s == "train" or (shares[s] and room[s] >= size / 2)
        ]
        lack = {s: _lack(group, held[s], kinds, shares[s]) for s in fitting}
        # Of a kind that nobody has yet, the split whose whole is farthest from its share gets it.
        whole = {s: room[s] / max(shares[s] * total, 1e-9) for s in fitting}
        neediest = max(fitting, key=lambda s: (lack[s], whole[s], shares[s]))
        split = _with_few(place, len(groups), shares) or neediest
        room[split] -= size
        for song in group:
            out[song.id] = split
            held[split][song.kind] += song.seconds
    return _filled(out, groups, shares)


def check_splits(rows: Sequence[Row]) -> None:
    """No artist, song or source file may stand in two splits.

    Raises:
        BadManifest: one does.
    """
    seen: dict[tuple[str, str], str] = {}
    for row in rows:
        names = [("artist", name) for name in sorted(artists(row["artist"]))]
        for what, name in (
            *names,
            ("song", row["song_id"]),
            ("source", row["source"]["sha256"]),
        ):
            if seen.setdefault((what, name), row["split"]) != row["split"]:
                raise BadManifest(
                    f"The {what} of '{row['song'] or row['song_id']}' stands in "
                    f"{seen[what, name]} and in {row['split']}. Build the data set again."
                )


def _groups(songs: Sequence[Songs]) -> list[list[Songs]]:
    """Songs that must stay together: of one artist, or of one name."""
    leader: dict[str, str] = {}

    def root(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for song in songs:
        keys = [f"id {song.id}"]
        keys += [f"artist {name}" for name in sorted(artists(song.artist))]
        keys += [f"title {plain_name(song.title)}"] if song.title else []
        for key in keys[1:]:
            leader[root(key)] = root(keys[0])
    found: dict[str, list[Songs]] = defaultdict(list)
    for song in songs:
        found[root(f"id {song.id}")].append(song)
    return list(found.values())


def plain_name(name: str) -> str:
    """A name without case, accents and marks, by which people and songs are told apart."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    plain = (c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join("".join(plain).split()) or " ".join(name.casefold().split())


def artists(name: str) -> set[str]:
    """The plain names of all who share a song: "Anna feat. Ben", "Anna & Ben; Cora"."""
    parts = {plain_name(part) for part in (name, *_TOGETHER.split(name))}
    return parts - {""}


def _seconds(group: Sequence[Songs]) -> float:
    return sum(song.seconds for song in group)


def _draw(group: Sequence[Songs], seed: int) -> str:
    name = min(song.id for song in group)
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _lack(
    group: Sequence[Songs],
    held: Mapping[tuple[str, str], float],
    kinds: Mapping[tuple[str, str], float],
    wanted: float,
) -> float:
    """How much of its share of the group's kinds a split still lacks, 1 at first."""
    parts = [
        (song.seconds, 1 - held[song.kind] / max(wanted * kinds[song.kind], 1e-9)) for song in group
    ]
    return sum(seconds * lack for seconds, lack in parts) / max(_seconds(group), 1e-9)


def _filled(
    dealt: dict[str, Split], groups: Sequence[Sequence[Songs]], shares: Mapping[Split, float]
) -> dict[str, Split]:
    """The same, with the shortest group for every split that got none, where there are enough."""
    missing = [s for s in SPLITS if shares[s] > 0 and s not in dealt.values()]
    free = [group for group in groups[::-1] if len(groups) >= 3]
    for split in missing:
        group = next((g for g in free if dealt[g[0].id] == "train"), None)
        for song in group or ():
            dealt[song.id] = split
    return dealt


def _with_few(place: int, groups: int, shares: Mapping[Split, float]) -> Split | None:
    """With few groups the last, shortest ones are kept, so that there is something to test on.

    None where there are enough groups to deal them out, or too few to keep any.
    """
    kept: list[Split] = [split for split in ("test", "valid") if shares[split] > 0]
    from_end = groups - 1 - place
    if not kept or not 3 <= groups < 1 / min(shares[s] for s in kept):
        return None
    return kept[from_end] if from_end < len(kept) else "train"
