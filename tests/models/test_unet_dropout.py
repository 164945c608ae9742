from __future__ import annotations

import torch

from seg4eo_xr.models.unet_dropout import UnetDropout


def test_training_drops_the_given_share_of_channels_and_prediction_none() -> None:
    torch.manual_seed(0)
    network = UnetDropout(2, 3, dropout_rate=0.25)
    image = torch.rand(2, 2, 32, 32)
    dropped = []
    network.encoder[4].register_forward_hook(
        lambda _, __, answer: dropped.append(float((answer == 0).all(-1).all(-1).float().mean()))
    )
    assert not torch.equal(network(image), network(image))
    assert all(0.2 < share < 0.5 for share in dropped)
    network.eval()
    with torch.inference_mode():
        assert torch.equal(network(image), network(image))


def test_a_pixel_sees_its_surroundings_at_every_level() -> None:
    torch.manual_seed(0)
    network = UnetDropout(1, 1).eval()
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    network(image)[0, 0, 32, 32].backward()
    reach = image.grad[0, 0].nonzero()
    assert (reach.min(0).values == 0).all()
    assert (reach.max(0).values == 63).all()
