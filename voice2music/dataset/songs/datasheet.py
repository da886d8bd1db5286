"""What is in a data set of songs and how it was made, for those who train with it.

In the spirit of Gebru et al., "Datasheets for Datasets" (CACM 2021), as far as a program can know:
every number is counted from the manifest's rows.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from voice2music.clip import OWN, read
from voice2music.dataset.shards import Row, write_text
from voice2music.dataset.songs import charts
from voice2music.dataset.songs.charts import artists_of, by_model, plural, songs_of
from voice2music.dataset.songs.refusals import Refusal
from voice2music.dataset.songs.sheet import Figure, Section, Sheet, Table, html, markdown
from voice2music.dataset.songs.spectrograms import picture
from voice2music.dataset.songs.splits import SPLITS
from voice2music.errors import BadAudio

MARKDOWN, HTML = "datasheet.md", "datasheet.html"
TITLE = "Datasheet: songs as pairs of voice and music"
EXAMPLES = 3  # songs whose spectrograms are shown
_GENRE_FROM = {
    "tag": "the files' tags",
    "table": "the user's table",
    "clap": "guessed from the sound by CLAP",
}
_VARYING = re.compile(r"(?<!\w)'[^']*'(?!\w)|\d+([.,]\d+)*")  # of a reason: names and numbers


def write_datasheet(
    folder: Path, rows: Sequence[Row], refused: Sequence[Refusal], made_by: Mapping[str, str]
) -> tuple[Path, Path]:
    """Write `datasheet.md` and `datasheet.html` into `folder`, each whole or not at all.

    The same arguments give the same bytes. Nothing is written before both are made.

    Args:
        folder: of the data set; the files that `rows` name lie in it.
        rows: of the manifest, one per chunk.
        refused: files that were not taken.
        made_by: what the set was made with, such as "version", "command" and "seed".
    Returns:
        The paths of the Markdown and of the HTML.
    Raises:
        OSError: the folder is not there, not writable or full.
    """
    sheet = _sheet(folder, rows, refused, made_by)
    texts = {folder / MARKDOWN: markdown(sheet), folder / HTML: html(sheet)}
    for path, text in texts.items():
        write_text(path, text)
    return folder / MARKDOWN, folder / HTML


def _sheet(
    folder: Path, rows: Sequence[Row], refused: Sequence[Refusal], made_by: Mapping[str, str]
) -> Sheet:
    sections = [_about(), _making(rows, made_by)]
    sections += (
        [_amounts(rows), _kinds(rows), _sound(rows), _examples(folder, rows)] if rows else []
    )
    sections.append(_refusals(refused))
    return Sheet(TITLE, _lead(rows, refused), tuple(sections))


def _lead(rows: Sequence[Row], refused: Sequence[Refusal]) -> str:
    if not rows:
        why = "every file was refused" if refused else "there were no songs"
        return f"This data set is empty: {why}."
    parts = [
        f"{charts.hours(own)} hours in {plural(len(own), 'chunk')} for {charts.model_name(model)}"
        for model, own in by_model(rows).items()
    ]
    artists = plural(len(artists_of(rows)), "known artist")
    return f"{plural(len(songs_of(rows)), 'song')} by {artists}: {' and '.join(parts)}."


def _about() -> Section:
    return Section(
        "What it is",
        (
            "Each chunk is a stretch of a song in two files of the same length: the voice alone, "
            "and the music without the voice. The set is for training models that play music to a "
            "sung tune. It is not meant for recognising or copying the singers.",
            "Chunks for MusicGen and for AudioLDM are cut from the same songs. Hours are therefore "
            "counted once for each model, and must not be added up.",
            "Titles, artists, licences and consent are as they came with the songs; the program "
            "cannot check them. Tempo, key, tuning, vocal range and the share of singing were "
            "measured by the program and can be wrong.",
        ),
    )


def _making(rows: Sequence[Row], made_by: Mapping[str, str]) -> Section:
    blocks: list[str | Table] = []
    if made_by:
        blocks.append(Table("Made with", ("what", "value"), tuple(made_by.items()), words=2))
    if rows:
        names = {"": "none: they came as two files"}
        blocks.append(charts.shares(rows, "separation", "How voice and music were parted", names))
    if any(row["separation"] for row in rows):
        blocks.append(
            "Where a model parted them, traces of the voice stay in the music, and of the music in "
            "the voice."
        )
    return Section("How it was made", tuple(blocks))


def _amounts(rows: Sequence[Row]) -> Section:
    tables = (_amount_table(model, own) for model, own in by_model(rows).items())
    return Section("How much there is", (*tables, _apart(rows), _usual(rows)))


def _amount_table(model: str, rows: Sequence[Row]) -> Table:
    longest = max(row["seconds"] for row in rows)
    parts = [(split, [row for row in rows if row["split"] == split]) for split in SPLITS]
    lines = tuple((split, *_amount(part)) for split, part in (*parts, ("all", rows)))
    caption = f"For {charts.model_name(model)}: chunks of up to {longest:.3g} s"
    return Table(caption, ("split", "songs", "artists", "chunks", "hours"), lines)


def _amount(rows: Sequence[Row]) -> tuple[str, ...]:
    counts = (len(songs_of(rows)), len(artists_of(rows)), len(rows))
    return (*(f"{number:,}" for number in counts), charts.hours(rows))


def _apart(rows: Sequence[Row]) -> str:
    """Whether anything that is learned from is also tested on."""
    parts = [[row for row in rows if row["split"] == split] for split in SPLITS]
    songs = _in_two([songs_of(part) for part in parts])
    artists = _in_two([artists_of(part) for part in parts])
    unknown = len(songs_of(row for row in rows if not row["artist"]))
    words = "No song and no known artist stands in two splits."
    if songs or artists:
        words = (
            f"In more than one split: {plural(songs, 'song')} and {plural(artists, 'known artist')}"
            f". Results on valid and test will be too good."
        )
    return words + (f" Songs without a known artist: {unknown:,}." if unknown else "")


def _in_two(sets: Sequence[set[str]]) -> int:
    return sum(times > 1 for times in Counter(name for part in sets for name in part).values())


def _usual(rows: Sequence[Row]) -> str:
    sung = median(row["voiced"] for row in rows)
    off = median(abs(row["tuning"]) for row in rows)
    captions = sum(len(row["captions"]) for row in rows) / len(rows)
    return (
        f"The median chunk is sung {100 * sung:.0f} % of the time and {off:.0f} cents off concert "
        f"pitch (A = 440 Hz). There are {captions:.1f} captions per chunk on average."
    )


def _kinds(rows: Sequence[Row]) -> Section:
    return Section(
        "What is in it",
        (
            charts.shares(rows, "language", "Languages"),
            charts.shares(rows, "mood", "Moods"),
            charts.shares(rows, "genre", "Genres"),
            charts.shares(rows, "genre_from", "How the genre is known", _GENRE_FROM),
            charts.shares(rows, "licence", "Licences"),
            charts.shares(rows, "consent", "Consent of the singers"),
        ),
    )


def _sound(rows: Sequence[Row]) -> Section:
    return Section(
        "How it sounds",
        (
            "Numbers of chunks, for all models together. A chunk counts for every note between its "
            "lowest and its highest; a length on a boundary counts as the shorter.",
            charts.tempos(rows),
            charts.keys(rows),
            charts.vocal_ranges(rows),
            charts.lengths(rows),
        ),
    )


def _refusals(refused: Sequence[Refusal]) -> Section:
    if not refused:
        return Section("Refused files", ("No file was refused.",))
    ordered = sorted(refused, key=lambda r: (r.step, r.why, r.file))
    each = tuple((r.file, f"{r.step}: {r.why}") for r in ordered)
    files = len({r.file for r in refused})
    return Section(
        "Refused files",
        (
            f"Not taken: {plural(files, 'file')}. In a reason that several files share, … stands "
            f"for a number or a name.",
            Table("By reason", ("step", "reason", "files"), _by_reason(ordered), 2, wide=True),
            Table("Every refused file", ("file", "step and reason"), each, 2, wide=True),
        ),
    )


def _by_reason(refused: Sequence[Refusal]) -> tuple[tuple[str, ...], ...]:
    """Steps, reasons and numbers of files, the most first; alike but for names: one reason."""
    groups: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for refusal in refused:
        groups[refusal.step, _VARYING.sub("…", refusal.why)].append(refusal)
    lines = []
    for (step, kind), group in groups.items():
        same = len({refusal.why for refusal in group}) == 1
        files = len({refusal.file for refusal in group})
        lines.append((-files, step, group[0].why if same else kind))
    return tuple((step, why, f"{-files:,}") for files, step, why in sorted(lines))


def _examples(folder: Path, rows: Sequence[Row]) -> Section:
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["song_id"], row)
    chosen = list(first.values())[:EXAMPLES]
    figures = [figure for row in chosen if (figure := _example(folder, row))]
    lost = len(chosen) - len(figures)
    damaged = (
        f"{plural(lost, 'example')} could not be read: `voice2music dataset check` lists the "
        f"damaged files."
    )
    return Section(
        "Examples",
        (
            f"Log-mel spectrograms of the first chunk of {plural(len(figures), 'song')} (pictures "
            f"in {HTML}): time to the right, 0 to 8 kHz upwards on the mel scale. The loudest of "
            f"each picture is the brightest, and black is 60 dB less.",
            *((damaged,) if lost else ()),
            *figures,
        ),
    )


def _example(folder: Path, row: Row) -> Figure | None:
    """None where its sound is missing or damaged: an artist must be forgotten even then."""
    try:
        pictures = {
            name: picture(read(folder / row[part]["file"], OWN))
            for name, part in (("Voice", "voice"), ("Music", "music"))
        }
    except BadAudio:
        return None
    tempo = f"{row['bpm']:.0f} BPM" if row["bpm"] is not None else ""
    place = f"{_clock(row['start'])} to {_clock(row['end'])} of the song"
    caption = max(row["captions"], key=len, default="")  # the one that says most
    words = f"caption: “{caption}”" if caption else ""
    facts = (row["artist"], row["genre"], row["language"], row["key"], tempo, place, words)
    return Figure(row["song"] or row["id"], tuple(filter(None, facts)), pictures, row["seconds"])


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
