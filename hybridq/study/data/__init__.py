"""Text data sets for classification: a seeded synthetic one, SST-2, and the film reviews that a dependency carries."""

from hybridq.study.data._text import Split, TextData
from hybridq.study.data._tokenizer import PAD, UNKNOWN, WordTokenizer
from hybridq.study.data.catalogue import default_text, load, names
from hybridq.study.data.films import film_reviews
from hybridq.study.data.sst2 import sst2
from hybridq.study.data.synthetic import KeywordSpec, keyword_task

__all__ = [
    "PAD",
    "UNKNOWN",
    "KeywordSpec",
    "Split",
    "TextData",
    "WordTokenizer",
    "default_text",
    "film_reviews",
    "keyword_task",
    "load",
    "names",
    "sst2",
]
