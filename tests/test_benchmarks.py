"""What ``python -m benchmarks`` compares with: who takes part."""

import sys

from benchmarks import peers


def test_a_library_that_is_no_package_takes_part_where_a_checkout_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(peers.os, "environ", {**peers.os.environ})
    assert peers.load("mdistiller") is None
    assert "mdistiller is left out: no checkout is named (--checkout mdistiller=FOLDER)" in capsys.readouterr().err
    (tmp_path / "mdistiller").mkdir()
    (tmp_path / "mdistiller/distillers.py").write_text("KD = FitNet = None")
    peers.name_checkout("mdistiller", tmp_path)
    assert peers.load("mdistiller").distillers.__file__ == str(tmp_path / "mdistiller/distillers.py")
    assert peers.version("mdistiller") == "without a commit"
