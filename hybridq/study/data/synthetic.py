"""The keyword task in the sizes of the paper, as a data set."""

from hybridq.study.data._keywords import KeywordSpec, keyword_task
from hybridq.study.data._text import DataOptions, TextData

__all__ = ["load_synthetic"]


def load_synthetic(options: DataOptions) -> TextData:
    """Generate the keyword task; `keyword_task` says what it is.

    Args:
        options: `seed` deals the vocabulary and draws both parts. A sentence has `length` tokens at
            most, and at least 8 fewer. The parts have 4,000 and 1,000 sentences unless `n_train`
            and `n_test` say otherwise.

    Returns:
        The data, in four classes.

    Raises:
        InvalidArgument: If `length` leaves no room for the 8 keywords of a sentence.
    """
    usual = KeywordSpec()
    padding_at_most = usual.length - usual.min_length
    spec = KeywordSpec(
        length=options.length,
        min_length=max(1, options.length - padding_at_most),
        n_train=usual.n_train if options.n_train is None else options.n_train,
        n_test=usual.n_test if options.n_test is None else options.n_test,
    )
    return keyword_task(options.seed, spec)
