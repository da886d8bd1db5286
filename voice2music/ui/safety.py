"""The one wrapper around every handler: our errors are told as they stand, others are logged."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from voice2music.errors import VoiceToMusicError
from voice2music.ui.visit import Visit
from voice2music.ui.words import Said, Words, words_in

log = logging.getLogger(__name__)


def told(error: Exception, words: Words) -> str:
    """An error as a sentence in the visitor's language.

    Our own errors stand as they are in English, where they carry the particulars; another
    language says first, in its own words, what kind of thing went wrong. What is not ours says
    only that something broke.
    """
    if not isinstance(error, VoiceToMusicError):
        return words("broke")
    if isinstance(error, Said):
        return str(error)
    kind = words.get(f"error.{error.code}", "")
    # Isolated from left to right, so that English inside Arabic keeps its order.
    return f"{kind}\n\u2066{error}\u2069" if kind else str(error)


def safe(handler: Callable[..., Any]) -> Callable[..., Any]:
    """`handler` with its errors turned into what `gr.Error` shows.

    Args:
        handler: a function or generator function; the visitor's language is her visit's, where
            a visit is among the arguments.
    """

    def sorry(error: Exception, args: tuple[object, ...]) -> gr.Error:
        if not isinstance(error, VoiceToMusicError):
            log.error("%s broke", handler.__name__, exc_info=error)
        visits = [arg for arg in args if isinstance(arg, Visit)]
        words = words_in(visits[0].language if visits else "en")
        return gr.Error(told(error, words), title=words("sorry"), print_exception=False)

    @functools.wraps(handler)
    def call(*args: object) -> object:
        try:
            return handler(*args)
        except gr.Error:
            raise
        except Exception as error:
            raise sorry(error, args) from None

    @functools.wraps(handler)
    def generate(*args: object) -> Iterator[Any]:
        try:
            yield from handler(*args)
        except gr.Error:
            raise
        except Exception as error:
            raise sorry(error, args) from None

    return generate if inspect.isgeneratorfunction(handler) else call
