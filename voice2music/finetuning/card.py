"""The model card of a fine-tuned checkpoint, with its table of before and after."""

from collections.abc import Mapping
from typing import Any

from voice2music.training.task import Progress

HEAD = """---
license: {license}
library_name: {library}
tags: [music-generation, {model}, melody-conditioned, fine-tuned]
---
# {name}

{start}, fine-tuned with voice2music {version} on pairs of voice and music: {stage}.

| what | how much |
|---|---|
| data | {data} (hash {hash}) |
| to learn from | {train} examples, {minutes:.0f} minutes |
| held out | {valid} examples |
| weights that learnt | {learning:,} of {all:,}{lora} |
| steps | {steps:,} of {batch} crops in {spent:.0f} minutes |
| program | {git} |

Its licence is that of the weights it began with and of the songs it learnt from, whichever allows
less: see the data set's datasheet.

## Before and after

The same held-out voices, before the first step and with the best weights of the run.

| figure | before | after |
|---|---|---|
"""
TAIL = """
"loss" is what training makes small, on held-out windows; "melody" is how much of the sung melody
the take plays, beside what it plays of other voices' melodies; "chord fit" is how much better the
sung notes fit its chords than in the other eleven keys; "sound" is the share of takes that are
neither silent, clipped nor stuck. The takes lie in the run's folder.
"""


def card(
    name: str,
    about: Mapping[str, Any],
    before: Mapping[str, float],
    after: Mapping[str, float],
    progress: Progress,
) -> str:
    """The card as Markdown.

    Args:
        about: what `run.described` gives.
        before, after: figures of validations.
    """
    recipe, data, weights = about["recipe"], about["data"], about["parameters"]
    lora = f" (LoRA of rank {recipe['lora']})" if recipe.get("lora") else ""
    head = HEAD.format(
        name=name,
        license=about["start"]["licence"].lower() or "other",
        start=about["start"]["name"],
        version=about["version"],
        stage=about["told"],
        model=about["model"],
        library="transformers" if about["model"] == "musicgen" else "diffusers",
        data=data["name"],
        hash=data["hash"],
        train=data["examples"]["train"],
        minutes=data["seconds"]["train"] / 60,
        valid=data["examples"]["valid"],
        learning=weights["learning"],
        all=weights["all"],
        lora=lora,
        steps=progress.step,
        batch=recipe["batch"] * recipe["gathered"],
        spent=progress.seconds / 60,
        git=about["git"] or "no git revision",
    )
    keys = [*before, *(key for key in after if key not in before)]
    rows = [f"| {key} | {_figure(before.get(key))} | {_figure(after.get(key))} |" for key in keys]
    return head + "\n".join(rows) + "\n" + TAIL


def _figure(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
