"""From a folder of songs to a data set: voice and accompaniment in chunks, with what was heard."""
