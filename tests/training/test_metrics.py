"""The log of a training, which the checkpoint counts on."""

from understudy.training.metrics import Log, read


def test_a_line_that_a_power_loss_cut_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    log.write({"epoch": 1})
    length = log.write({"epoch": 2})
    whole = path.read_bytes()
    for lost in range(length):
        path.write_bytes(whole[: length - lost])
        again = Log(path)
        again.shorten(length)
        assert again.records == read(path) == log.records[: len(again.records)]
        again.write({"epoch": 9})
        assert read(path)[-1] == {"epoch": 9}
    assert len(again.records) == 1  # all was lost, but for the new line
