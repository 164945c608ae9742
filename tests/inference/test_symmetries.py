from __future__ import annotations

import pytest
import torch
from toys import PlaceAware

from seg4eo_xr.inference.network import Network
from seg4eo_xr.inference.symmetries import SYMMETRIES, average_over_symmetries


def image(side: int = 8) -> torch.Tensor:
    return torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0))


def uneven(batch: torch.Tensor) -> torch.Tensor:
    """Depends on which way is up."""
    return batch.cumsum(-1) * batch.cumsum(-2).sqrt()


def test_a_turned_window_gets_the_turned_answer():
    expected = average_over_symmetries(uneven, image())
    for turns in range(4):
        for mirrored in (False, True):
            seen = torch.rot90(image(), turns, (-2, -1))
            wanted = torch.rot90(expected, turns, (-2, -1))
            if mirrored:
                seen, wanted = seen.flip(-1), wanted.flip(-1)
            torch.testing.assert_close(average_over_symmetries(uneven, seen), wanted)


def test_all_eight_pictures_are_seen_once_and_laid_out_like_the_window():
    seen = []

    def answer(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch.clone(memory_format=torch.preserve_format))
        return batch

    batch = image().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(average_over_symmetries(answer, batch), image())
    assert len(seen) == len({picture.numpy().tobytes() for picture in seen}) == SYMMETRIES
    assert all(picture.stride() == batch.stride() for picture in seen)


def test_a_network_that_does_not_care_which_way_is_up_answers_as_ever():
    plain, averaged = (
        Network(PlaceAware(3, 2, 8), token="toy", binary=False, device="cpu", tta=tta)
        for tta in (False, True)
    )
    torch.testing.assert_close(averaged.probabilities(image()), plain.probabilities(image()))


def test_windows_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match=r"tta needs square windows, got \(4, 8\) px"):
        average_over_symmetries(uneven, image()[..., :4, :])
