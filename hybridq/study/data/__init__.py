"""Labelled sentences: one file for each data set, found by its name.

A data set is a file of this folder without an underscore, for example `sst2.py`. The first name of
its `__all__` is a function with one contract:

    def load_sst2(options: DataOptions) -> TextData

- It takes one `DataOptions`. Further parameters must have defaults.
- It returns a `TextData`: the parts as int64 tensors, the sizes, and in `provenance` the source
  with every option that the data depend on.
- The same options give the same data. All randomness comes from `options.seed`; torch's global
  generator is left alone.
- `provenance` holds JSON values and no folders, which are private.
- It raises `DataNotFound` if its files are missing, and the message says how to get them. It raises
  `DataCorrupted` if a file is damaged, and `MissingExtra` if a package is missing.

`load("sst2")` finds the function by the file's name and calls it. A function of your own needs no
file here: `load("my_module:load")` calls the function `load` of `my_module`.
"""

from hybridq.study.data._by_name import default_text, load, names
from hybridq.study.data._keywords import KeywordSpec, keyword_task
from hybridq.study.data._text import DataOptions, Split, TextData
from hybridq.study.data._tokenizer import PAD, UNKNOWN, WordTokenizer
from hybridq.study.data.films import load_films
from hybridq.study.data.sst2 import load_sst2
from hybridq.study.data.synthetic import load_synthetic

__all__ = [
    "PAD",
    "UNKNOWN",
    "DataOptions",
    "KeywordSpec",
    "Split",
    "TextData",
    "WordTokenizer",
    "default_text",
    "keyword_task",
    "load",
    "load_films",
    "load_sst2",
    "load_synthetic",
    "names",
]
