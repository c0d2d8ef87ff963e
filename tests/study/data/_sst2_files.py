"""A data directory like that of SST-2: the right names and numbers of lines, other sentences."""

from pathlib import Path

SENTENCES = {"train": 6920, "dev": 872, "test": 1821}


def sentence(part: str, number: int) -> tuple[str, int]:
    return f"{part} sentence {number} is {'good' if number % 2 else 'bad'}", number % 2


def write_sst2(data_dir: Path) -> None:
    (data_dir / "sst2").mkdir()
    for part, n in SENTENCES.items():
        examples = (sentence(part, number) for number in range(n))
        lines = (f"{label} {text}\n" for text, label in examples)
        (data_dir / "sst2" / f"stsa.binary.{part}").write_text("".join(lines), encoding="utf-8")
