"""Which of several things people prefer, from pairs of them: Bradley and Terry's model, with ties, sides and raters.

A vote on a pair that is shown left and right says left, right or neither. With scores s, Davidson's model ("On
extending the Bradley-Terry model to accommodate ties", J. Am. Stat. Assoc. 65, 1970) with the order effect of Davidson
and Beaver (Biometrics 33, 1977) is

    left : tie : right  =  exp(d / 2) : exp(t) : exp(-d / 2),   d = s(left) - s(right) + side + side(rater),
    t = tie + tie(rater).

So odds of exp(s(i) - s(j)) are those of i against j among the votes that decide. Scores, side and tie have normal
priors so wide that they move nothing but what the votes leave open (who never lost); what a rater adds to side and tie
has a narrow one. The logarithm of the likelihood is concave: Newton's method finds its top.

Votes of one rater depend on each other, and so do votes on one image. The variance is therefore that of two crossed
clusterings (Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29, 2011), from three bootstraps: raters are drawn again,
images are drawn again, and the cells of one rater and one image are drawn again; the first two are added and the third,
which both hold, is taken off. (Drawing raters and images at once would count what is neither three times.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SCORE_SD, SIDE_SD, TIE_SD = 4.0, 4.0, 4.0
RATER_SIDE_SD, RATER_TIE_SD = 0.5, 1.0
"""Standard deviations of the priors."""

LEFT, TIE, RIGHT = 0, 1, 2
_NO_TIES = -40.0
_ROWS = 2**22


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Votes on pairs.

    Attributes:
        left: (N,) number of the thing that was shown on the left.
        right: (N,) of the one on the right.
        answer: (N,) 0 left, 1 neither, 2 right.
        rater: (N,) number of the rater.
        image: (N,) number of the image.
        num_items: Things that are compared.

    Raises:
        ValueError: if the arrays differ in length, or a number is out of range.
    """

    left: Indices
    right: Indices
    answer: Indices
    rater: Indices
    image: Indices
    num_items: int

    def __post_init__(self) -> None:
        """Checks the ranges."""
        columns = (self.left, self.right, self.answer, self.rater, self.image)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("left, right, answer, rater and image need one length")
        if not len(self.left):
            raise ValueError("there are no votes")
        if min(self.left.min(), self.right.min()) < 0 or max(self.left.max(), self.right.max()) >= self.num_items:
            raise ValueError(f"left and right are numbers from 0 to {self.num_items - 1}")
        if not np.isin(self.answer, (LEFT, TIE, RIGHT)).all():
            raise ValueError("answer is 0 (left), 1 (neither) or 2 (right)")

    def __len__(self) -> int:
        """Number of votes."""
        return len(self.left)

    @property
    def num_raters(self) -> int:
        """Raters who voted."""
        return len(np.unique(self.rater))

    @property
    def num_images(self) -> int:
        """Images that were voted on."""
        return len(np.unique(self.image))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The model that fits the votes best.

    Attributes:
        scores: (K,) with mean 0; differences are logarithms of odds.
        side: Logarithm of the odds by which the left one is preferred, all else equal.
        tie: Logarithm of the weight of a tie.
        rater_side: (R,) what each rater adds to ``side``.
        rater_tie: (R,) what each adds to ``tie``.
        posterior: (K, K) covariance of the scores by the model alone, which takes the votes for independent.
    """

    scores: Array
    side: float
    tie: float
    rater_side: Array
    rater_tie: Array
    posterior: Array


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Scores with what is known of their error.

    Attributes:
        fit: The fit to all votes.
        raters: (K, K) covariance of the scores when raters are drawn again.
        images: (K, K) when images are.
        cells: (K, K) when the votes of one rater on one image are.
        num_raters: Raters.
        num_images: Images.
    """

    fit: Fit
    raters: Array
    images: Array
    cells: Array
    num_raters: int
    num_images: int

    def contrast(self, weights: Sequence[float] | Array) -> tuple[float, float, float]:
        """A weighted sum of the scores: its value, standard error and degrees of freedom.

        The last two are NaN where there are fewer than two raters or images.
        """
        c = np.asarray(weights, dtype=np.float64)
        value = float(c @ self.fit.scores)
        if min(self.num_raters, self.num_images) < 2:
            return value, math.nan, math.nan
        by_raters, by_images, by_cells = (max(float(c @ v @ c), 0.0) for v in (self.raters, self.images, self.cells))
        variance = max(by_raters + by_images - by_cells, by_raters, by_images)
        if variance == 0:
            return value, 0.0, math.inf
        spread = by_raters**2 / (self.num_raters - 1) + by_images**2 / (self.num_images - 1)
        least = min(self.num_raters, self.num_images) - 1
        return value, math.sqrt(variance), max(float(variance**2 / spread), float(least))

    def difference(self, first: int, second: int) -> tuple[float, float, float]:
        """As ``contrast``, of the score of one less that of another."""
        weights = np.zeros(len(self.fit.scores))
        weights[first] += 1
        weights[second] -= 1
        return self.contrast(weights)


