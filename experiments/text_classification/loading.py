"""A run's model and data again: the loader that every run's record names."""

from pathlib import Path

from experiments.shared.classifier import TextClassifier, make_classifier
from hybridq.errors import CheckpointMismatch, DataNotFound
from hybridq.study.data import TextData, load
from hybridq.study.runs import Run, RunLoader, load_checkpoint

__all__ = ["LOADER", "load_run"]

LOADER = f"{__name__}:load_run"
_NEEDED = ("attention", "data", "train_size", "test_size", "seed")


@RunLoader
def load_run(path: Path) -> tuple[TextClassifier, TextData]:
    """Load a run's model and data.

    Args:
        path: The folder of the run.

    Returns:
        The model with its trained weights, and the data that it was trained and is tested on.

    Raises:
        DataNotFound: If the folder is no run, or has no checkpoint.
        CheckpointMismatch: If the run has plain attention, or its weights do not fit.
    """
    record = Run.load(path)
    config = record.config
    missing = [key for key in _NEEDED if key not in config]
    if missing:
        raise CheckpointMismatch(
            f"checkpoint={str(path)!r}: no run of experiments.text_classification, "
            f"it lacks {missing}"
        )
    if not record.checkpoint.exists():
        raise DataNotFound(
            f"checkpoint={str(path)!r}: the run has no checkpoint.pt; it did not finish"
        )
    if config["attention"] == "plain":
        raise CheckpointMismatch(
            f"checkpoint={str(path)!r}: its attention is plain, "
            "there are no circuits to run elsewhere"
        )
    data = load(config["data"], n_train=config["train_size"], n_test=config["test_size"])
    model = make_classifier(
        data.vocab_size, data.n_classes, data.length, config["attention"], seed=config["seed"]
    )
    load_checkpoint(model, record.checkpoint)
    return model, data
