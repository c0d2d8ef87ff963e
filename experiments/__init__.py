"""One folder for each claim of a paper or question: `python -m experiments.NAME`.

An experiment is a folder with `__init__.py` and `__main__.py`, and nothing else has to know of it.
`tests/contracts/test_experiments.py` finds the folder and demands of its command:

- `--help` states the paper's claim, in a paragraph that begins with "Claim", or the question, in
  one that begins with "Question";
- `--output DIR` names a new folder for the results: `summary.json`, which says in `environment`
  what machine and software it was made with, and a page or figures beside it;
- `--smoke` does everything in its smallest size, in seconds, and needs no other option.

The results that are committed lie in the folder `results` of the experiment. The folder `shared`
is no experiment: it holds what several of them use. `evaluate.py` is a tool: it tries a trained
classifier on another backend.
"""
