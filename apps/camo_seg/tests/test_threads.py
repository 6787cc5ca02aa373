"""The number of threads changes a probability by at most 1e-5 in float32, and by what bfloat16 rounds otherwise.

oneDNN sums a convolution in another order for another number of threads. In float32 that stays in the last digits; in
bfloat16 every layer's output is rounded to 8 bits, so the first convolution already differs in a few values.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import ndimage

from camo_seg.model import CamoSegmenter
from camo_seg.predict import Predictor


@pytest.fixture
def image() -> Iterator[np.ndarray]:
    threads = torch.get_num_threads()
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(160, 200, 3)), (6, 6, 0))
    yield (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_probabilities_hardly_depend_on_the_number_of_threads(image: np.ndarray, precision: str, bound: float) -> None:
    predictor = Predictor(CamoSegmenter.from_pretrained("nano"), device="cpu", precision=precision)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(predictor(image).probability)
    assert np.abs(results[0] - results[1]).max() <= bound