def interval(value: float, error: float, freedom: float, *, alpha: float) -> tuple[float, float]:
    """Two-sided bounds by Student's distribution, which together miss with probability alpha; NaN without an error."""
    from scipy.special import stdtrit

    if math.isnan(error):
        return math.nan, math.nan
    reach = error * (
        1.959963984540054 if math.isinf(freedom) and alpha == 0.05 else float(stdtrit(min(freedom, 1e9), 1 - alpha / 2))
    )
    return value - reach, value + reach


def preference(difference: Array | float, tie: float) -> tuple[Array, Array, Array]:
    """Probabilities that the first is preferred, neither is, the second is, for a difference of scores; no side."""
    d = np.asarray(difference, dtype=np.float64)
    logits = np.stack([d / 2, np.full_like(d, tie), -d / 2])
    logits -= logits.max(axis=0)
    weights = np.exp(logits)
    first, none, second = weights / weights.sum(axis=0)
    return first, none, second


def fit(votes: Votes) -> Fit:
    """The top of the posterior density; see the module.

    Example:
        >>> votes = Votes(left=np.array([0, 1, 0, 1]), right=np.array([1, 0, 1, 0]), answer=np.array([0, 2, 0, 1]),
        ...               rater=np.array([0, 0, 1, 1]), image=np.array([0, 1, 0, 1]), num_items=2)
        >>> found = fit(votes)
        >>> bool(found.scores[0] > found.scores[1])
        True
    """
    names, rater = np.unique(votes.rater, return_inverse=True)
    num, raters = votes.num_items, len(names)
    eta, tau, precision, middle = _design(votes)
    one = np.zeros((len(votes), raters))
    one[np.arange(len(votes)), rater] = 1
    blank = np.zeros_like(one)
    eta, tau = np.hstack([eta, one, blank]), np.hstack([tau, blank, one])
    precision = np.concatenate([precision, np.full(raters, RATER_SIDE_SD**-2), np.full(raters, RATER_TIE_SD**-2)])
    middle = np.concatenate([middle, np.zeros(2 * raters)])
    theta = middle.copy()
    won = _outcomes(votes.answer)
    for _ in range(100):
        gradient, curvature = _slopes(eta @ theta, tau @ theta, won)
        g = eta.T @ gradient[0] + tau.T @ gradient[1] - precision * (theta - middle)
        mixed = eta.T @ (curvature[2][:, None] * tau)
        h = eta.T @ (curvature[0][:, None] * eta) + tau.T @ (curvature[1][:, None] * tau) + mixed + mixed.T
        h[np.diag_indices_from(h)] += precision
        step = np.linalg.solve(h, g)
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-9:
            break
    centring = np.eye(num) - 1 / num
    posterior = centring @ np.linalg.inv(h)[:num, :num] @ centring
    return Fit(
        scores=theta[:num] - theta[:num].mean(), side=float(theta[num]), tie=float(theta[num + 1]),
        rater_side=theta[num + 2 : num + 2 + raters], rater_tie=theta[num + 2 + raters :], posterior=posterior,
    )  # fmt: skip


