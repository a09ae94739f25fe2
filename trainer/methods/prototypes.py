"""Prototypes of classes by k-means, for SARB; knows features and their classes."""

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

FloatArray = npt.NDArray[np.float32]


def cluster(
    features: FloatArray, classes: npt.NDArray[np.int64], *, num_classes: int, number: int, seed: int
) -> FloatArray:
    """(C, number, D) centres of each class's features (P, D), whose classes are (P,).

    A class with fewer features than centres has each several times; NaN of a class without any.
    """
    centres_CKD = np.full((num_classes, number, features.shape[1]), np.nan, np.float32)
    with threadpool_limits(limits=1):  # threads add up as they finish, and a resumed run needs the same bits
        for label in np.unique(classes):
            rows = features[classes == label]
            distinct = min(number, len(rows))
            means = KMeans(distinct, random_state=seed).fit(rows)
            centres_CKD[label] = means.cluster_centers_[np.arange(number) % distinct]
    return centres_CKD
