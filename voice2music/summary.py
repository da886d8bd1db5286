"""An analysis in a few plain lines."""

from voice2music.analysis import Analysis
from voice2music.chords import key_name, pitch_name, progression_text

SURE, LIKELY = 0.6, 0.3  # confidence from which a thing is said plainly, and with "probably"


def summary(heard: Analysis) -> str:
    """What was heard, for a terminal: key, tempo, tune, chords, findings."""
    if not heard.notes:
        return "\n".join(f"! {finding.text}" for finding in heard.findings) or "No tune was heard."
    low, high = (f(note.midi for note in heard.notes) for f in (min, max))
    lines = [
        f"key     {_hedged(heard.key.confidence)}{key_name(heard.key)}, "
        f"sung {abs(heard.tuning):.0f} cents {'flat' if heard.tuning < 0 else 'sharp'}",
        f"tempo   {_tempo(heard)}",
        f"tune    {len(heard.notes)} notes, {_note_name(low, heard)} to {_note_name(high, heard)}",
        f"chords  {progression_text(heard.chords, heard.grid, heard.key)}",
    ]
    lines += [f"! {finding.text}" for finding in heard.findings]
    return "\n".join(lines)


def _tempo(heard: Analysis) -> str:
    grid = heard.grid
    if grid.known:
        return f"{grid.tempo:.0f} BPM, {grid.beats_per_bar} beats a bar (the guide beat)"
    doubt = ", or double or half of that" if grid.ambiguous else ""
    return (
        f"{_hedged(grid.confidence)}{grid.tempo:.0f} BPM, {grid.beats_per_bar} beats a bar{doubt}"
    )


def _hedged(confidence: float) -> str:
    return "" if confidence >= SURE else "probably " if confidence >= LIKELY else "perhaps "


def _note_name(midi: int, heard: Analysis) -> str:
    return f"{pitch_name(midi % 12, heard.key)}{midi // 12 - 1}"
