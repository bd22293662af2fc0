"""How the linear item-to-item model is solved: three forms, by what is small.

EASE's weights are ``B = I - P / diag(P)`` with ``P = (X^T X + l I)^-1``, an inverse as wide as the catalogue.

- ``dual``: by the Woodbury identity ``P = (I - X^T K X) / l`` with ``K = (X X^T + l I)^-1``, an inverse as wide as the
  number of users, which is far smaller in most shops; ``B`` itself is never formed.
- ``exact``: the inverse itself, by Cholesky's factor in single precision and in place.
- ``neighbourhoods``: past the width that fits, each item's column is solved among the items most often bought with it.
  It equals EASE on a catalogue of these items alone. Time and memory grow with the items, not with their square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.errors import ModelError
from pipelines.models.histories import strongest_of_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ITEMS_AT_ONCE = 512
"""Rows of the Gram matrix, or of the weights, that are held at once."""
MEND = "raise the model's regularization in params.yaml"


def dual_kernel(rows: csr_matrix[Any], regularization: float) -> NDArray[np.float32]:
    """``K = (X X^T + l I)^-1``.

    In one thread: two threads of LAPACK's meet so often that they gain little where both cores are free, and take
    several times as long where one is not.

    Args:
        rows: sparse float32 [num_users, num_items], ``X``.
        regularization: ``l``.

    Returns:
        float32 [num_users, num_users].

    Raises:
        ModelError: there is no inverse.
    """
    gram = (rows @ rows.T).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    load_lapack()
    with threadpool_limits(limits=1, user_api="blas"):
        return symmetric_inverse(gram).astype(np.float32)


def exact_weights(rows: csr_matrix[Any], regularization: float, kept: int) -> csr_matrix[Any]:
    """EASE's weights, the strongest of each item.

    Args:
        rows: sparse float32 [num_users, num_items], ``X``; items that nobody bought get no weights.
        regularization: ``l``.
        kept: weights kept from each item to others.

    Returns:
        Sparse float32 [num_items, num_items], ``B``; its diagonal is empty.
    """
    bought = np.flatnonzero(np.diff(rows.tocsc().indptr))
    dense = rows[:, bought]
    gram = (dense.T @ dense).toarray()
    gram[np.diag_indices_from(gram)] += np.float32(regularization)
    inverse = symmetric_inverse(gram)
    divisors = -inverse.diagonal().copy()
    blocks = []
    for start in range(0, len(bought), ITEMS_AT_ONCE):
        block = inverse[start : start + ITEMS_AT_ONCE] / divisors
        own = np.arange(len(block))
        block[own, start + own] = 0
        blocks.append(_strongest_of_dense(block, kept))
    return _spread(blocks, bought, rows.shape[1])


def neighbour_weights(rows: csr_matrix[Any], regularization: float, neighbours: int) -> csr_matrix[Any]:
    """EASE's weights of each item among its nearest neighbours by cosine.

    Args:
        rows: sparse float32 [num_users, num_items], ``X``.
        regularization: ``l``.
        neighbours: of each item, at most.

    Returns:
        Sparse float32 [num_items, num_items], ``B``; its diagonal is empty.

    Source: Ning and Karypis 2011 (SLIM on a feature selection), with Steck's closed form for each column.
    """
    from scipy.sparse import csr_matrix

    by_item, size = rows.T.tocsr(), rows.shape[1]
    norms = np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1), np.float64).ravel())
    scale = (1.0 / np.maximum(norms, 1e-12)).astype(np.float32)
    columns: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    lengths = np.zeros(size, np.int64)
    for start in range(0, size, ITEMS_AT_ONCE):
        together = (by_item[start : start + ITEMS_AT_ONCE] @ rows).tocsr()
        for place, (low, high) in enumerate(zip(together.indptr[:-1], together.indptr[1:], strict=True)):
            item = start + place
            others, products = together.indices[low:high], together.data[low:high]
            near = _nearest(others, np.where(others == item, 0, products * scale[others]), neighbours)
            if len(near):
                columns.append(others[near])
                values.append(_solve(by_item[others[near]], products[near], regularization))
                lengths[item] = len(near)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    if not columns:
        return csr_matrix((size, size), dtype=np.float32)
    by_target = csr_matrix((np.concatenate(values), np.concatenate(columns), indptr), shape=(size, size))
    return by_target.T.tocsr()


def load_lapack() -> None:
    """Load the library, so that a limit of threads set after this holds for it: how many there are decides sums."""
    import scipy.linalg  # noqa: F401


def symmetric_inverse(matrix: NDArray[Any]) -> NDArray[Any]:
    """The inverse of a symmetric, positive definite matrix, in place and in its own precision.

    Args:
        matrix: float32 or float64 [size, size]; it is overwritten.

    Raises:
        ModelError: the matrix is not positive definite, or holds a number that is not finite.

    Source: LAPACK ``potrf`` and ``potri``: a third of the operations of a general inverse.
    """
    from scipy.linalg.lapack import get_lapack_funcs

    factorize, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    factor, failed = factorize(matrix.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        factor, failed = invert(factor, lower=1, overwrite_c=1)
    if failed or not np.isfinite(factor.diagonal()).all():
        raise ModelError("the purchases' Gram matrix has no inverse", mend=MEND)
    for start in range(0, len(factor), ITEMS_AT_ONCE):
        stop = start + ITEMS_AT_ONCE
        factor[start:stop, stop:] = factor[stop:, start:stop].T
        corner = np.tril(factor[start:stop, start:stop])
        factor[start:stop, start:stop] = corner + np.tril(corner, -1).T
    inverse: NDArray[Any] = factor.T
    return inverse


def _nearest(others: NDArray[np.int32], cosines: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the ``count`` largest cosines above 0, by item id."""
    order = np.lexsort((others, -cosines))[:count]
    order = order[cosines[order] > 0]
    return order[np.argsort(others[order])]


def _solve(by_item: csr_matrix[Any], products: NDArray[np.float32], regularization: float) -> NDArray[np.float32]:
    """float32 [num_neighbours]: ridge regression of one item on its neighbours."""
    from scipy.linalg import LinAlgError, solve

    gram = (by_item @ by_item.T).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    try:
        weights = solve(gram, products.astype(np.float64), assume_a="pos", check_finite=True)
    except (LinAlgError, ValueError) as error:
        raise ModelError(f"an item cannot be regressed on its neighbours: {error}", mend=MEND) from error
    return np.asarray(weights, np.float32)


def _strongest_of_dense(block: NDArray[np.float32], kept: int) -> csr_matrix[Any]:
    """The ``kept`` largest entries of every row by absolute value, without zeros."""
    from scipy.sparse import csr_matrix

    if kept < block.shape[1]:
        sizes = np.abs(block)
        least = np.partition(sizes, block.shape[1] - kept, axis=1)[:, block.shape[1] - kept]
        block = np.where(sizes >= least[:, None], block, np.float32(0))
    return strongest_of_rows(csr_matrix(block), kept)


def _spread(blocks: list[csr_matrix[Any]], ids: NDArray[np.intp], size: int) -> csr_matrix[Any]:
    """Rows and columns that stand for ``ids``, as a matrix of ``size`` rows and columns."""
    from scipy.sparse import csr_matrix, vstack

    if not blocks:
        return csr_matrix((size, size), dtype=np.float32)
    inner = vstack(blocks, format="csr")
    lengths = np.zeros(size, np.int64)
    lengths[ids] = np.diff(inner.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return csr_matrix((inner.data, ids[inner.indices].astype(np.int32), indptr), shape=(size, size))
