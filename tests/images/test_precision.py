"""float32 is float32 where numbers are made, and the training's settings come back."""

import pytest
import torch

from sr_lab.images import full_precision


def settings() -> tuple[str, bool, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled("cpu")


@pytest.fixture
def training():
    before = settings()[:2]
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_nothing_is_reduced_inside_and_all_is_as_before_outside(training):
    a, b = torch.rand(64, 64), torch.rand(64, 64)
    with full_precision("cpu"):
        assert settings() == ("highest", False, False)
        torch.testing.assert_close((a @ b).double(), a.double() @ b.double(), rtol=1e-5, atol=1e-5)
    assert settings() == ("medium", True, True)
    assert (a @ b).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="anything"), full_precision("cpu"):
        raise RuntimeError("anything")
    assert settings() == ("medium", True, True)
