"""Attention scores, one file each: how a query and a key become a logit.

A new score is one file here, whose `__all__` begins with a class derived from `AbstractScore`. The
name of the file is the name of the score, and `"package.module:Class"` is accepted wherever a name
is.
"""

from hybridq.layers.scores._make import ScoreFactory, make_score
from hybridq.layers.scores._score import AbstractScore
from hybridq.layers.scores.elementwise import Elementwise

__all__ = ["AbstractScore", "Elementwise", "ScoreFactory", "make_score"]
