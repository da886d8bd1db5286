"""How fast AudioLDM plays, beside diffusers' own parts in a plain loop on the same weights.

    python benchmarks/speed_audioldm.py [--threads 2] [--model mini-audioldm]

Both walk the same steps from the same noise under the same conditions. Runs alternate, so that a
busy machine slows both alike; medians. Prints Markdown.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import SpeechT5HifiGan

from voice2music.analysis import analyse
from voice2music.checkpoints import locate
from voice2music.conditioning import conditioning, tune_of
from voice2music.engines import audioldm
from voice2music.engines.audioldm.conditions import branches
from voice2music.engines.audioldm.engine import guided_of, steps_of
from voice2music.engines.audioldm.sampling import (
    ALWAYS,
    Branch,
    Interval,
    denoised,
    scheduler_for,
    times,
)
from voice2music.engines.audioldm.vocoding import waveform
from voice2music.engines.base import Conditioning, Settings
from voice2music.evaluation.minis.soundness import TUNE, hummed
from voice2music.footprint import peak_bytes
from voice2music.request import Request

NAME = "mini-audioldm"
RUNS = 7
SECONDS = 10.0
LENGTHS = (5, 10, 30, 60, 120)  # s
Work = Callable[[], object]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--model", default=NAME)
    options.add_argument("--seconds", type=float, help="internal: one take, in a fresh process")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.seconds:
        print(json.dumps(one_take(given.model, given.seconds)))
        return
    print("\n".join([*parts_table(given.model), "", *lengths_table(given.model, given.threads)]))


# ---- the plain loop


class Plain:
    """Diffusers' UNet, VAE and vocoder as they are loaded, in float32."""

    def __init__(self, folder: Path) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
        self.vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
        # Its file is in float16, which transformers would keep.
        self.vocoder = SpeechT5HifiGan.from_pretrained(folder / "vocoder", dtype=torch.float32)

    def predicted(self, latents: Tensor, when: Tensor, given: Sequence[Branch]) -> Tensor:
        """The guided prediction; all branches in one batch, as diffusers' pipeline has it."""
        batch = torch.stack([torch.cat([latents, branch.melody]) for branch in given])
        clap = torch.stack([branch.clap for branch in given])
        out = self.unet(batch, when, encoder_hidden_states=None, class_labels=clap).sample
        return sum(branch.weight * one for branch, one in zip(given, out, strict=True))

    def drawn(
        self, scheduler: object, noise: Tensor, given: Sequence[Branch], steps: int
    ) -> Tensor:
        """Latents out of noise."""
        given = [branch for branch in given if branch.weight != 0]
        latents = noise * scheduler.init_noise_sigma
        for when in times(scheduler, steps, 1.0):
            scaled = scheduler.scale_model_input(latents, when)
            prediction = self.predicted(scaled, when, given)
            latents = scheduler.step(prediction[None], when, latents[None]).prev_sample[0]
        return latents

    def decoded(self, latents: Tensor) -> Tensor:
        """Log-mel, shape (frames, bins)."""
        return self.vae.decode(latents[None] / self.vae.config.scaling_factor).sample[0, 0]


# ---- both, part by part


def parts_table(name: str) -> list[str]:
    """Parts and whole takes of ten seconds: plain, ours, ratio; and how far ours lie apart."""
    with torch.inference_mode():
        duel = Duel(name)
        rows = {title: alternating(*works) for title, works in duel.rows().items()}
        agreement = duel.agreement()
    head = [
        f"{name}, {SECONDS:g} s of music, {torch.get_num_threads()} threads, {duel.steps} steps; "
        f"plain: diffusers' own parts, float32, in a loop. Medians of {RUNS} alternating runs.",
        "",
        "| part | plain, ms | ours, ms | ratio | × real time |",
        "|---|---|---|---|---|",
    ]
    lines = [
        f"| {title} | {plain * 1000:.0f} | {ours * 1000:.0f} | {plain / ours:.2f} "
        f"| {SECONDS / ours:.1f} |"
        for title, (plain, ours) in rows.items()
    ]
    return [*head, *lines, "", *agreement]


