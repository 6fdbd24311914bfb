"""Search by meaning: the articles that have some of the words, or words that mean the same."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from hm_utils.arrays import Float64
from hm_utils.serving.everyday_words import FILLERS, answers_of

WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
PLURAL = re.compile(r"(?<=\w{3})e?s$")
RARE = 4.0  # what a word says that one article in 55 has; a rarer one says no more
WHOLE = 4  # a shorter word must be the whole word of an article, a longer one may be its beginning
ASKED = 5.0  # how much more a word of the request counts than one that means it
MOST = 6.0  # of all the words that mean the same, so that they do not replace another word of the request


def words_of(request: str) -> list[str]:
    """The words of a request that say something about an article, each once."""
    return [word for word in dict.fromkeys(WORD.findall(request.lower())) if word not in FILLERS]


def says(articles: npt.ArrayLike, of: int) -> Float64:
    """How much a word says that so many ``articles`` have: a rare word says more."""
    return np.minimum(np.log(of / np.maximum(articles, 1)), RARE)


def saturated(times: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Three mentions (in a type, a name, a description) count more than one (in a section), but not thrice."""
    return 2 * times / (1 + times)


class WordIndex:
    """The words of ``[n]`` texts, one an article."""

    def __init__(self, texts: pa.Array) -> None:
        # Splitting at blanks is fast. The punctuation is removed from the distinct pieces alone.
        split = pc.utf8_split_whitespace(texts)
        pieces = pc.list_flatten(split).dictionary_encode()
        places = pieces.indices.to_numpy(), pc.list_parent_indices(split).to_numpy()
        shape = len(pieces.dictionary), len(texts)
        times = sparse.csr_array((np.ones(len(pieces), dtype=np.float32), places), shape=shape)
        self._number: dict[str, int] = {}
        numbers = [
            (self._number.setdefault(word, len(self._number)), place)
            for place, piece in enumerate(pieces.dictionary.to_pylist())
            for word in WORD.findall(piece.lower())
        ]
        word, piece = np.array(numbers, dtype=np.int64).reshape(-1, 2).T
        shape = len(self._number), len(pieces.dictionary)
        # [words, n]: how often each word is in each text
        self._times = sparse.csr_array((np.ones(len(word), dtype=np.float32), (word, piece)), shape=shape) @ times
        self._says = says(np.diff(self._times.indptr), len(texts))
        self._sorted = sorted(self._number)

    def scores(self, words: Iterable[str]) -> Float64:
        """``[n]`` how well each article answers the words of a request; 0: not at all."""
        total = np.zeros(self._times.shape[1])
        for word in words:
            total += np.maximum(self._asked(word), np.minimum(self._meant(word), MOST))
        return total

    def _asked(self, word: str) -> Float64:
        """For the articles that have the word."""
        times: Float64 = np.asarray(self._times[[self._number[form] for form in self._forms(word)]].sum(axis=0))
        return ASKED * says(np.count_nonzero(times), len(times)) * saturated(times)

    def _meant(self, word: str) -> Float64:
        """For the articles with words that mean the same, by their number and rarity."""
        numbers = [self._number[answer] for answer in sorted(answers_of(word)) if answer in self._number]
        times: Any = self._times[numbers]
        times.data = saturated(times.data)
        return np.asarray(self._says[numbers] @ times)

    def _forms(self, word: str) -> list[str]:
        """The words of articles that are this one, its plural or singular, or begin with it."""
        stem = PLURAL.sub("", word)
        if len(stem) < WHOLE:
            return [form for form in {word, stem, f"{stem}s", f"{stem}es"} if form in self._number]
        return self._sorted[bisect_left(self._sorted, stem) : bisect_left(self._sorted, f"{stem}\U0010ffff")]
