"""The band: chords, patterns and recorded instruments; no neural network.

It plays in time with the voice in about a second, gives the two models' visitors something true to
hear at once, is the reference in every table, and writes MIDI and a lead sheet.
"""

from collections.abc import Callable, Iterator

from voice2music.arrangement import Arrangement, arrange
from voice2music.engines.base import (
    Conditioning,
    Description,
    Part,
    Progress,
    Rendition,
    Settings,
    Sounds,
)
from voice2music.errors import BadRequest, Cancelled, TooLong
from voice2music.leadsheet import musicxml
from voice2music.midi import midi_file
from voice2music.request import LONGEST
from voice2music.soundfont import SoundFont, fingerprint, soundfont
from voice2music.styles import Style, style
from voice2music.synth import RATE, Mixer, played

SHORTEST = 1.0  # s


class Band:
    """The engine without weights.

    Args:
        font: where the instruments' sounds come from; the one installed by default.
    """

    def __init__(self, font: SoundFont | None = None) -> None:
        self._font = font or soundfont()

    def describe(self) -> Description:
        """What it is."""
        return Description(
            name="band",
            title="The band",
            checkpoint="",
            sha256="",
            licence=f"our own patterns (MIT); sounds from {self._font.name} ({self._font.licence})",
            commercial=True,
            rate=RATE,
            shortest=SHORTEST,
            longest=LONGEST,
            sounds=Sounds(self._font.name, fingerprint(self._font.path)),
        )

    def generate(
        self,
        conditioning: Conditioning,
        settings: Settings,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> Iterator[Part | Rendition]:
        """Arrange, play and mix: one `Rendition`, with a stem per player, MIDI and lead sheet.

        Raises:
            TooLong, BadRequest: a length that it cannot play; an unknown genre.
            Cancelled: between two players.
        """
        _check_length(conditioning.seconds)
        genre = style(conditioning.genre)
        progress(0.0, "Writing the parts")
        piece = arrangement(conditioning, genre, settings.seed)
        mixer = Mixer(genre, piece.seconds)
        for index, track in enumerate(piece.tracks):
            if cancelled():
                raise Cancelled("The band was stopped.")
            progress(0.05 + 0.85 * index / len(piece.tracks), f"Playing: {track.name}")
            mixer.add(track, played(track, piece.seconds, self._font))
        if cancelled():
            raise Cancelled("The band was stopped.")
        progress(0.9, "Mixing")
        sound = mixer.performance()
        title = f"{genre.title} after a hummed tune"
        rendition = Rendition(
            audio=sound.mix,
            stems=dict(sound.stems),
            midi=midi_file(piece, conditioning.key, title),
            musicxml=_lead_sheet(piece, conditioning, title),
            chords=piece.chords,
            grid=piece.grid,
            notes=piece.remarks,
        )
        progress(1.0, "Done")
        yield rendition


def load(font: SoundFont | None = None) -> Band:
    """The band, with the best sounds installed.

    Raises:
        MissingPackage: no SoundFont is installed.
    """
    return Band(font)


def arrangement(conditioning: Conditioning, genre: Style, seed: int) -> Arrangement:
    """The parts for a job; chords are found anew where the style needs other bars."""
    melody = conditioning.melody.notes if conditioning.melody is not None else None
    return arrange(
        genre,
        conditioning.grid,
        conditioning.chords,
        conditioning.key,
        conditioning.seconds,
        melody=melody,
        role=conditioning.role,
        seed=seed,
    )


def _lead_sheet(piece: Arrangement, conditioning: Conditioning, title: str) -> str:
    """Tune and chords as MusicXML."""
    return musicxml(piece.tune, piece.chords, piece.grid, conditioning.key, title)


def _check_length(seconds: float) -> None:
    if seconds > LONGEST:
        raise TooLong(f"The band plays {LONGEST:.0f} seconds at most, not {seconds:.0f}.")
    if seconds < SHORTEST:
        raise BadRequest(
            f"{seconds:.1f} s is too short for music; ask for {SHORTEST:.0f} s or more."
        )
