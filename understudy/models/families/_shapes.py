"""What the layer lists share."""

from understudy.errors import UserError


def too_small(size: int, layer: str) -> UserError:
    """For images of which a network's pooling and valid convolutions leave nothing."""
    return UserError(f"images of {size} x {size} are too small for this network: nothing is left at {layer}")
