"""How much memory a model takes, measured in a process of its own.

That process does what a visitor's first job does: it hears a voice, loads the model, makes music.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voice2music import errors
from voice2music.checkpoints import locate
from voice2music.errors import OutOfMemory, VoiceToMusicError

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = 5.0  # of music
SUNG = (60, 62, 64, 65, 67, 65, 64, 62, 60)  # MIDI, half a second each
KILLED = -9  # what the system does where memory ran out


@dataclass(frozen=True)
class Footprint:
    """Bytes of memory.

    Args:
        weights: of all networks, as they lie in memory once they are loaded.
        peak: the most that the whole process held at once, its libraries among it; mapped files
            count as far as they were read.
        seconds: it took to load the model and to make `SECONDS` of music.
    """

    weights: int
    peak: int
    seconds: float


def footprint(name: str | Path) -> Footprint:
    """What a MusicGen or AudioLDM takes on this machine. Takes as long as its first job.

    Raises:
        MissingCheckpoint, CorruptCheckpoint: see `checkpoints.locate`; or it cannot be loaded.
        OutOfMemory: it does not fit.
    """
    folder = locate(name).folder
    command = [sys.executable, "-m", "voice2music.footprint", str(folder.resolve())]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode == KILLED:
        raise OutOfMemory(
            f"The system stopped '{folder.name}' while its memory was measured, so this machine "
            f"has too little of it. Choose a smaller model, or close other programs."
        )
    if done.returncode:
        raise RuntimeError(f"measuring '{folder.name}' ended with {done.returncode}")
    told = json.loads(done.stdout.splitlines()[-1])
    if "error" in told:
        kind: type[VoiceToMusicError] = getattr(errors, told["error"])
        raise kind(told["text"])
    return Footprint(**told)


def measured(folder: Path) -> Footprint:
    """The footprint of this process, which should have done nothing else before."""
    import time

    from voice2music.analysis import analyse
    from voice2music.conditioning import conditioning, tune_of
    from voice2music.engines.base import Settings
    from voice2music.engines.loading import load_engine
    from voice2music.notes import Note
    from voice2music.request import Request
    from voice2music.singer import sing

    voice = sing([Note(i / 2, i / 2 + 0.45, midi) for i, midi in enumerate(SUNG)])
    column = locate(folder).engine
    request = Request(genre="pop", seconds=SECONDS, checkpoints={column: str(folder)})
    asked = conditioning(request, column, tune_of(request, analyse(voice)), voice, None)
    begun = time.perf_counter()
    engine = load_engine(column, request)
    weights = weight_bytes(engine)
    settings = Settings(start_from="noise")
    for _ in engine.generate(asked, settings, lambda share, words: None, lambda: False):
        pass
    took = time.perf_counter() - begun
    return Footprint(weights, peak_bytes(), took)


def weight_bytes(engine: object) -> int:
    """Bytes of all tensors that an engine holds, those that lie in one place once."""
    places: dict[int, int] = {}
    for tensor in _tensors(engine, set()):
        if tensor.device.type != "meta":
            size = tensor.numel() * tensor.element_size()
            places[tensor.data_ptr()] = max(size, places.get(tensor.data_ptr(), 0))
    return sum(places.values())


def _tensors(owner: object, seen: set[int]) -> Iterator["Tensor"]:
    """The tensors of an object: those of its networks, and of the objects of ours it is made of."""
    from torch import Tensor, nn

    if id(owner) in seen:
        return
    seen.add(id(owner))
    inside: Iterable[object] = ()
    if isinstance(owner, Tensor):
        yield owner
    elif isinstance(owner, list | tuple):
        inside = owner
    elif isinstance(owner, dict):
        inside = owner.values()
    elif isinstance(owner, nn.Module) or type(owner).__module__.startswith("voice2music."):
        inside = getattr(owner, "__dict__", {}).values()  # a network's too: parameters, children
    for one in inside:
        yield from _tensors(one, seen)


def peak_bytes() -> int:
    """The most memory that this process has held at once."""
    if sys.platform == "linux":  # there, `getrusage` also counts the parent at the time of its fork
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main(folder: Path) -> None:
    try:
        told: dict[str, object] = vars(measured(folder))
    except VoiceToMusicError as error:
        told = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(told))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
