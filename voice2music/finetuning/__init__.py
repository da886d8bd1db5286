"""Fine-tuning MusicGen-Melody and AudioLDM on pairs of voice and music."""
