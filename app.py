"""Builds the page and launches it; what a Space runs."""

from voice2music.ui import launch

if __name__ == "__main__":
    launch()