class Duel:
    """The plain loop and the app's engine, exact and as it comes, on one job."""

    def __init__(self, name: str) -> None:
        self.plain = Plain(locate(name).folder)
        exact, usual = (audioldm.load(name, "cpu", precision=p) for p in ("float32", "auto"))
        self.engines = {str(one.parts.unet.dtype)[6:]: one for one in (exact, usual)}
        self.parts = parts = usual.parts
        frames = parts.frames(SECONDS)
        self.steps, self.guided = steps_of(parts.layout), guided_of(parts.layout)
        self.given = branches(parts, job(SECONDS), Settings(start_from="noise"), frames)
        shape = (parts.vae.config.latent_channels, frames, parts.mel.bins // parts.shrink)
        self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.latents = self.plainly(self.steps)
        self.mel = self.plain.decoded(self.latents)

    def plainly(self, steps: int) -> Tensor:
        """Latents by the plain loop."""
        scheduler, given = scheduler_for(self.parts.schedule, "dpm++"), self.given
        return self.plain.drawn(scheduler, self.noise, given, steps)

    def walked(self, engine: audioldm.AudioLDM, steps: int, guided: Interval = ALWAYS) -> Tensor:
        """Latents by ours."""
        return denoised(
            engine.parts.unet, scheduler_for(self.parts.schedule, "dpm++"), self.noise, self.given,
            window=self.parts.window, steps=steps, start=None, strength=1.0,
            go_on=lambda share: None, guided=guided,
        )  # fmt: skip

    def rows(self) -> dict[str, tuple[Work, Work]]:
        """Plain and ours, by what they do."""
        plain, vocoder = self.plain, self.plain.vocoder
        sounding = self.engines["float32"].sounded
        found: dict[str, tuple[Work, Work]] = {
            "HiFi-GAN": (lambda: vocoder(self.mel), lambda: waveform(vocoder, self.mel)),
            "HiFi-GAN; as the app sounds": (lambda: vocoder(self.mel), lambda: sounding(self.mel)),
        }

        def whole() -> Tensor:
            return vocoder(plain.decoded(self.plainly(self.steps)))

        for dtype, one in self.engines.items():

            def take(guided: Interval, one: audioldm.AudioLDM = one) -> Tensor:
                return one.sounded(one.decoded(self.walked(one, self.steps, guided)))

            found |= {
                f"a step of the UNet, {dtype}": (
                    lambda: self.plainly(1), lambda one=one: self.walked(one, 1)
                ),
                f"VAE, {dtype}": (
                    lambda: plain.decoded(self.latents), lambda one=one: one.decoded(self.latents)
                ),
                f"a whole take without listening, {dtype}": (whole, lambda take=take: take(ALWAYS)),
                f"the same, guided as the app does, {dtype}": (
                    whole, lambda take=take: take(self.guided)
                ),
            }  # fmt: skip
        return found

    def agreement(self) -> list[str]:
        """Ours against the plain loop, guided always."""
        out = []
        for dtype, one in self.engines.items():
            latents = decibels(self.latents, self.walked(one, self.steps))
            mel = float((one.decoded(self.latents) - self.mel).square().mean().sqrt())
            out.append(
                f"{dtype}: latents agree with the plain loop's to {latents:.0f} dB, log-mels of "
                f"the same latents to {mel:.4f} nepers (rms)."
            )
        return out


def alternating(plain: Work, ours: Work) -> tuple[float, float]:
    """Median seconds of runs that take turns, after one of each that does not count."""
    seconds: dict[Work, list[float]] = {plain: [], ours: []}
    for _ in range(RUNS + 1):
        for work, found in seconds.items():
            begun = time.perf_counter()
            work()
            found.append(time.perf_counter() - begun)
    return statistics.median(seconds[plain][1:]), statistics.median(seconds[ours][1:])


def decibels(exact: Tensor, other: Tensor) -> float:
    """Power of `exact` over that of the difference."""
    return float(10 * torch.log10(exact.square().sum() / (exact - other).square().sum()))


# ---- whole takes of growing length


def lengths_table(name: str, threads: int) -> list[str]:
    """Seconds and memory of whole takes, each in a process of its own."""
    rows = [
        f"Whole takes as the app makes them, {threads} threads; the second one in a fresh process.",
        "",
        "| music, s | take, s | × real time | peak memory of the process, MiB |",
        "|---|---|---|---|",
    ]
    words = [sys.executable, __file__, "--model", name, "--threads", f"{threads}", "--seconds"]
    for length in LENGTHS:
        done = subprocess.run([*words, f"{length}"], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        seconds, peak = found["seconds"], found["peak"]
        rows.append(f"| {length} | {seconds:.2f} | {length / seconds:.1f} | {peak / 2**20:.0f} |")
    return rows


def one_take(name: str, seconds: float) -> dict[str, float]:
    """Seconds of the second of two takes, and the peak of the process's memory in bytes."""
    engine, asked = audioldm.load(name, "cpu"), job(seconds)
    spent = 0.0
    for seed in (0, 1):
        begun = time.perf_counter()
        settings = Settings(seed, start_from="noise")
        list(engine.generate(asked, settings, lambda share, words: None, lambda: False))
        spent = time.perf_counter() - begun
    peak = peak_bytes()
    return {"seconds": spent, "peak": float(peak)}


def job(seconds: float) -> Conditioning:
    """A hum that is played again until there are `seconds`."""
    request, clip = Request(genre="pop", seconds=seconds), hummed((*TUNE, *TUNE[:4]))
    return conditioning(request, "audioldm", tune_of(request, analyse(clip)), clip, None)


if __name__ == "__main__":
    main()
