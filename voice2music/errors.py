"""The one family of errors: what happened, what was got, what to do next.

Whatever a user can cause is a `VoiceToMusicError`; its text is shown to the user as it stands.
Anything else that escapes is our own mistake and is logged with its traceback.
"""


class VoiceToMusicError(Exception):
    """Base of every error that a user may read. `str(error)` is a whole sentence or two.

    `code` names the kind of error for programs and for translations; it never changes.
    """

    code = "error"


class BadAudio(VoiceToMusicError):
    """The file or array holds no audio that can be used."""

    code = "bad_audio"


class NoMelody(VoiceToMusicError):
    """The audio is fine, but no tune could be heard in it."""

    code = "no_melody"


class TooLong(VoiceToMusicError):
    """Larger or longer than the limit in force."""

    code = "too_long"


class BadRequest(VoiceToMusicError):
    """A setting is unknown or outside its range."""

    code = "bad_request"


class BadChords(BadRequest):
    """Chord text that cannot be read."""

    code = "bad_chords"


class MissingCheckpoint(VoiceToMusicError):
    """A model's weights are not here and cannot be had."""

    code = "missing_checkpoint"


class CorruptCheckpoint(VoiceToMusicError):
    """A model folder is there but not whole, not what it says, or not safe to read."""

    code = "corrupt_checkpoint"


class MissingPackage(VoiceToMusicError):
    """An optional package (an extra) is needed for what was asked."""

    code = "missing_package"


class OutOfMemory(VoiceToMusicError):
    """The machine's or the graphics card's memory does not suffice."""

    code = "out_of_memory"


class BadManifest(VoiceToMusicError):
    """A data set's manifest, or a take's JSON, is damaged or does not fit its files."""

    code = "bad_manifest"


class TrainingFailed(VoiceToMusicError):
    """A model does not learn: its losses are no numbers any more."""

    code = "training_failed"


class Cancelled(VoiceToMusicError):
    """The user stopped the work."""

    code = "cancelled"


class CannotSave(VoiceToMusicError):
    """A file could not be written (disk full, no permission)."""

    code = "cannot_save"


class Busy(VoiceToMusicError):
    """Too many jobs are waiting already."""

    code = "busy"
