"""The log of a training, which the checkpoint counts on."""

from understudy.training.metrics import Log, read
from understudy.training.records import Epoch


def test_a_line_that_a_power_loss_cut_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    log.write(Epoch(training="kd-0", epoch=1))
    length = log.write(Epoch(training="kd-0", epoch=2))
    whole = path.read_bytes()
    for lost in range(length):
        path.write_bytes(whole[: length - lost])
        again = Log(path)
        again.shorten(length)
        assert again.epochs == read(path) == log.epochs[: len(again.epochs)]
        again.write(Epoch(training="kd-0", epoch=9))
        assert read(path)[-1].epoch == 9
    assert len(again.epochs) == 1  # all was lost, but for the new line
