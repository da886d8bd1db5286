"""The bundled models measured: what stands in the tables of `checkpoints/*/README.md`.

`python -m voice2music.evaluation.minis` (or `make minis-report`) loads each model as the app does
and measures its raw output: from noise or tokens, the cascade off, nothing finished, nothing
rendered mixed in.
"""