def prefer(votes: Votes, *, num_draws: int = 400, seed: int = 0) -> Preferences:
    """Scores and their covariances by the three bootstraps.

    What each rater adds to side and tie is kept as the fit to all votes has it.

    Args:
        votes: The votes.
        num_draws: Draws of each bootstrap.
        seed: Of the draws.

    Raises:
        ValueError: if there are no votes.
    """
    found = fit(votes)
    names, rater = np.unique(votes.rater, return_inverse=True)
    shown, image = np.unique(votes.image, return_inverse=True)
    random = np.random.default_rng(seed)
    _, cell = np.unique(rater * len(shown) + image, return_inverse=True)
    covariances = []
    for group, count in ((rater, len(names)), (image, len(shown)), (cell, int(cell.max()) + 1)):
        if count < 2:
            covariances.append(np.zeros((votes.num_items, votes.num_items)))
            continue
        drawn = random.multinomial(count, np.full(count, 1 / count), size=num_draws)[:, group].astype(np.float64)
        scores = refit(votes, found, drawn)
        covariances.append(np.cov(scores.T) * count / (count - 1))
    return Preferences(
        fit=found, raters=covariances[0], images=covariances[1], cells=covariances[2], num_raters=len(names),
        num_images=len(shown),
    )  # fmt: skip


def refit(votes: Votes, found: Fit, weights: Array, *, num_steps: int = 6) -> Array:
    """(B, K) scores, centred, for (B, N) weights of the votes, from ``found`` on, the raters' parts kept."""
    num = votes.num_items
    eta, tau, precision, middle = _design(votes)
    rater = np.unique(votes.rater, return_inverse=True)[1]
    more_eta, more_tau = found.rater_side[rater], found.rater_tie[rater]
    won = _outcomes(votes.answer)
    size = eta.shape[1]
    both = (eta[:, :, None] * tau[:, None, :]).reshape(len(votes), -1)
    squares = (
        (eta[:, :, None] * eta[:, None, :]).reshape(len(votes), -1),
        (tau[:, :, None] * tau[:, None, :]).reshape(len(votes), -1),
        both + (tau[:, :, None] * eta[:, None, :]).reshape(len(votes), -1),
    )
    start = np.concatenate([found.scores, [found.side, found.tie]])
    rows = max(1, _ROWS // len(votes))
    done = []
    for first in range(0, len(weights), rows):
        w = weights[first : first + rows]
        theta = np.tile(start, (len(w), 1))
        for _ in range(num_steps):
            gradient, curvature = _slopes(theta @ eta.T + more_eta, theta @ tau.T + more_tau, won)
            g = (w * gradient[0]) @ eta + (w * gradient[1]) @ tau - precision * (theta - middle)
            h = sum((w * c) @ s for c, s in zip(curvature, squares, strict=True)).reshape(-1, size, size)  # type: ignore[union-attr]
            h[:, np.arange(size), np.arange(size)] += precision
            step = np.linalg.solve(h, g[..., None])[..., 0]
            largest = np.abs(step).max(axis=1, keepdims=True)
            theta += step * np.minimum(1.0, 2.0 / np.maximum(largest, 1e-300))
            if largest.max() < 1e-4:  # Newton's next step would be its square
                break
        done.append(theta[:, :num] - theta[:, :num].mean(axis=1, keepdims=True))
    return np.concatenate(done)


def _design(votes: Votes) -> tuple[Array, Array, Array, Array]:
    """What multiplies (scores, side, tie) in d and in t, and the precision and the middle of their priors."""
    count, num = len(votes), votes.num_items
    eta, tau = np.zeros((count, num + 2)), np.zeros((count, num + 2))
    rows = np.arange(count)
    eta[rows, votes.left] += 1
    eta[rows, votes.right] -= 1
    eta[:, num], tau[:, num + 1] = 1, 1
    precision = np.concatenate([np.full(num, SCORE_SD**-2), [SIDE_SD**-2, TIE_SD**-2]])
    middle = np.zeros(num + 2)
    if not (votes.answer == TIE).any():
        middle[-1] = _NO_TIES
    return eta, tau, precision, middle


def _outcomes(answer: Indices) -> tuple[Array, Array]:
    """Half of who won, and whether nobody did."""
    return (answer == LEFT) * 0.5 - (answer == RIGHT) * 0.5, (answer == TIE) * 1.0


def _slopes(eta: Array, tau: Array, won: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    """First derivatives of the log likelihood by d and t, and the second ones with the other sign: dd, tt, dt."""
    half = np.clip(eta / 2, -350, 350)
    left = np.exp(half)
    right = 1 / left
    none = np.exp(np.clip(tau, -350, 350))
    total = left + right + none
    edge, none = (left - right) / (2 * total), none / total
    return (won[0] - edge, won[1] - none), ((1 - none) / 4 - edge**2, none * (1 - none), -edge * none)
