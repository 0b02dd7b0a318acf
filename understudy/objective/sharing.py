"""What a student and its teacher hold together, which training the student would change in the teacher."""

from torch import Tensor, nn


def shared_tensors(student: nn.Module, teacher: nn.Module) -> list[str]:
    """The names of the student's trained parameters, and of its statistics, that lie in the teacher's memory.

    >>> layer, head = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> shared_tensors(nn.Sequential(layer, head), nn.Sequential(layer))
    ['0.weight', '0.bias']
    """
    held: dict[int, list[range]] = {}
    for _, tensor in _named_tensors(teacher):
        storage, place = _memory(tensor)
        held.setdefault(storage, []).append(place)
    shared = []
    for name, tensor in _named_tensors(student):
        storage, place = _memory(tensor)
        trained = tensor.requires_grad or not isinstance(tensor, nn.Parameter)
        if trained and any(place.start < other.stop and other.start < place.stop for other in held.get(storage, ())):
            shared.append(name)
    return shared


def _named_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters, and the buffers that a training may move: those of floating point."""
    buffers = [(name, buffer) for name, buffer in network.named_buffers() if buffer.is_floating_point()]
    return [*network.named_parameters(), *buffers]


def _memory(tensor: Tensor) -> tuple[int, range]:
    """The memory that holds the tensor's values, and which of its bytes; none of a tensor that has none of its own."""
    plain = type(tensor) in (Tensor, nn.Parameter)  # neither a lazy one, nor one that stands for several
    if not plain or tensor.is_meta or not tensor.numel():
        return 0, range(0)
    last = sum((count - 1) * stride for count, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return tensor.untyped_storage().data_ptr(), range(start, start + (last + 1) * tensor.element_size())
