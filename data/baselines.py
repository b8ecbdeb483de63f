"""What a result must beat to mean anything: the commonest class, and a linear model on the same features."""

import numpy as np
from numpy.typing import NDArray


def majority(train_labels: NDArray[np.int64], test_labels: NDArray[np.int64]) -> float:
    """Test accuracy of always saying the commonest training class; of equally common ones the first."""
    return float(np.mean(test_labels == np.bincount(train_labels).argmax()))


def logistic_regression(
    x_train: NDArray[np.float64],
    y_train: NDArray[np.int64],
    x_test: NDArray[np.float64],
    y_test: NDArray[np.int64],
) -> float:
    """Test accuracy of scikit-learn's logistic regression (L2, C = 1).

    Training rows of a single class give the constant classifier, which is what the fit degenerates to: with nothing
    to push against, the intercept grows until that class has all the probability.
    """
    if len(np.unique(y_train)) == 1:
        return majority(y_train, y_test)
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(max_iter=1000).fit(x_train, y_train).score(x_test, y_test))
