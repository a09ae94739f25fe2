"""CAMs to boxes of local views, in pixels of the original image (paper section 3.2). NumPy only.

Shapes: k CAMs of h x w cells; they are read in a square frame, the classifier's squashed view of the image.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BoxShape = Literal["tight", "row_major"]

Boxes = NDArray[np.int32]  # (k, 4) x0, y0, x1, y1, half-open


def boxes_from_cams(
    cams: NDArray[np.float32],
    *,
    frame: int,
    threshold: float,
    shape: BoxShape,
    offset: float,
    image_size: tuple[int, int],
) -> Boxes:
    """(k, 4) int32 boxes x0, y0, x1, y1, half-open, in pixels of the original image; none is empty.

    cams: (k, h, w) float32, one for each class that gets a view.
    frame: side in pixels of the square in which thresholds and offsets are measured (640 in the released code).
    threshold: of the min-max normalised CAM, in [0, 1]; pixels above it make the box.
    shape: "tight" encloses them; "row_major" spans the first and the last of them in reading order, as the released
    code does: the rows are right, the columns are only those of these two pixels.
    offset: share of the frame by which the box grows on each side (released code: 80 / 640).
    image_size: width and height of the original image in pixels.
    A CAM without contrast, in which no pixel passes the threshold, gives the whole image.
    """
    boxes_k4 = np.empty((len(cams), 4), np.int64)
    for box_4, cam_hw in zip(boxes_k4, cams, strict=True):
        mask = _normalise(upsample(cam_hw, frame)) > threshold
        box_4[:] = _box_of_mask(mask, shape) if mask.any() else (0, 0, frame, frame)
    margin = round(offset * frame)
    boxes_k4 += margin * np.array([-1, -1, 1, 1])
    return _to_image(boxes_k4.clip(0, frame), frame, image_size)


def upsample(cam_hw: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
    """(frame, frame) float32 by bilinear interpolation, equal to torch's interpolate with align_corners=False."""
    height, width = cam_hw.shape
    stretched_Hw: NDArray[np.float32] = _weights(height, frame) @ cam_hw
    return stretched_Hw @ _weights(width, frame).T


@lru_cache(maxsize=8)
def _weights(cells: int, frame: int) -> NDArray[np.float32]:
    """(frame, cells): each row holds the shares of the two cells whose centres surround a pixel's centre."""
    centre = ((np.arange(frame) + 0.5) * cells / frame - 0.5).clip(0, cells - 1)
    return (1 - np.abs(centre[:, None] - np.arange(cells))).clip(0).astype(np.float32)


def _normalise(cam_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    low = cam_HW.min()
    scaled: NDArray[np.float32] = (cam_HW - low) / (cam_HW.max() - low + np.float32(1e-5))  # 1e-5: released code
    return scaled


def _box_of_mask(mask_HW: NDArray[np.bool_], shape: BoxShape) -> tuple[int, int, int, int]:
    rows = np.flatnonzero(mask_HW.any(axis=1))
    if shape == "tight":
        columns = np.flatnonzero(mask_HW.any(axis=0))
        left, right = columns[0], columns[-1]
    else:
        first, last = np.flatnonzero(mask_HW[rows[0]])[0], np.flatnonzero(mask_HW[rows[-1]])[-1]
        left, right = min(first, last), max(first, last)
    return left, rows[0], right + 1, rows[-1] + 1


def _to_image(boxes_k4: NDArray[np.int64], frame: int, image_size: tuple[int, int]) -> Boxes:
    """From the square frame to the image, rounded outwards, so that a box of at least one pixel stays one."""
    sides_4 = np.array([*image_size, *image_size])
    lower_k4 = boxes_k4 * sides_4 // frame
    upper_k4 = -(-boxes_k4 * sides_4 // frame)
    return np.concatenate([lower_k4[:, :2], upper_k4[:, 2:]], axis=1).astype(np.int32)
