"""How good is it, in numbers: each measure with its floor, its ceiling, n and an interval.

Unlike `voice2music.score`, which judges one take at once for the person who hummed, this package
measures systems over many takes, slowly, by the field's published protocols and outside
estimators (librosa), so that the numbers can be set beside those of papers.
"""
