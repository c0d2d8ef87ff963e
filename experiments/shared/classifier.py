"""The transformer of SPGD's Table II."""

from functools import partial

import torch
from torch import Tensor, nn

from hybridq.layers import Attention, Elementwise, QuantumOptions, evaluate_together
from hybridq.layers.scores import ScoreFactory
from hybridq.study.training import seeded

__all__ = ["TextClassifier", "make_classifier"]


def make_classifier(
    vocab_size: int, n_classes: int, length: int, attention: str, seed: int
) -> "TextClassifier":
    """Make the classifier with initial weights that depend on the seed alone.

    All kinds of attention get the same weights for a seed, but for those of the scores, which
    plain attention does not have.

    Args:
        vocab_size: Number of token ids.
        n_classes: Number of classes.
        length: Largest number of tokens of a sentence.
        attention: "plain", "quantum", or a score: the name of a file of `hybridq.layers.scores`, or
            "package.module:Class". "quantum" is the elementwise score whose heads share one set of
            angles, so that a layer runs 17 circuits.
        seed: A non-negative integer.

    Returns:
        The classifier.
    """
    plain = seeded(seed, lambda: TextClassifier(vocab_size, n_classes, length))
    if attention == "plain":
        return plain
    shared = partial(Elementwise, options=QuantumOptions(sharing="module"))
    score = shared if attention == "quantum" else attention
    scored = seeded(seed, lambda: TextClassifier(vocab_size, n_classes, length, score))
    scored.load_state_dict(plain.state_dict(), strict=False)
    return scored


class TextClassifier(nn.Module):
    """A small transformer encoder for sentences, with plain attention or any score.

    Token and position embeddings, post-norm encoder layers, the mean over the words, a linear
    classifier.

    Args:
        vocab_size: Number of token ids; token 0 is padding.
        n_classes: Number of classes.
        length: Largest number of tokens of a sentence.
        score: What makes the logits of attention, as `Attention` takes it, but no object, since
            each layer has a score of its own; None for plain attention.
        n_layers: Number of encoder layers.
        embed_dim: Size of the model.
        n_heads: Number of heads.
        dropout: Probability of dropping a number, the same at every place.

    Reference: arXiv 2511.01918, Table II.
    """

    def __init__(
        self,
        vocab_size: int,
        n_classes: int,
        length: int = 32,
        score: str | ScoreFactory | None = None,
        n_layers: int = 2,
        embed_dim: int = 64,
        n_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        self.positions = nn.Embedding(length, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(embed_dim, n_heads, dropout, score) for _ in range(n_layers)
        )
        self.classify = nn.Linear(embed_dim, n_classes)
        if score is not None:
            evaluate_together(self)

    def forward(self, ids: Tensor) -> Tensor:
        """Classify sentences.

        Args:
            ids: Token ids, shape (batch, length).

        Returns:
            Logits, shape (batch, n_classes).
        """
        padding = ids == 0
        mask = torch.zeros(ids.shape, device=ids.device).masked_fill_(padding, -torch.inf)
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.dropout(self.tokens(ids) + self.positions(positions))
        for block in self.blocks:
            x = block(x, mask)
        words = (~padding)[..., None].to(x.dtype)
        return self.classify((x * words).sum(1) / words.sum(1).clamp(min=1))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(
        self, embed_dim: int, n_heads: int, dropout: float, score: str | ScoreFactory | None
    ) -> None:
        super().__init__()
        self.attention = Attention(embed_dim, n_heads, dropout, batch_first=True, score=score)
        self.feed_forward = nn.Sequential(
            nn.Linear(embed_dim, 2 * embed_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * embed_dim, embed_dim),
        )
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        attended, _ = self.attention(x, x, x, key_padding_mask=mask, need_weights=False)
        x = self.norm1(x + self.dropout(attended))
        return self.norm2(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]
