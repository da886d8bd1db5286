"""The engines that make music, under the one contract of `voice2music.engines.base`."""
