"""The numbers that tell how far a backend is from the reference: one metric, one file.

The folder is the registry. A file that is put here appears in the tables, the plots, compare.json
and the console; `"package.module:Class"` in `CompareOptions.metrics` does the same for a metric
that lives elsewhere.
"""

from hybridq.comparison.metrics._distance import AbstractDistance
from hybridq.comparison.metrics._metric import MODEL, NUMBERS, AbstractMetric, Part

__all__ = ["MODEL", "NUMBERS", "AbstractDistance", "AbstractMetric", "Part"]
