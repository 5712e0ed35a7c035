from __future__ import annotations

import numpy as np
import pytest

jnp = pytest.importorskip("jax.numpy", reason="campaigns train with JAX: pip install 'mien[accelerator]'")

from mien.train.campaign.network import views_of  # noqa: E402
from mien.train.campaign.plan import Views  # noqa: E402


@pytest.mark.parametrize(
    ("kind", "count", "even"),
    [
        pytest.param("none", 1, False, id="the chip alone"),
        pytest.param("flip", 2, True, id="with its mirror image"),
        pytest.param("ten-crop", 10, True, id="corners and centre"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_have_the_chips_size_and_treat_both_sides_alike(kind: Views, count: int, even: bool, channels: int) -> None:
    chips = np.full((2, 48, 48, channels), 10, np.float32)
    chips[:, :, :12] = 200
    views = views_of(jnp.asarray(chips), kind)
    assert [view.shape for view in views] == [chips.shape] * count
    left, right = (float(np.mean([np.asarray(view)[:, :, half].mean() for view in views])) for half in (slice(24), slice(24, 48)))
    assert (left == pytest.approx(right, rel=1e-4)) is even
