"""The band's arranger: chords, beats and a tune in; every player's notes out."""
