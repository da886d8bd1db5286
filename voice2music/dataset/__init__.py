"""Data sets that the tables and the bundled models are made from."""
